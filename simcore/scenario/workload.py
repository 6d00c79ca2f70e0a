"""`[workload]`: the requests, read from a trace or drawn."""

from collections.abc import Callable
from typing import Any, Literal, Self

from pydantic import model_validator

from simcore.scenario.arrivals import Arrivals, Poisson
from simcore.scenario.distributions import (
    MAX_TOKENS,
    ExponentialTime,
    GeometricTurns,
    Lengths,
    LogNormalLength,
    Times,
    TraceFormat,
    Turns,
)
from simcore.schema import FilePath, Misfit, Section, key

MOST_SAMPLES = 10_000
"""Outputs that may be wanted of one prompt."""


class Conversations(Section):
    """Requests that are turns: each resends all that was said before it, and waits for the answer to the last one."""

    turns: Turns = key(GeometricTurns(), help="Turns of a conversation.")
    think: Times = key(
        ExponentialTime(mean=10.0), help="Time from the end of an answer to the next turn of the conversation."
    )
    system_prompts: int = key(
        1, help="Shared system prompts, one of which begins each conversation; 0: none.", ge=0, le=1_000_000
    )
    system_tokens: int = key(256, help="Length of each system prompt.", unit="tokens", ge=1, le=MAX_TOKENS)
    zipf: float = key(
        1.0, help="The k-th most popular system prompt is chosen in proportion to k^-zipf; 0: all alike.", ge=0, le=10
    )
    max_context: int = key(
        32_768,
        help="A conversation ends before the turn whose prompt and output would take it past this; "
        "its first turn is asked at any length.",
        unit="tokens",
        ge=1,
        le=MAX_TOKENS,
    )


_TRACE: tuple[str, ...] = ("format", "start", "end", "limit", "rate_scale", "skip_bad_lines", "sessions")
_DRAWN = ("requests", "prompt", "output", "conversations")
_SYNTHETIC: tuple[str, ...] = (*_DRAWN, "samples", "beam_switch", "clients", "client_zipf")


def _of_trace(default: Any) -> Callable[[dict[str, Any]], Any]:
    """The default of a key that only a trace has."""
    return lambda section: None if section.get("trace") is None else default


def _of_synthetic(default: Any) -> Callable[[dict[str, Any]], Any]:
    """The default of a key that only a synthetic workload has."""
    return lambda section: default if section.get("trace") is None else None


class WorkloadSection(Section):
    """Either a trace and what is taken of it, or the distributions that requests are drawn from."""

    trace: FilePath | None = key(None, help="The trace to play, a file or a folder; without it requests are drawn.")
    format: TraceFormat | None = key(
        default_factory=_of_trace("auto"), help="The format of the trace; auto: told by its content."
    )
    start: float | None = key(
        default_factory=_of_trace(0.0),
        help="Leave out what arrives before this time of the trace, which becomes the run's time 0.",
        unit="s",
        ge=0,
        le=1e10,
    )
    end: float | None = key(
        None,
        help="Leave out what arrives at this time of the trace or later; ServeGen, which never ends, is sampled for "
        "600 s after `start` without it.",
        unit="s",
        gt=0,
        le=1e10,
    )
    limit: int | None = key(None, help="Take only so many requests, the first ones.", unit="requests", ge=1)
    rate_scale: float | None = key(
        default_factory=_of_trace(1.0),
        help="Play the arrivals so many times as fast: 2 is twice the rate.",
        ge=1e-6,
        le=1e6,
    )
    skip_bad_lines: bool | None = key(
        default_factory=_of_trace(False), help="Pass over and count lines of the trace that cannot be read."
    )
    sessions: Literal["sequential", "stagger60"] | None = key(
        default_factory=_of_trace("sequential"),
        help="When the sessions of a trace without a common clock (kv-cache-tester) begin: one after another, "
        "or one every 60 s.",
    )

    requests: int | None = key(
        default_factory=_of_synthetic(1000), help="Requests to draw.", unit="requests", ge=1, le=10_000_000
    )
    arrivals: Arrivals | None = key(
        default_factory=_of_synthetic(Poisson()),
        help="When requests, or conversations, arrive; for a trace only if it has no times of its own.",
    )
    prompt: Lengths | None = key(
        default_factory=_of_synthetic(LogNormalLength()),
        help="Length of the prompt, or of what a turn of a conversation adds to it.",
        unit="tokens",
    )
    output: Lengths | None = key(
        default_factory=_of_synthetic(LogNormalLength(mean=256.0)), help="Length of the output.", unit="tokens"
    )
    conversations: Conversations | None = key(None, help="Make the requests turns of conversations.")
    samples: int | None = key(
        default_factory=_of_synthetic(1),
        help="Outputs that are wanted of each prompt, in parallel; they share its blocks.",
        ge=1,
        le=MOST_SAMPLES,
    )
    clients: int | None = key(
        default_factory=_of_synthetic(1),
        help="Clients that the requests come from, numbered as their category; a conversation, and the user of a "
        "closed loop, is of one client.",
        unit="clients",
        ge=1,
        le=1_000_000,
    )
    client_zipf: float | None = key(
        default_factory=_of_synthetic(0.0),
        help="How much some clients ask more than others: the k-th has a share in proportion to k to the power of "
        "minus this; 0: all alike.",
        ge=0,
        le=10,
    )

    beam_switch: float | None = key(
        default_factory=_of_synthetic(0.0),
        help="Beam search: the samples of a request are its beams, and this is the chance of each, at each token, to "
        "be dropped for a fork of another one; 0: the samples are independent.",
        ge=0,
        lt=1,
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.trace is None:
            strays, problem = _TRACE, "it only applies to a trace, and workload.trace is not given"
        else:
            strays, problem = _SYNTHETIC, "it only applies to a synthetic workload, and workload.trace is given"
        problems = {name: problem for name in strays if getattr(self, name) is not None}
        if self.end is not None and self.start is not None and self.end <= self.start:
            problems["end"] = f"must be above workload.start ({self.start})"
        if problems:
            raise Misfit(self, problems)
        return self

"""What a synthetic workload draws from: lengths in tokens, turns of a conversation, times in seconds.

Each variant of a union is chosen by its key `distribution`; its other keys are its own.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from simcore.schema import FilePath, Misfit, Section, key

MAX_TOKENS = 10_000_000
"""Longest prompt or output that can be asked for."""
MAX_SECONDS = 1e6

TraceFormat = Literal[
    "auto",
    "kvscope",
    "azure",
    "burstgpt",
    "mooncake",
    "bailian",
    "kv-cache-tester",
    "vidur",
    "servegen",
    "llmservingsim",
]

_SHORTEST = key(1, help="Shorter draws become this long.", unit="tokens", ge=1, le=MAX_TOKENS)
_LONGEST = key(MAX_TOKENS, help="Longer draws become this long.", unit="tokens", ge=1, le=MAX_TOKENS)


class _Between(Section):
    """A section with a `min` and a `max`."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        bounds = vars(self)
        if bounds["max"] < bounds["min"]:
            raise Misfit(self, {"max": f"must be at least min ({bounds['min']})"})
        return self


class FixedLength(Section):
    """Always the same length."""

    distribution: Literal["fixed"] = key("fixed", help="Every length is the same.")
    tokens: int = key(512, help="The length.", unit="tokens", ge=1, le=MAX_TOKENS)


class UniformLength(_Between):
    """All lengths from `min` to `max`, both included, equally often."""

    distribution: Literal["uniform"] = key("uniform", help="Every length of a range is equally likely.")
    min: int = key(1, help="The shortest length.", unit="tokens", ge=1, le=MAX_TOKENS)
    max: int = key(1024, help="The longest length.", unit="tokens", ge=1, le=MAX_TOKENS)


class LogNormalLength(_Between):
    """Log-normal with the mean and the coefficient of variation asked for, rounded to whole tokens."""

    distribution: Literal["lognormal"] = key("lognormal", help="The logarithm of the length is normal.")
    mean: float = key(512.0, help="Mean length, before `min` and `max`.", unit="tokens", ge=1, le=MAX_TOKENS)
    cv: float = key(1.0, help="Standard deviation over mean, before `min` and `max`.", ge=0, le=100)
    min: int = _SHORTEST
    max: int = _LONGEST


class ExponentialLength(_Between):
    """Geometric on 1, 2, ...: the exponential distribution in whole tokens, with exactly the mean asked for.

    Its CV is sqrt(1 - 1/mean), so that a service time proportional to it is exponential for all practical purposes.
    """

    distribution: Literal["exponential"] = key(
        "exponential", help="The memoryless length: exponential, in whole tokens (geometric)."
    )
    mean: float = key(256.0, help="Mean length, before `min` and `max`.", unit="tokens", ge=1, le=MAX_TOKENS)
    min: int = _SHORTEST
    max: int = _LONGEST


class ZipfLength(_Between):
    """A length of k tokens, `min` <= k <= `max`, with a probability proportional to k^-exponent."""

    distribution: Literal["zipf"] = key("zipf", help="Zipf's law: a length k is drawn in proportion to k^-exponent.")
    exponent: float = key(1.0, help="How fast the longer lengths become rare; 0: not at all.", ge=0, le=10)
    min: int = key(1, help="The shortest length.", unit="tokens", ge=1, le=MAX_TOKENS)
    max: int = key(4096, help="The longest length.", unit="tokens", ge=1, le=MAX_TOKENS)


class ParetoMixtureLength(_Between):
    """A log-normal body with a Pareto tail, as measured of prompts in production (ServeGen, arXiv 2505.09999)."""

    distribution: Literal["pareto-mixture"] = key(
        "pareto-mixture", help="A log-normal body, and a Pareto tail for some of the requests."
    )
    mean: float = key(512.0, help="Mean length of the body.", unit="tokens", ge=1, le=MAX_TOKENS)
    cv: float = key(1.0, help="Standard deviation over mean of the body.", ge=0, le=100)
    tail: float = key(0.1, help="Share of the lengths that come from the tail.", ge=0, le=1)
    tail_start: float = key(2048.0, help="The tail's shortest length.", unit="tokens", ge=1, le=MAX_TOKENS)
    tail_index: float = key(
        2.0,
        help="The tail's exponent: the share of its lengths above x falls as x^-tail_index, "
        "and their mean is tail_start * tail_index / (tail_index - 1).",
        gt=1,
        le=100,
    )
    min: int = _SHORTEST
    max: int = _LONGEST


class EmpiricalLength(_Between):
    """The lengths of a trace, drawn with replacement: its prompts as prompt lengths, its outputs as output lengths."""

    distribution: Literal["empirical"] = key("empirical", help="Draw from the lengths of a trace.")
    trace: FilePath = key(help="The trace to draw from; of its requests only the lengths count.")
    format: TraceFormat = key("auto", help="The format of that trace; auto: told by its content.")
    joint: bool = key(
        True, help="Draw prompt and output from one request of the trace, where both come from the same trace."
    )
    min: int = _SHORTEST
    max: int = _LONGEST


Lengths = Annotated[
    FixedLength
    | UniformLength
    | LogNormalLength
    | ExponentialLength
    | ZipfLength
    | ParetoMixtureLength
    | EmpiricalLength,
    Field(discriminator="distribution"),
]
"""Lengths of prompts or outputs, in tokens."""


class FixedTurns(Section):
    """Every conversation has as many turns."""

    distribution: Literal["fixed"] = key("fixed", help="Every conversation has as many turns.")
    turns: int = key(3, help="Turns of a conversation.", unit="turns", ge=1, le=10_000)


class UniformTurns(_Between):
    """All numbers of turns from `min` to `max`, both included, equally often."""

    distribution: Literal["uniform"] = key("uniform", help="Every number of turns of a range is equally likely.")
    min: int = key(1, help="Fewest turns.", unit="turns", ge=1, le=10_000)
    max: int = key(5, help="Most turns.", unit="turns", ge=1, le=10_000)


class GeometricTurns(Section):
    """After each turn the conversation goes on with the same probability, 1 - 1/mean."""

    distribution: Literal["geometric"] = key("geometric", help="After each turn it goes on with the same probability.")
    mean: float = key(3.0, help="Mean number of turns.", unit="turns", ge=1, le=10_000)


Turns = Annotated[FixedTurns | UniformTurns | GeometricTurns, Field(discriminator="distribution")]
"""How many turns a conversation has."""


class FixedTime(Section):
    """Always the same time."""

    distribution: Literal["fixed"] = key("fixed", help="Every time is the same.")
    seconds: float = key(1.0, help="The time.", unit="s", ge=0, le=MAX_SECONDS)


class UniformTime(_Between):
    """Every time from `min` to `max` is equally likely."""

    distribution: Literal["uniform"] = key("uniform", help="Every time of a range is equally likely.")
    min: float = key(0.0, help="The shortest time.", unit="s", ge=0, le=MAX_SECONDS)
    max: float = key(10.0, help="The longest time.", unit="s", ge=0, le=MAX_SECONDS)


class ExponentialTime(Section):
    """The memoryless time."""

    distribution: Literal["exponential"] = key("exponential", help="The memoryless time.")
    mean: float = key(5.0, help="Mean time.", unit="s", ge=0, le=MAX_SECONDS)


class LogNormalTime(Section):
    """Log-normal with the mean and the coefficient of variation asked for."""

    distribution: Literal["lognormal"] = key("lognormal", help="The logarithm of the time is normal.")
    mean: float = key(5.0, help="Mean time.", unit="s", gt=0, le=MAX_SECONDS)
    cv: float = key(1.0, help="Standard deviation over mean.", ge=0, le=100)


Times = Annotated[FixedTime | UniformTime | ExponentialTime | LogNormalTime, Field(discriminator="distribution")]
"""Times to think, in seconds."""

"""`[scheduler]`: who runs in the next step."""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from simcore.policies.base import Choice, section_of
from simcore.policies.queue import FCFS, QUEUE
from simcore.policies.victim import VICTIM, ByQueue
from simcore.schema import Misfit, Section, key


class SchedulerSection(Section):
    """The rules by which requests are admitted, batched and preempted; the defaults are vLLM's."""

    policy: Annotated[Section, Choice(QUEUE)] = key(
        default_factory=section_of(FCFS),
        help="Which waiting request is admitted next: a policy's name, or a table with its name and parameters.",
    )
    victim: Annotated[Section, Choice(VICTIM)] = key(
        default_factory=section_of(ByQueue),
        help="Which running request gives way when one of them needs a block and none is free: a policy's name, or a "
        "table with its name and parameters.",
    )
    batching: Literal["continuous", "prefill-first", "static"] = key(
        "continuous",
        help="Who shares a step. continuous: outputs and pieces of prompts, as in vLLM v1 and Sarathi-Serve; "
        "prefill-first: while prompts are to be computed or can be admitted, a step computes nothing else and outputs "
        "wait, as in vLLM v0; static: prompts first too, and nobody is admitted until all of the last batch have "
        "ended.",
    )
    max_num_seqs: int = key(128, help="Requests that may run at one time.", unit="requests", ge=1, le=1_000_000_000)
    max_num_batched_tokens: int = key(
        2048, help="Token budget of one step, prompts and outputs together.", unit="tokens", ge=1, le=1_000_000_000
    )
    max_model_len: int = key(
        0,
        help="Longest sequence, prompt and output together: longer prompts are refused, outputs end there; "
        "0: the model's own limit.",
        unit="tokens",
        ge=0,
        le=1_000_000_000,
    )
    chunked_prefill: bool = key(
        True,
        help="Split a prompt that exceeds what is left of the step's budget; otherwise it waits, and all behind it, "
        "for a step that takes it whole.",
    )
    long_prefill_token_threshold: int = key(
        0,
        help="Most tokens of one request in a step while there are others; 0: no such limit.",
        unit="tokens",
        ge=0,
        le=1_000_000_000,
    )
    watermark: float = key(
        0.0,
        help="Share of the pool that admitting a request must leave free while others run; running ones may use it.",
        ge=0,
        lt=1,
    )
    reserve_full_prompt: bool = key(
        True,
        help="Admit a request only if its whole known sequence fits into the free blocks, not just its first chunk.",
    )
    async_scheduling: bool = key(
        False,
        help="Schedule a step while the one before it is computed, before its output is known, as vLLM does by default "
        "on GPUs.",
    )
    preemption: Literal["recompute", "swap", "cheaper"] = key(
        "recompute",
        help="What happens to a running request that has to give way. recompute: its blocks are freed, and it starts "
        "again with its prompt and the output so far; swap: its blocks are copied to the host, as far as "
        "memory.swap_blocks has room, and fetched again later; cheaper: whichever of the two the model of time says "
        "takes less for this request now.",
    )
    never_fits: Literal["reject", "wait"] = key(
        "reject",
        help="A request that the empty pool could not hold to its end is refused on arrival, or waits for ever and "
        "starves those behind it, as in vLLM's scheduler.",
    )
    max_steps: int = key(
        0,
        help="End the run after this many steps; 0: when the last request is done. Needed where that may never be: "
        'with reserve_full_prompt = false and either never_fits = "wait", or victims by lowest priority without prefix '
        "caching.",
        unit="steps",
        ge=0,
    )

    @property
    def victim_rule(self) -> str:
        """The name of the rule that chooses a victim; where that is left to the queue, the queue's."""
        given: str = self.victim.policy  # type: ignore[attr-defined]  # every table of a choice has it
        return QUEUE[self.policy.policy].victim if given == ByQueue.name else given  # type: ignore[attr-defined]

    @model_validator(mode="after")
    def _keys_fit_together(self) -> Self:
        problems = {}
        if self.max_num_batched_tokens < self.max_num_seqs:
            problems["max_num_batched_tokens"] = f"must be at least scheduler.max_num_seqs ({self.max_num_seqs})"
        if self.never_fits == "wait" and not self.reserve_full_prompt and not self.max_steps:
            problems["max_steps"] = (
                'must be above 0 with never_fits = "wait" and reserve_full_prompt = false: a request that never fits '
                "is then recomputed and preempted for ever"
            )
        if self.async_scheduling and self.batching != "continuous":
            problems["async_scheduling"] = f'cannot be simulated with scheduler.batching = "{self.batching}" yet'
        if self.async_scheduling and self.preemption == "cheaper":
            problems["async_scheduling"] = 'cannot be simulated with scheduler.preemption = "cheaper" yet'
        if problems:
            raise Misfit(self, problems)
        return self

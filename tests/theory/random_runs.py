"""Small random servers under random load, short of everything: blocks, slots, budget."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from simcore import Scenario, Workload
from simcore.workload.columns import OPEN, PRIVATE, Runs

PREFIXES = 3
"""Sources of tokens that prompts may begin with, and outputs may repeat."""


@st.composite
def scenarios(draw: st.DrawFn, *, ends: bool = True) -> Scenario:
    """A server whose pool holds from a few tokens to all that ever comes; without `ends` it may be stopped early."""
    budget = draw(st.integers(1, 48))
    chunked = draw(st.booleans())
    max_model_len = draw(st.integers(2, 80)) if chunked else draw(st.integers(2, max(2, budget)))
    return Scenario.model_validate(
        {
            "memory": {
                "blocks": draw(st.integers(2, 60)),
                "block_size": draw(st.integers(1, 8)),
                "prefix_caching": draw(st.booleans()),
            },
            "scheduler": {
                "policy": draw(st.sampled_from(["fcfs", "priority"])),
                "max_num_seqs": draw(st.integers(1, min(8, budget))),
                "max_num_batched_tokens": max(budget, max_model_len) if not chunked else budget,
                "max_model_len": max_model_len,
                "chunked_prefill": chunked,
                "long_prefill_token_threshold": draw(st.integers(0, min(8, max_model_len))),
                "watermark": draw(st.sampled_from([0.0, 0.2])),
                "reserve_full_prompt": draw(st.booleans()),
                "max_steps": 0 if ends else draw(st.integers(0, 60)),
            },
            "timing": {
                "model": "linear",
                "step": draw(st.sampled_from([0.0, 0.25, 0.01])),
                "per_token": draw(st.sampled_from([0.0, 0.125, 0.003])),
                "per_context_token": draw(st.sampled_from([0.0, 1e-4])),
            },
            "metrics": {
                "warmup": draw(st.sampled_from([0.0, 0.5, 3.0, 1e3])),
                "slo": draw(slos),
            },
        }
    )


slos = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([1e-3, 0.25, 0.5, 2.0, 20.0]) for name in ("ttft", "tpot", "itl", "e2e")}
)


@st.composite
def workloads(draw: st.DrawFn) -> Workload:
    """Up to 14 requests with prefixes in common; some answer to one before them, an eighth of a second or more later."""
    count = draw(st.integers(1, 14))

    def column(values: st.SearchStrategy[Any], length: int = count) -> list[Any]:
        return draw(st.lists(values, min_size=length, max_size=length))

    gap = np.array(column(st.sampled_from([0, 1, 2, 3, 8, 100]))) / 8  # many fall on the end of a step
    prompt_len = np.array(column(st.integers(1, 40)))
    after = [OPEN if row == 0 else draw(st.integers(-4 * row, row - 1)) for row in range(count)]
    waits = np.maximum(after, OPEN)
    shared = np.minimum(prompt_len, column(st.integers(0, 40)))
    opening, named = np.cumsum(gap), shared > 0
    return Workload(
        format="synthetic",
        arrival=np.where(waits == OPEN, opening, gap + 1 / 8),
        prompt_len=prompt_len,
        output_len=np.array(column(st.integers(1, 20))),
        priority=np.array(column(st.integers(0, 2))),
        after=waits,
        runs=Runs(
            offsets=np.concatenate(([0], np.cumsum(named))),
            source=np.array(column(st.integers(1, PREFIXES)))[named],
            length=shared[named],
        ),
        output_source=np.array(column(st.sampled_from([PRIVATE, *range(1, PREFIXES + 1)]))),
    )

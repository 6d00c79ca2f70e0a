"""Small random servers under random load, short of everything: blocks, slots, budget."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from simcore import Scenario, Workload
from simcore.policies.queue import QUEUE
from simcore.policies.victim import VICTIM
from simcore.scenario.model import STATE
from simcore.workload.columns import OPEN, PRIVATE, Runs

PREFIXES = 3
"""Sources of tokens that prompts may begin with, and outputs may repeat."""


SHAPE = {"query_heads": 1, "kv_heads": 1, "head_dim": 64}

PREEMPTION = ["swap", "swap", "recompute", "cheaper"]
BATCHING = ["continuous", "continuous", "prefill-first", "static"]


def layer_of(window: int) -> dict[str, Any]:
    """A layer that keeps this: see `Model.windows`."""
    return {"layers": 1, "attention": False, "state_bytes": 8} if window == STATE else {"layers": 1, "window": window}


slos = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([0.25, 1.0, 4.0, 20.0]) for name in ("ttft", "tpot", "itl", "e2e")}
)


window_sizes = st.sampled_from([1, 2, 3, 4, 7, 8, 9, 16, 25])
windows_of_tables = st.one_of(
    st.just([0]),
    st.tuples(window_sizes),
    st.permutations([0, 5]),
    st.builds(lambda window: [0, window], window_sizes),
    st.builds(lambda window: [window, 0, window], window_sizes),
    st.permutations([0, 3, 8]),
    st.permutations([4, 10]),
)


states_and_tables = st.sampled_from([[STATE], [STATE, 0], [0, STATE, STATE], [5, STATE], [0, 5, STATE]])


@st.composite
def queues(draw: st.DrawFn, caching: bool) -> dict[str, Any]:
    """A queue policy with any parameters."""
    name = draw(st.sampled_from([name for name in QUEUE if caching or name != "longest-prefix-first"]))
    parameters: dict[str, dict[str, list[Any]]] = {
        "shortest-first": {"know": ["oracle", "predicted"], "noise": [0.0, 1.0], "ageing": [0.0, 3.0]},
        "fair": {"input_weight": [1.0, 0.0], "output_weight": [2.0, 0.5]},
        "longest-prefix-first": {"most": [128, 2]},
    }
    return {"policy": name} | {key: draw(st.sampled_from(values)) for key, values in parameters.get(name, {}).items()}


prunings = st.one_of(
    st.fixed_dictionaries({"budget": st.integers(1, 20)}),
    st.fixed_dictionaries({"keep": st.sampled_from([0.3, 0.5, 0.9])}),
    st.fixed_dictionaries(
        {"budget": st.integers(1, 20), "keep": st.sampled_from([0.5, 1.0])},
        optional={"during": st.just("outputs"), "slack": st.just(0)},
    ),
    st.fixed_dictionaries({"budget": st.integers(1, 20), "during": st.just("outputs"), "slack": st.integers(0, 9)}),
)


@st.composite
def scenarios(
    draw: st.DrawFn,
    *,
    ends: bool = True,
    swaps: bool = False,
    windows: bool = False,
    states: bool = False,
    late: bool = False,
    prunes: bool = False,
) -> Scenario:
    """A server that is too small for its load, mostly; without `ends` it may be stopped before all is served.

    Models have `windows` only if asked for, and layers with `states`; with `late`, steps are planned while the last one
    is in flight. With `prunes`, live requests lose tokens.
    """
    block_size = draw(st.integers(1, 8))
    tables = list(draw(states_and_tables if states else windows_of_tables)) if windows or states else [0]
    intervals = st.one_of(st.sampled_from([-1, 0]), st.builds(lambda blocks: blocks * block_size, st.integers(1, 4)))
    swaps = swaps and not any(tables)
    max_num_seqs = draw(st.sampled_from([8, 4, 2, 1]))
    chunked = draw(st.booleans())
    max_model_len = draw(st.sampled_from([45, 30, 60]))
    budget = max_num_seqs + draw(st.integers(0, 40))
    return Scenario.model_validate(
        {
            "model": {"layer_groups": [layer_of(window) for window in tables], **SHAPE},
            "memory": {
                "blocks": 1 + draw(st.integers(24, 90)) // block_size * len(tables),
                "block_size": block_size,
                "prefix_caching": (caching := not states and draw(st.booleans())),
                "swap_blocks": draw(st.sampled_from([0, 6])),
                "keep_unwritten": draw(st.booleans()),
                "prefix_retention": draw(intervals) if any(tables) else -1,
            },
            "scheduler": {
                "policy": draw(queues(caching)),
                "victim": (victim := draw(st.sampled_from(list(VICTIM)))),
                "batching": "continuous" if late else draw(st.sampled_from(BATCHING)),
                "async_scheduling": late,
                "preemption": draw(st.sampled_from(PREEMPTION[: 3 if late else 4])) if swaps else "recompute",
                "max_num_seqs": max_num_seqs,
                "max_num_batched_tokens": budget if chunked else max(budget, max_model_len),
                "max_model_len": max_model_len,
                "chunked_prefill": chunked,
                "long_prefill_token_threshold": draw(st.integers(0, 8)),
                "watermark": draw(st.sampled_from([0.0, 0.2])),
                "reserve_full_prompt": (reserve := draw(st.booleans())),
                "max_steps": (0 if ends else draw(st.sampled_from([0, 60, 20])))
                or (0 if caching or reserve or victim not in ("by-queue", "lowest-priority") else 100_000),
            },
            "pruning": draw(prunings) if prunes else {},
            "timing": {
                "model": "linear",
                "step": draw(st.sampled_from([0.25, 0.01, 0.0])),
                "per_token": draw(st.sampled_from([0.0, 0.125, 0.003])),
                "per_context_token": draw(st.sampled_from([0.0, 1e-4])),
                "per_copied_block": draw(st.sampled_from([0.0, 0.125])),
                "per_swapped_block": draw(st.sampled_from([0.0, 0.125])),
            },
            "metrics": {"warmup": draw(st.sampled_from([0.0, 1.0, 4.0, 1e3])), "slo": draw(slos)},
        }
    )


@st.composite
def workloads(draw: st.DrawFn, *, forks: bool = False, beams: bool = False) -> Workload:
    """A few requests with prefixes in common; some answer to one before them, at once or later.

    No two have the same priority: vLLM's rule lets two equal ones preempt each other for ever.
    """
    count = draw(st.sampled_from([12, 8, 5, 1]))

    def column(values: st.SearchStrategy[Any], length: int = count) -> list[Any]:
        return draw(st.lists(values, min_size=length, max_size=length))

    gap = np.array(column(st.sampled_from([0, 1, 2, 4, 100]))) / 8  # many fall on the end of a step
    prompt_len = np.array(column(st.integers(1, 32)))
    after = [OPEN if row == 0 else draw(st.integers(-4 * row, row - 1)) for row in range(count)]
    waits = np.maximum(after, OPEN)
    shared = np.minimum(prompt_len, column(st.integers(0, 32)))
    opening, named = np.cumsum(gap), shared > 0
    return Workload(
        format="synthetic",
        arrival=np.where(waits == OPEN, opening, gap),
        prompt_len=prompt_len,
        output_len=np.array(column(st.integers(1, 24))),
        priority=np.array(draw(st.permutations(range(count)))),
        category=np.array(column(st.integers(0, 2))),
        after=waits,
        samples=np.array(column(st.sampled_from([1, 1, 1, 2, 3, 8]))) if forks else None,
        beam_switch=draw(st.sampled_from([0.0, 0.1, 0.6])) if beams else 0.0,
        runs=Runs(
            offsets=np.concatenate(([0], np.cumsum(named))),
            source=np.array(column(st.integers(1, PREFIXES)))[named],
            length=shared[named],
        ),
        output_source=np.array(column(st.sampled_from([PRIVATE, *range(1, PREFIXES + 1)]))),
    )

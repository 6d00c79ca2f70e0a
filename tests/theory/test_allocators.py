"""Allocators below the scheduler: nobody is lost under any of them, and published batch sizes come out."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Scenario, Workload, simulate
from simcore.errors import InputError
from simcore.record.recorder import FINISHED, REJECTED
from tests.theory.random_runs import scenarios, workloads

SHAREGPT = ['workload.arrivals={process="all-at-once"}', "workload.requests=1500"]
ALPACA = [
    'workload.arrivals={process="all-at-once"}',
    "workload.requests=4000",
    'workload.prompt={distribution="lognormal", mean=19.31, cv=1.0}',
    'workload.output={distribution="lognormal", mean=58.45, cv=1.02}',
]

allocators = st.one_of(
    st.fixed_dictionaries(
        {
            "policy": st.just("contiguous"),
            "reserve": st.sampled_from(["pow2", "exact"]),
            "placement": st.sampled_from(["buddy", "first-fit", "best-fit"]),
        }
    ),
    st.fixed_dictionaries({"policy": st.just("growing"), "first": st.sampled_from([1, 2]), "largest": st.just(4)}),
    st.fixed_dictionaries({"policy": st.just("virtual"), "page": st.sampled_from([4, 8])}),
)


@settings(max_examples=200)
@given(scenarios(), workloads(), allocators)
def test_all_that_fit_are_served(scenario: Scenario, workload: Workload, allocator: dict[str, Any]) -> None:
    """Each request ends or is refused, tokens are computed once but for preemptions, and slots add up in every step."""
    data = scenario.model_dump(mode="json", exclude_none=True)
    data["memory"] |= {"allocator": allocator, "prefix_caching": False}
    data["model"] = {"layers": 1, "query_heads": 1, "head_dim": 256, "dtype": "float16"}  # a page of 4 KiB: 8 tokens
    data["scheduler"]["max_steps"] = 20_000
    if data["scheduler"]["policy"]["policy"] == "longest-prefix-first":  # there are no cached prefixes
        data["scheduler"]["policy"] = "fcfs"
    scenario = Scenario.model_validate(data)
    results = simulate(scenario, workload=workload, journal=True)
    requests, steps = results.record.requests, results.record.steps
    finished = requests["status"] == FINISHED
    assert (finished | (requests["status"] == REJECTED)).all()
    needed = np.minimum(workload.prompt_len + workload.output_len, scenario.max_model_len) - 1
    undisturbed = requests["preemptions"] == 0
    assert (requests["computed_tokens"] == needed)[finished & undisturbed].all()
    assert (requests["computed_tokens"] >= needed)[finished].all()
    if allocator["policy"] == "contiguous":
        assert undisturbed.all()

    size, usable = scenario.memory.block_size, (scenario.memory.blocks or 0) - 1
    assert (steps["blocks_used"] + steps["blocks_free"] == usable).all()
    told = steps["tokens_stored"] + steps["tokens_reserved"] + steps["tokens_internal"]
    assert (told == steps["blocks_used"] * size).all()
    for name in ("stored", "reserved", "internal", "external"):
        assert (steps[f"tokens_{name}"] >= 0).all()
    assert (steps["tokens_external"] <= steps["blocks_free"] * size).all()
    held = results.blocks.group_by("event").len()
    assert dict(held.iter_rows()).get("allocate", 0) == dict(held.iter_rows()).get("free", 0)


def batch(*overrides: str) -> tuple[float, dict[str, float]]:
    """How many run while others wait, on average over time, and the shares of the pool's slots."""
    results = simulate(Scenario.preset("orca", overrides))
    steps, pool = results.record.steps, 15_728
    crowded = steps["waiting"] > 0
    crowded[: crowded.sum() // 10] = False  # until lengths have mixed
    lasted = steps["dt"] * crowded / steps["dt"].sum()
    shares = {name: lasted @ steps[f"tokens_{name}"] / lasted.sum() / pool for name in ("stored", "reserved")}
    return lasted @ steps["running"] / lasted.sum(), shares


@pytest.mark.parametrize(
    ("lengths", "pow2", "exact", "paged"), [(SHAREGPT, 9.81, 13.62, 30.42), (ALPACA, 43.24, 72.75, 132.44)]
)
def test_batches_of_the_vllm_paper(lengths: list[str], pow2: float, exact: float, paged: float) -> None:
    """Mean number of requests batched, OPT-13B on an A100 (https://arxiv.org/abs/2309.06180, figure 13).

    Contiguous memory does not depend on how long a step takes. Paged memory is given all at once here, and holds more.
    """
    contiguous = 'memory.allocator={{policy="contiguous", reserve="{}"}}'
    assert batch(*lengths)[0] == pytest.approx(7.0, rel=1e-12)
    assert batch(*lengths, contiguous.format("pow2"))[0] == pytest.approx(pow2, rel=0.08)
    assert batch(*lengths, contiguous.format("exact"))[0] == pytest.approx(exact, rel=0.06)
    assert batch(*lengths, 'memory.allocator="paged"', "memory.prefix_caching=false")[0] > paged


def test_shares_of_the_vllm_paper() -> None:
    """Share of the pool that holds token states, within 4 points (the same, figure 2)."""
    contiguous = 'memory.allocator={{policy="contiguous", reserve="{}"}}'
    stored = [batch(*SHAREGPT, contiguous.format(reserve))[1]["stored"] for reserve in ("max", "pow2", "exact")]
    assert stored == pytest.approx([0.204, 0.268, 0.382], abs=0.04)


def test_one_size_of_waste_after_another() -> None:
    """What is not reserved wholesale is used: the shares that hold tokens stand in the order of the ideas."""
    held = [
        batch(*SHAREGPT, f"memory.allocator={allocator}", "memory.prefix_caching=false")[1]["stored"]
        for allocator in (
            '{policy="contiguous"}',
            '{policy="contiguous", reserve="pow2"}',
            '{policy="contiguous", reserve="exact"}',
            '{policy="contiguous", reserve="exact", placement="first-fit"}',
            '{policy="virtual"}',
            '{policy="virtual", page=64}',
            '"paged"',
        )
    ]
    assert held == sorted(held)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["memory.prefix_caching=true"],
            'memory.prefix_caching is true, but memory.allocator = "contiguous" shares no blocks: it must be false',
        ),
        (
            ["workload.samples=2"],
            'workload.samples is 2, but memory.allocator = "contiguous" shares no blocks: it must be 1',
        ),
        (
            ['scheduler.preemption="swap"'],
            'scheduler.preemption is "swap", but memory.allocator = "contiguous" cannot swap: it must be "recompute"',
        ),
        (
            ['memory.allocator={policy="growing", first=3}'],
            "memory.allocator is a table, but first is 3, and must be a power of two",
        ),
        (
            ['memory.allocator={policy="growing", first=8, largest=4}'],
            "memory.allocator is a table, but largest is 4, and must be at least first (8)",
        ),
    ],
)
def test_what_does_not_fit_together(overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Scenario.preset("orca", overrides)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["memory.blocks=2000"],
            "memory.allocator reserves 2,048 tokens for every request, and the pool of 1,999 has no such piece; "
            "a smaller scheduler.max_model_len would help",
        ),
        (
            ['memory.allocator={policy="virtual", page=4}'],
            "memory.allocator.page is 4 KiB, which is 0 tokens, and no block of 1 fits into it",
        ),
        (
            ['memory.allocator="virtual"', "memory.blocks=200"],
            "memory.allocator.page is 2048 KiB, which is 204 tokens, and the pool has fewer",
        ),
    ],
)
def test_what_the_pool_is_too_small_for(overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        simulate(Scenario.preset("orca", overrides))
    assert str(refused.value) == sentence


def test_samples_of_a_trace_need_shared_blocks() -> None:
    workload = Workload(
        format="synthetic",
        arrival=np.zeros(1),
        prompt_len=np.array([4]),
        output_len=np.array([4]),
        samples=np.array([2]),
    )
    with pytest.raises(InputError, match=r'several samples, and memory.allocator = "contiguous" shares no blocks$'):
        simulate(Scenario.preset("orca"), workload=workload)

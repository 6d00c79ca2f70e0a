"""Live sequences that lose tokens: plans carried out on names, and by hand."""

import json
from collections import Counter
from io import StringIO

import numpy as np
import pytest
from hypothesis import given, settings

from simcore import Scenario, Simulation, Workload, simulate
from simcore.errors import UnsupportedError
from simcore.record.recorder import Record
from simcore.timing import make_timer
from simcore.workload.columns import Runs
from tests.serving.symbolic import SymbolicExecutor
from tests.theory.random_runs import scenarios, workloads


def carried_out(scenario: Scenario, workload: Workload) -> tuple[Record, SymbolicExecutor]:
    executor = SymbolicExecutor(workload, scenario.memory.block_size, make_timer(scenario))
    return Simulation(scenario, workload=workload, executor=executor).run().record, executor


def test_every_row_reads_what_it_has_kept_and_what_others_find_is_whole() -> None:
    reached: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(scenarios(ends=False, prunes=True), workloads())
    def check(scenario: Scenario, workload: Workload) -> None:
        memory = scenario.memory.model_copy(update={"keep_unwritten": False})
        scenario = scenario.model_copy(update={"memory": memory})
        record, executor = carried_out(scenario, workload)
        steps = record.steps
        assert executor.count["written"] == steps["scheduled_tokens"].sum()
        assert executor.count["pruned"] == steps["prunings"].sum()
        timed = simulate(scenario, workload=workload).record
        for name, column in timed.steps.items():
            assert (column == steps[name]).all(), name
        reached.update(executor.count)
        reached["hits"] += int(steps["hit_tokens"].sum())
        reached["preempted"] += int(steps["preemptions"].sum())

    check()
    assert min(reached[name] for name in ("pruned", "hits", "preempted")) >= 20, reached


def by_hand(pruning: dict[str, object], blocks: int = 30, caching: bool = False) -> Scenario:
    return Scenario.model_validate(
        {
            "memory": {"blocks": blocks, "block_size": 4, "prefix_caching": caching},
            "scheduler": {"max_model_len": 64},
            "pruning": pruning,
            "timing": {"model": "linear", "step": 1.0, "per_context_token": 1.0, "per_copied_block": 0.5},
        }
    )


def test_once_after_the_prompt() -> None:
    """A prompt of 16 tokens keeps 6 of them, and its 5 outputs grow from there."""
    workload = Workload("test", np.zeros(1), np.array([16]), np.array([5]))
    record, _ = carried_out(by_hand({"budget": 6}), workload)
    steps = record.steps
    assert steps["scheduled_tokens"].tolist() == [16, 1, 1, 1, 1]
    assert steps["tokens_stored"].tolist() == [16, 7, 8, 9, 10]
    assert steps["blocks_used"].tolist() == [4, 2, 2, 3, 3]
    assert steps["pruned_tokens"].tolist() == [10, 0, 0, 0, 0]
    assert (steps["dt"] / 2**40).tolist() == [1 + 16 + 2 * 0.5, 8, 9, 10, 11]
    assert record.requests["output_tokens"].tolist() == [5]
    assert record.requests["computed_tokens"].tolist() == [20]


def test_again_and_again() -> None:
    """Pruned to 4 tokens whenever 6 are stored: after the prompt, and in each second step."""
    workload = Workload("test", np.zeros(1), np.array([9]), np.array([8]))
    record, _ = carried_out(by_hand({"budget": 4, "during": "outputs", "slack": 2}), workload)
    steps = record.steps
    assert steps["tokens_stored"].tolist() == [9, 5, 6, 5, 6, 5, 6, 5]
    assert steps["pruned_tokens"].tolist() == [5, 0, 2, 0, 2, 0, 2, 0]
    assert steps["blocks_used"].tolist() == [3, 2, 2, 2, 2, 2, 2, 2]


def test_what_is_cached_stays_whole() -> None:
    """The first request packs what it keeps into fresh blocks; the second hits its whole prompt but the last block."""
    record, _ = carried_out(by_hand({"budget": 6}, caching=True), shared_prompts(2, 16, gap=1000))
    steps = record.steps
    assert steps["hit_tokens"].sum() == 12
    assert steps["blocks_used"].tolist()[:5] == [6, 2, 2, 3, 3]  # the fresh blocks are there before the old ones go
    assert steps["blocks_cached"].tolist()[:5] == [0, 4, 4, 4, 4]


def test_without_room_the_claim_on_the_cache_is_given_up() -> None:
    """A prompt takes 5 blocks of 6: what it keeps is packed into 2 of its own, and nobody finds its prompt later."""
    record, _ = carried_out(by_hand({"budget": 6}, blocks=7, caching=True), shared_prompts(2, 20, gap=1000))
    steps = record.steps
    assert steps["prunings"].sum() == 2
    assert steps["hit_tokens"].sum() == 0
    assert steps["blocks_used"].tolist()[:2] == [5, 2]


def test_a_preempted_request_hits_what_it_let_go_of_when_it_was_pruned() -> None:
    """Whether its blocks are recorded or not. A long prompt's second chunk wants 6 blocks, and takes 2 of its 5."""
    scenario = by_hand({"budget": 16}, blocks=16, caching=True).overridden(
        ["scheduler.long_prefill_token_threshold=24"]
    )
    workload = Workload("test", np.zeros(2), np.array([48, 20]), np.array([3, 4]))
    for journal in (False, True):
        steps = simulate(scenario, workload=workload, journal=journal).record.steps
        assert steps["preemptions"].tolist() == [0, 1, 0, 0, 0]
        assert steps["hit_tokens"].tolist() == [0, 0, 12, 0, 0]


def test_where_all_is_shared_it_waits() -> None:
    """Two share 5 blocks, each has one of its own, and none is free, until one of them has to give way."""
    record, _ = carried_out(by_hand({"budget": 12}, blocks=8, caching=True), shared_prompts(2, 21, outputs=8))
    steps = record.steps
    assert steps["hit_tokens"].tolist()[0] == 20
    assert steps["preemptions"].tolist()[:5] == [0, 0, 0, 0, 1]
    assert steps["pruned_tokens"].tolist()[:5] == [0, 0, 0, 0, 21 + 4 - 12]


def shared_prompts(count: int, tokens: int, outputs: int = 5, gap: float = 0) -> Workload:
    """Requests with one prompt, so many seconds apart."""
    return Workload(
        "test",
        np.array([row * gap for row in range(count)]),
        np.full(count, tokens),
        np.full(count, outputs),
        runs=Runs(np.arange(count + 1), np.ones(count, np.int64), np.full(count, tokens)),
    )


def test_the_log_of_steps_says_who_is_pruned() -> None:
    log = StringIO()
    workload = Workload("test", np.zeros(1), np.array([16]), np.array([3]))
    simulate(by_hand({"budget": 6}), workload=workload, step_log=log)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert [line.get("keeps") for line in lines] == [[["r0", 6, 10, [1, 2]]], None, None]


def test_a_workload_that_wants_several_samples_is_refused() -> None:
    workload = Workload("test", np.zeros(1), np.array([16]), np.array([5]), samples=np.array([2]))
    with pytest.raises(UnsupportedError, match="pruning cannot be simulated with several samples yet"):
        simulate(by_hand({"budget": 6}), workload=workload)

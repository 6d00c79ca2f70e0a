"""Plans carried out on names: sharing, forks, copies, swaps and preemptions never mix up what a row reads."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings

from simcore import Scenario, Simulation, Workload
from simcore.memory.base import MoveKind
from simcore.record.recorder import Record
from simcore.timing import make_timer
from simcore.workload import make_workload
from tests.serving.harness import scenario_of
from tests.serving.symbolic import SymbolicExecutor
from tests.serving.test_vllm_cases import Case
from tests.theory.random_runs import scenarios, workloads


def carried_out(scenario: Scenario, workload: Workload) -> tuple[Record, SymbolicExecutor]:
    executor = SymbolicExecutor(workload, scenario.memory.block_size, make_timer(scenario))
    return Simulation(scenario, workload=workload, executor=executor).run().record, executor


def test_every_row_reads_what_was_computed_for_it() -> None:
    reached: Counter[str] = Counter()

    @settings(max_examples=250)
    @given(scenarios(ends=False, swaps=True), workloads(forks=True, beams=True))
    def check(scenario: Scenario, workload: Workload) -> None:
        memory = scenario.memory.model_copy(update={"keep_unwritten": False})
        record, executor = carried_out(scenario.model_copy(update={"memory": memory}), workload)
        steps = record.steps
        assert executor.count["written"] == steps["scheduled_tokens"].sum()
        assert executor.count[MoveKind.COPY] == steps["copies"].sum()
        assert executor.count[MoveKind.SWAP_OUT] == steps["swaps_out"].sum()
        assert executor.count[MoveKind.SWAP_IN] == steps["swaps_in"].sum()
        if len(steps["t"]):
            assert executor.held == steps["blocks_used"][-1]
        reached.update(executor.count)
        reached["hits"] += int(steps["hit_tokens"].sum())
        reached["preempted"] += int(steps["preemptions"].sum())

    check()
    assert min(reached[name] for name in ("copy", "swap_out", "swap_in", "hits", "preempted", "beams")) >= 8, reached


def test_swapping_saves_computing() -> None:
    """Two requests that cannot both grow: one is swapped out, and what it had is not computed again."""
    options = {
        "memory": {"blocks": 7, "block_size": 4, "prefix_caching": False},
        "timing": {"model": "linear", "step": 1.0, "per_swapped_block": 0.25},
    }
    workload = Workload("test", np.zeros(2), np.array([8, 8]), np.array([12, 12]))
    scheduled = {}
    for preemption in ("recompute", "swap"):
        scenario = Scenario.model_validate(options | {"scheduler": {"preemption": preemption, "max_model_len": 24}})
        record, _ = carried_out(scenario, workload)
        assert record.steps["preemptions"].sum() == 1
        scheduled[preemption] = int(record.steps["scheduled_tokens"].sum())
        if preemption == "swap":
            assert record.steps["swaps_out"].sum() == record.steps["swaps_in"].sum() == 3
            moved = record.steps["swaps_out"] + record.steps["swaps_in"]
            assert (record.steps["dt"] == (4 + moved) * 2**38).all()
    assert scheduled["swap"] == 2 * 19
    assert scheduled["recompute"] > scheduled["swap"]


def test_samples_share_their_prompt_and_copy_its_last_block_but_once() -> None:
    """Three samples of 10 tokens in blocks of 4: 2 full blocks are shared, the third is copied by all but one."""
    options = {
        "memory": {"blocks": 30, "block_size": 4},
        "scheduler": {"max_model_len": 64},
        "timing": {"model": "constant"},
    }
    scenario = Scenario.model_validate(options)
    workload = Workload("test", np.zeros(1), np.array([10]), np.array([5]), samples=np.array([3]))
    record, _ = carried_out(scenario, workload)
    steps = record.steps
    assert steps["scheduled_tokens"].tolist() == [10, 3, 3, 3, 3]
    assert steps["copies"].tolist() == [0, 2, 0, 0, 0]
    assert steps["blocks_used"].tolist() == [3, 5, 5, 8, 8]
    assert steps["tokens_stored"].tolist() == [10, 8 + 9, 8 + 12, 8 + 15, 8 + 18]
    assert record.requests["output_tokens"].tolist() == [15]


def test_beams_fork_from_each_other_and_share_what_they_have_in_common() -> None:
    """By hand, with a search of two beams in blocks of 4: after the first token one gives way, then nobody does."""
    options = {
        "memory": {"blocks": 30, "block_size": 4},
        "scheduler": {"max_model_len": 64},
        "timing": {"model": "constant"},
    }
    scenario = Scenario.model_validate(options)
    workload = Workload("test", np.zeros(1), np.array([6]), np.array([4]), samples=np.array([2]), beam_switch=0.5)
    executor = SymbolicExecutor(workload, 4, make_timer(scenario))
    pairs = iter([[], [(1, 0)], [], []])
    executor.beams.step = lambda plan: next(pairs)
    record = Simulation(scenario, workload=workload, executor=executor).run().record
    steps = record.steps
    assert steps["scheduled_tokens"].tolist() == [6, 2, 2, 2]
    assert steps["copies"].tolist() == [0, 1, 1, 0]  # at the fork, and again for the new beam
    assert steps["blocks_used"].tolist() == [2, 3, 3, 5]
    assert record.sequences.tolist() == [0, 0, 0]
    assert record.streaks.tolist() == [[0, 0, 0, 4], [0, 1, 0, 2], [0, 2, 2, 2]]
    assert record.requests["output_tokens"].tolist() == [8]
    assert record.requests["computed_tokens"].tolist() == [12]


@pytest.mark.parametrize("kept", [True, False])
def test_the_phantom_hit_of_vllm_would_read_what_was_never_computed(kept: bool) -> None:
    """Unless blocks that a preempted chunk would have filled leave the prefix cache with it: `keep_unwritten`."""
    case = Case("32_priority_phantom_hit")
    scenario = scenario_of(case.config, case.workload)
    memory = scenario.memory.model_copy(update={"keep_unwritten": kept})
    scenario = scenario.model_copy(update={"memory": memory})
    workload = make_workload(scenario.workload, 0)
    if kept:
        with pytest.raises(AssertionError):
            carried_out(scenario, workload)
    else:
        record, _ = carried_out(scenario, workload)
        assert record.steps["preemptions"].sum() > 0


def test_a_beam_that_takes_the_place_of_the_first_does_not_fork_again() -> None:
    """The first beam is dropped, and its successor preempted: it comes back alone, and all of the search ends."""
    options = {
        "memory": {"blocks": 9, "block_size": 4, "prefix_caching": False},
        "scheduler": {"max_model_len": 64},
        "timing": {"model": "constant"},
    }
    workload = Workload(
        "test", np.zeros(2), np.array([6, 6]), np.array([18, 18]), samples=np.array([2, 2]), beam_switch=0.4
    )
    preempted = 0
    for seed in range(20):
        results = Simulation(Scenario.model_validate(options | {"seed": seed}), workload=workload).run()
        assert results.summary["requests"]["finished"] == 2
        assert results.record.requests["output_tokens"].tolist() == [36, 36]
        preempted += results.summary["preemptions"]
    assert preempted > 20

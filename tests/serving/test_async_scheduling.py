"""Steps that are planned while the one before them is computed, by hand."""

from collections.abc import Callable
from typing import Any

import numpy as np

from simcore import Results, Scenario, Simulation, Workload
from simcore.policies.base import section_of
from simcore.policies.queue import Priority
from simcore.serving.executor import TimedExecutor
from simcore.serving.plan import Outcome, StepPlan
from simcore.serving.request import Request, Sequence
from simcore.timing import make_timer
from simcore.workload.columns import OPEN

SECOND = 2**40


class Diary:
    """When plans are made, when their steps begin, and when their outcomes are applied, in this order."""

    def __init__(self, stop: Callable[[int], None] = lambda index: None) -> None:
        self.lines: list[str] = []
        self._stop = stop

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: int, ticks: int) -> None:
        self.lines.append(f"{plan.index} made at {plan.made / SECOND:g}, begins at {start / SECOND:g}")
        self._stop(plan.index)

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        self.lines.append(f"{plan.index} done" + "".join(f", {sequence.name} ended" for sequence in ended))


class EndsEarly(TimedExecutor):
    """Row 0 samples the end of its sequence in one of the steps."""

    def __init__(self, scenario: Scenario, step: int) -> None:
        super().__init__(make_timer(scenario))
        self._step = step

    def collect(self) -> Outcome:
        outcome = super().collect()
        if outcome.index == self._step:
            outcome.ended = frozenset({(0, 0)})
        return outcome


def scenario_of(blocks: int = 100, **memory: Any) -> Scenario:
    """Every step takes a second."""
    return Scenario.model_validate(
        {
            "memory": {"blocks": blocks, "block_size": 1, "prefix_caching": False, **memory},
            "scheduler": {"async_scheduling": True, "max_model_len": 100},
            "timing": {"model": "constant", "step": 1.0},
        }
    )


def workload_of(*requests: tuple[float, int, int], after: list[int] | None = None) -> Workload:
    """Requests are (arrival, prompt, output)."""
    arrival, prompt, output = (np.array(column) for column in zip(*requests, strict=True))
    return Workload("test", arrival.astype(float), prompt, output, after=None if after is None else np.array(after))


def computed(results: Results) -> list[int]:
    return results.requests["computed_tokens"].to_list()


def test_a_step_is_planned_when_the_one_before_it_begins() -> None:
    """Nobody knows that the last token of a request is its last before it is there; but nothing is computed for it."""
    diary = Diary()
    results = Simulation(scenario_of(), workload=workload_of((0, 8, 3)), observers=[diary]).run()
    assert diary.lines == [
        "0 made at 0, begins at 0",
        "1 made at 0, begins at 1",
        "0 done",
        "2 made at 1, begins at 2",
        "1 done",
        "3 made at 2, begins at 3",
        "2 done, r0 ended",
        "3 done",
    ]
    assert results.timeline["scheduled_tokens"].to_list() == [8, 1, 1, 0]
    assert results.timeline["t"].to_list() == [0, 1, 2, 3]
    assert results.timeline["dt"].to_list() == [1, 1, 1, 0]
    assert results.timeline["tokens_stored"].to_list() == [8, 9, 10, 10]
    assert results.timeline["running"].to_list() == [1, 1, 1, 1]
    request = results.requests.row(0, named=True)
    assert (request["ttft"], request["e2e"], request["itl_mean"], request["computed_tokens"]) == (1, 3, 1, 10)


def test_a_victim_is_given_the_token_in_flight_and_may_end_with_it() -> None:
    """6 blocks of one token: in step 2 one request needs a fourth, while the last token of the other is in flight."""
    results = Simulation(scenario_of(7), workload=workload_of((0, 2, 4), (0, 2, 2))).run()
    assert results.summary["requests"]["finished"] == 2
    assert results.requests["preemptions"].to_list() == [0, 1]
    assert results.requests["e2e"].to_list() == [4, 2]
    assert computed(results) == [5, 3], "nothing is computed twice"
    assert results.record.streaks.tolist() == [[1, 1, 0, 2], [0, 0, 0, 4]]


def test_a_victim_goes_on_behind_the_token_in_flight() -> None:
    results = Simulation(scenario_of(7), workload=workload_of((0, 2, 4), (0, 2, 3))).run()
    assert results.requests["preemptions"].to_list() == [0, 1]
    assert computed(results) == [5, 3 + 4], "its prompt and two outputs once more"
    assert results.record.streaks.tolist()[:2] == [[0, 0, 0, 4], [1, 1, 0, 2]]


def test_what_is_on_the_host_is_given_up_if_nobody_comes_back_for_it() -> None:
    scenario = scenario_of(7, swap_blocks=3)
    swapping = scenario.scheduler.model_copy(update={"preemption": "swap"})
    workload = workload_of((0, 2, 4), (0, 2, 2), (20, 2, 4), (20, 2, 3))
    results = Simulation(scenario.model_copy(update={"scheduler": swapping}), workload=workload).run()
    steps = results.record.steps
    assert (steps["swaps_out"].sum(), steps["swaps_in"].sum()) == (6, 3), "the host has room for the second victim"
    assert computed(results) == [5, 3, 5, 4]


def test_an_end_that_nobody_foresaw_is_noticed_a_step_late() -> None:
    scenario, workload = scenario_of(), workload_of((0, 2, 50), (0, 2, 4))
    diary = Diary()
    results = Simulation(scenario, workload=workload, executor=EndsEarly(scenario, 1), observers=[diary]).run()
    assert results.requests["output_tokens"].to_list() == [2, 4]
    assert computed(results) == [4, 5], "one more than the tokens that it has"
    assert diary.lines[4] == "1 done, r0 ended"
    assert results.timeline["blocks_used"].to_list() == [4, 6, 8, 5, 5]


def test_a_victim_may_turn_out_to_have_ended() -> None:
    scenario, workload = scenario_of(7), workload_of((0, 2, 2), (0, 2, 4))
    swapped = Workload("test", workload.arrival, workload.prompt_len, np.array([50, 4]), priority=np.array([1, 0]))
    by_priority = scenario.scheduler.model_copy(update={"policy": section_of(Priority)(), "never_fits": "wait"})
    scenario = scenario.model_copy(update={"scheduler": by_priority})
    results = Simulation(scenario, workload=swapped, executor=EndsEarly(scenario, 1)).run()
    assert results.requests["preemptions"].to_list() == [1, 0]
    assert results.requests["output_tokens"].to_list() == [2, 4]
    assert computed(results) == [3, 5]


def test_who_waited_for_the_end_of_a_request_is_there_for_the_next_plan() -> None:
    diary = Diary()
    workload = workload_of((0, 1, 1), (0, 1, 1), (0.5, 1, 1), after=[OPEN, 0, 1])
    results = Simulation(scenario_of(), workload=workload, observers=[diary]).run()
    assert results.requests["arrival"].to_list() == [0, 1, 2.5]
    assert results.requests["e2e"].to_list() == [1, 1, 1]
    assert [line for line in diary.lines if "made" in line] == [
        "0 made at 0, begins at 0",
        "1 made at 0, begins at 1",
        "2 made at 1, begins at 1",
        "3 made at 1, begins at 2",
        "4 made at 2.5, begins at 2.5",
        "5 made at 2.5, begins at 3.5",
    ]


def test_what_is_in_flight_when_a_run_is_stopped_is_carried_out() -> None:
    stop = lambda index: simulation.stop() if index == 3 else None  # noqa: E731
    diary = Diary(stop)
    simulation = Simulation(scenario_of(), workload=workload_of((0, 2, 50)), observers=[diary])
    results = simulation.run()
    assert results.interrupted
    assert diary.lines[-3:] == ["3 made at 2, begins at 3", "2 done", "3 done"]
    assert results.requests["output_tokens"].to_list() == [4]
    assert computed(results) == [5] == [results.timeline["scheduled_tokens"].sum()]


def test_a_run_ends_after_its_last_step() -> None:
    scenario = scenario_of()
    short = scenario.scheduler.model_copy(update={"max_steps": 3})
    results = Simulation(scenario.model_copy(update={"scheduler": short}), workload=workload_of((0, 2, 50))).run()
    assert (results.summary["steps"], results.summary["end_time"]) == (3, 3)
    assert results.requests["output_tokens"].to_list() == [3]


def test_a_request_that_never_fits_stalls_the_run_once() -> None:
    """The one before it ends with an empty step in flight; nothing more is planned until somebody arrives."""
    scenario = scenario_of(5)
    waits = scenario.scheduler.model_copy(update={"never_fits": "wait"})
    workload = workload_of((0, 2, 1), (0, 50, 1), (9, 1, 1))
    results = Simulation(scenario.model_copy(update={"scheduler": waits}), workload=workload).run()
    assert results.stalled
    assert results.unfinished == ["r1", "r2"]
    assert results.timeline["t"].to_list() == [0, 1, 1, 9]
    assert results.timeline["scheduled_tokens"].to_list() == [2, 0, 0, 0]

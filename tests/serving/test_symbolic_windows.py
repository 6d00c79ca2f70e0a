"""Plans for models with windows, and plans made while others are in flight, carried out on names."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Scenario, Simulation, Workload
from simcore.timing import make_timer
from tests.serving.symbolic import SymbolicExecutor
from tests.theory.random_runs import scenarios, workloads

RUNS = {
    "windows": st.tuples(scenarios(ends=False, windows=True), workloads(forks=True)),
    "in flight": st.tuples(scenarios(ends=False, swaps=True, late=True), workloads()),
    "windows, in flight": st.tuples(scenarios(ends=False, windows=True, late=True), workloads()),
    "states": st.tuples(scenarios(ends=False, states=True), workloads(forks=True)),
    "states, in flight": st.tuples(scenarios(ends=False, states=True, late=True), workloads()),
}
REACHED = {
    "windows": {"hit_tokens", "preemptions", "copies"},
    "in flight": {"hit_tokens", "preemptions", "swaps_in"},
    "windows, in flight": {"hit_tokens", "preemptions"},
    "states": {"preemptions", "copies"},
    "states, in flight": {"preemptions"},
}


@pytest.mark.parametrize("kind", RUNS)
def test_every_row_finds_what_it_looks_at(kind: str) -> None:
    reached: Counter[str] = Counter()

    @settings(max_examples=200)
    @given(RUNS[kind])
    def check(run: tuple[Scenario, Workload]) -> None:
        scenario, workload = run
        memory = scenario.memory.model_copy(update={"keep_unwritten": False})
        scenario = scenario.model_copy(update={"memory": memory})
        tables, late = scenario.model.resolve().windows, scenario.scheduler.async_scheduling
        executor = SymbolicExecutor(workload, memory.block_size, make_timer(scenario), tables, late)
        steps = Simulation(scenario, workload=workload, executor=executor).run().record.steps
        assert executor.count["written"] == steps["scheduled_tokens"].sum()
        if len(steps["t"]) and not (late and any(tables)):  # what a plan in flight reads is held for longer
            assert executor.held == steps["blocks_used"][-1]
        reached.update(name for name in REACHED[kind] if steps[name].any())

    check()
    assert {name for name in REACHED[kind] if reached[name] < 4} == set(), reached

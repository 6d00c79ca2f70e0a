"""Little's law, L = lambda W, to the tick: what the steps say of the queue is what the requests say of their time."""

import numpy as np
from hypothesis import given
from numpy.typing import NDArray

from simcore import Scenario, Workload, simulate
from simcore.record.recorder import FINISHED, Record
from tests.theory.random_runs import scenarios, workloads

Ticks = NDArray[np.int64]


def served(record: Record) -> dict[str, Ticks]:
    """The requests that were not refused; all of them have finished."""
    requests = record.requests
    return {name: column[requests["status"] == FINISHED] for name, column in requests.items()}


def until_noticed(record: Record, arrival: Ticks) -> int:
    """Ticks between each arrival and the next step's beginning, in all: until then no step counts the request."""
    starts = record.steps["t"]
    return int((starts[np.searchsorted(starts, arrival)] - arrival).sum()) if len(arrival) else 0


@given(scenarios(), workloads())
def test_time_in_system(scenario: Scenario, workload: Workload) -> None:
    """The integral over time of how many are there equals the sum of their times there."""
    record = simulate(scenario, workload=workload).record
    steps, requests = record.steps, served(record)
    counted = int(((steps["running"] + steps["waiting"]) * steps["dt"]).sum())
    spent = int((requests["finished"] - requests["arrival"]).sum())
    assert counted + until_noticed(record, requests["arrival"]) == spent


@given(scenarios(), workloads())
def test_time_in_queue_and_in_service(scenario: Scenario, workload: Workload) -> None:
    """The same for those who wait and those who run, each by themselves; who is preempted runs less and waits more."""
    record = simulate(scenario, workload=workload).record
    steps, requests = record.steps, served(record)
    running = int((steps["running"] * steps["dt"]).sum())
    waiting = int((steps["waiting"] * steps["dt"]).sum()) + until_noticed(record, requests["arrival"])
    in_service = int((requests["finished"] - requests["first_scheduled"]).sum())
    in_queue = int((requests["first_scheduled"] - requests["arrival"]).sum())
    if requests["preemptions"].any():
        assert running <= in_service
        assert waiting >= in_queue
    else:
        assert (running, waiting) == (in_service, in_queue)


def test_as_averages() -> None:
    """L = lambda W as it is written, on a busy server with preemptions."""
    results = simulate(Scenario.preset("default", ["workload.requests=300"]))
    record, summary = results.record, results.summary
    assert summary["preemptions"] > 0
    assert summary["requests"]["finished"] == summary["requests"]["total"]
    counted = int(((record.steps["running"] + record.steps["waiting"]) * record.steps["dt"]).sum())
    unnoticed = until_noticed(record, record.requests["arrival"])
    average = (counted + unnoticed) / 2**40 / summary["end_time"]
    np.testing.assert_allclose(average, summary["throughput"]["requests_per_s"] * summary["e2e"]["mean"], rtol=1e-12)

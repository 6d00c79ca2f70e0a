"""Summary, requests and timeline against a run told again from its step log."""

import io
from collections.abc import Iterator
from math import isclose
from typing import Any

from hypothesis import given, settings

from simcore import Results, Scenario, Workload, simulate
from tests.record.replay import Replay
from tests.theory.random_runs import scenarios, workloads


def run(scenario: Scenario, workload: Workload) -> tuple[Results, Replay]:
    log = io.StringIO()
    results = simulate(scenario, workload=workload, step_log=log)
    return results, Replay(scenario, workload, log.getvalue())


def differences(ours: Any, told: Any, path: str = "") -> Iterator[str]:
    """Where two nests of dicts and lists differ; floats may in their last bits, as sums are taken in another order."""
    if isinstance(told, dict | list) and type(ours) is type(told) and len(ours) == len(told):
        for key in told if isinstance(told, dict) else range(len(told)):
            if isinstance(told, list) or key in ours:
                yield from differences(ours[key], told[key], f"{path}.{key}")
            else:
                yield f"{path}.{key} is missing"
    elif isinstance(told, float) and isinstance(ours, float):
        if not isclose(ours, told, rel_tol=1e-12, abs_tol=1e-15):
            yield f"{path}: {ours}, not {told}"
    elif ours != told:
        yield f"{path}: {ours}, not {told}"


@settings(max_examples=200)
@given(scenarios(ends=False), workloads())
def test_random_runs(scenario: Scenario, workload: Workload) -> None:
    results, replay = run(scenario, workload)
    rows = results.timeline.drop("blocks_cached", "blocks_free").to_dicts()  # those: test_journal.py
    assert rows == replay.timeline
    assert list(differences(results.requests.to_dicts(), replay.table)) == []
    assert list(differences(results.summary, replay.summary)) == []


@settings(max_examples=100)
@given(scenarios(ends=False), workloads())
def test_watching_changes_nothing(scenario: Scenario, workload: Workload) -> None:
    """With a step log and a journal, blocks are registered at other moments; nothing else may differ."""
    watched, _ = run(scenario, workload)
    unwatched = simulate(scenario, workload=workload)
    assert watched.summary == unwatched.summary
    assert watched.requests.equals(unwatched.requests)
    assert watched.timeline.equals(unwatched.timeline)

"""The trace for Perfetto: what the Trace Event Format asks for, and what the run did.

https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
"""

import json
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from simcore import Results, Scenario, simulate
from simcore.export.perfetto import write_perfetto

Event = dict[str, Any]
REQUIRED = {
    "M": {"name", "pid", "args"},
    "C": {"name", "pid", "ts", "args"},
    "b": {"name", "cat", "id", "pid", "tid", "ts"},
    "e": {"name", "cat", "id", "pid", "tid", "ts"},
}
"""keys that an event of each phase must have: metadata, counter, begin and end of an asynchronous span"""


def events_of(results: Results, place: Path) -> list[Event]:
    write_perfetto(results, place / "trace.json")
    trace = json.loads((place / "trace.json").read_text(encoding="utf-8"))
    events: list[Event] = trace["traceEvents"]
    return events


@pytest.fixture(scope="module")
def results() -> Results:
    run = simulate(Scenario.preset("default", ["workload.requests=120", "memory.blocks=200"]))
    assert run.summary["preemptions"] > 0
    return run


@pytest.fixture(scope="module")
def events(results: Results, tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return events_of(results, tmp_path_factory.mktemp("trace"))


def spans(events: list[Event]) -> dict[int, list[tuple[str, float, float]]]:
    """(name, begin, end) in the order of the file, by request; every begin is followed by its own end."""
    found: dict[int, list[tuple[str, float, float]]] = defaultdict(list)
    asynchronous = [event for event in events if event["ph"] in "be"]
    for begin, end in zip(asynchronous[::2], asynchronous[1::2], strict=True):
        assert (begin["ph"], end["ph"]) == ("b", "e")
        assert all(begin[key] == end[key] for key in ("name", "cat", "id", "pid", "tid"))
        found[begin["id"]].append((begin["name"], begin["ts"], end["ts"]))
    return found


def test_every_event_has_its_keys(events: list[Event]) -> None:
    for event in events:
        assert REQUIRED[event["ph"]] <= event.keys()
        assert event.get("ts", 0) >= 0
        if event["ph"] == "C":
            assert all(isinstance(value, int) for value in event["args"].values())
    named = {event["pid"] for event in events if event["ph"] == "M" and event["name"] == "process_name"}
    assert named == {event["pid"] for event in events}


def test_spans_are_the_requests(results: Results, events: list[Event]) -> None:
    found = spans(events)
    assert len(found) == len(results.requests)
    for row, request in enumerate(results.requests.iter_rows(named=True)):
        (name, begin, end), *inner = found[row]
        assert name == request["id"]
        assert begin == pytest.approx(request["arrival"] * 1e6)
        assert end == pytest.approx((request["arrival"] + request["e2e"]) * 1e6)
        assert [name for name, _, _ in inner[:2]] == ["queued", "prefill"]
        assert {name for name, _, _ in inner[2:]} == {"decode"}
        assert len(inner[2:]) <= 1 + request["preemptions"]
        assert all(begin <= start <= stop <= end for _, start, stop in inner), "inside of the request"
        assert all(before[2] <= after[1] for before, after in pairwise(inner)), "one after another"
        assert inner[0][2] - begin == pytest.approx(request["queue"] * 1e6, abs=1e-3)
        assert inner[1][2] - begin == pytest.approx(request["ttft"] * 1e6, abs=1e-3)
        assert inner[-1][2] == end


def test_counters_follow_the_timeline(results: Results, events: list[Event]) -> None:
    counters: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event["ph"] == "C":
            counters[event["name"]].append(event)
    assert len(counters) > 1
    for series in counters.values():
        times = [event["ts"] for event in series]
        assert times == sorted(times)
        assert len(set(times)) == len(times)
    at = {t * 1e6: used for t, used in results.timeline.select("t", "blocks_used").iter_rows()}
    blocks = counters["blocks"]
    busy = [event for event in blocks if event["ts"] in at]
    assert all(event["args"]["blocks_used"] == at[event["ts"]] for event in busy)
    assert all(sum(event["args"].values()) == 199 for event in busy)
    idle = [event for event in blocks if event["ts"] not in at]
    assert idle
    assert idle[-1] is blocks[-1]
    assert all(event["args"] == {"blocks_used": 0} for event in idle), "while nobody is served"


def test_a_run_cut_short(tmp_path: Path) -> None:
    """Spans of the unfinished end with the run; who never arrived has none."""
    overrides = ["workload.requests=120", "scheduler.max_steps=300", "scheduler.max_num_seqs=1"]
    results = simulate(Scenario.preset("default", overrides))
    found = spans(events_of(results, tmp_path))
    arrived = results.requests.with_row_index().filter(results.requests["arrival"].is_not_null())
    unfinished = arrived.filter(arrived["status"] == "unfinished")["index"].to_list()
    assert found.keys() == set(arrived["index"])
    assert 1 < len(unfinished) < len(found) < len(results.requests)
    assert {found[row][0][2] for row in unfinished} == {results.summary["end_time"] * 1e6}


def test_a_run_of_nothing(tmp_path: Path) -> None:
    overrides = ["workload.requests=3", "scheduler.max_model_len=1"]
    assert {event["ph"] for event in events_of(simulate(Scenario.preset("default", overrides)), tmp_path)} <= set("Mbe")

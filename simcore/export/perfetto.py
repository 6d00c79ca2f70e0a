"""A run as a trace that https://ui.perfetto.dev opens: requests as spans, memory and queue as counters."""

import json
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from simcore.record.results import Results
from simcore.serving.request import NEVER
from simcore.ticks import TICKS_PER_SECOND

COUNTERS = {
    "blocks": ("blocks_used", "blocks_cached", "blocks_free"),
    "requests": ("running", "waiting"),
    "tokens scheduled": ("scheduled_tokens",),
}
"""Counters and their series; the first of each is 0 while the server is idle."""
_SERVER, _REQUESTS = 1, 2


def write_perfetto(results: Results, path: Path) -> None:
    """Write the run in the Trace Event Format.

    https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU
    """
    with path.open("w", encoding="utf-8", newline="\n") as file:
        before = '{"displayTimeUnit": "ms", "traceEvents": [\n'
        for event in _events(results):
            file.write(before + json.dumps(event))
            before = ",\n"
        file.write("\n]}\n")


def _events(results: Results) -> Iterator[dict[str, Any]]:
    for process, name in ((_SERVER, "server"), (_REQUESTS, "requests")):
        yield {"ph": "M", "name": "process_name", "pid": process, "args": {"name": f"{results.scenario.name}: {name}"}}
    yield from _counters(results)
    yield from _spans(results)


def _counters(results: Results) -> Iterator[dict[str, Any]]:
    steps = results.record.steps
    begins, ends = steps["t"], steps["t"] + steps["dt"]
    gaps = ends[:-1] < begins[1:]  # the server is idle between two steps
    woken, idle = np.append(True, gaps), ends[np.append(gaps, True)[: len(ends)]]
    for name, series in COUNTERS.items():
        values = np.stack([steps[column] for column in series])
        told = (np.diff(values, axis=1, prepend=-1) != 0).any(axis=0) | woken[: len(begins)]
        states = [
            (t, dict(zip(series, state, strict=True)))
            for t, state in zip(begins[told].tolist(), values[:, told].T.tolist(), strict=True)
        ]
        states += [(t, {series[0]: 0}) for t in idle.tolist()]
        for t, state in sorted(states, key=itemgetter(0)):
            yield {"ph": "C", "name": name, "pid": _SERVER, "ts": _micro(t), "args": state}


def _spans(results: Results) -> Iterator[dict[str, Any]]:
    """A request as an asynchronous span, and in it: queued, prefill, and each unbroken span of decoding."""
    record, workload = results.record, results.workload
    steps, requests, streaks = record.steps, record.requests, record.streaks
    ends = steps["t"] + steps["dt"]
    now = int(ends[-1]) if len(ends) else 0
    decoding: dict[int, list[tuple[int, int]]] = {}
    for row, first, last in zip(
        streaks[:, 0].tolist(),
        ends[streaks[:, 2]].tolist(),
        ends[streaks[:, 2] + streaks[:, 3] - 1].tolist(),
        strict=True,
    ):
        decoding.setdefault(row, []).append((first, last))
    columns = (requests[name].tolist() for name in ("row", "arrival", "first_scheduled", "first_token", "finished"))
    for row, arrival, scheduled, first_token, finished in zip(*columns, strict=True):
        if arrival == NEVER:
            continue
        end = now if finished == NEVER else finished
        spans = [(workload.id_of(row), arrival, end), ("queued", arrival, now if scheduled == NEVER else scheduled)]
        if scheduled != NEVER:
            spans.append(("prefill", scheduled, now if first_token == NEVER else first_token))
        spans += [("decode", begin, end) for begin, end in decoding.get(row, ())]
        common = {"cat": "request", "id": row, "pid": _REQUESTS, "tid": 0}
        size = {"prompt_len": int(workload.prompt_len[row]), "output_len": int(workload.output_len[row])}
        for i, (name, begin, stop) in enumerate(spans):
            yield common | {"ph": "b", "name": name, "ts": _micro(begin), "args": {} if i else size}
            yield common | {"ph": "e", "name": name, "ts": _micro(stop)}


def _micro(ticks: int) -> float:
    return ticks * 1_000_000 / TICKS_PER_SECOND

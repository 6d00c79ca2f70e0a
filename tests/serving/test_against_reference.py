"""Thousands of small random scenarios: the simulator does what the reference does, to the last block and tick."""

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore import Results, Simulation
from simcore.record.journal import NOBODY, Event
from tests.serving.harness import first_difference, play, scenario_of, write_workload
from tests.serving.random_cases import Line, draw_case
from tests.serving.reference import Config, Request, Server

CHUNKS, CASES = 50, 50
STATUS = {"finished": 0, "rejected": 1, "unfinished": 2}


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_random_scenarios(chunk: int, tmp_path: Path) -> None:
    for seed in range(chunk * CASES, (chunk + 1) * CASES):
        config, lines = draw_case(seed)
        problem = compare(config, lines, tmp_path)
        if problem:
            config, lines = reduced(config, lines, tmp_path)
            problem = compare(config, lines, tmp_path)
            listing = "\n".join(map(str, lines))
            pytest.fail(f"seed {seed}: {problem}\n{config}\n{listing}")


def test_the_scenarios_reach_the_rules() -> None:
    """Drawn anew by another generator they might not, and all would be equal for nothing."""
    reached: Counter[str] = Counter()
    for seed in range(200):
        config, lines = draw_case(seed)
        server = Server(config, lines)
        steps = server.run()
        ends = {record["end"] for record in steps}
        for request in server.requests:
            reached[request.status] += 1
            reached["arrives as a step ends"] += request.arrival in ends
            reached["cut at max_model_len"] += request.status == "finished" and bool(request.future)
        for before, record in pairwise(steps):
            reached["preempted"] += len(record["preempted"])
            reached["several preempted"] += len(record["preempted"]) > 1
            reached["evicted"] += record["evicted"]
            reached["hit when new"] += any(record["hits"][id] for id in record["new"])
            reached["hit when resumed"] += any(record["hits"][id] for id in record["resumed"])
            reached["equal blocks"] += len(set(record["cached"].values())) < len(record["cached"])
            reached["shared blocks"] += max(record["refs"].values(), default=0) > 1
            reached["stalled"] += record.get("stall", False)
            reached["takes no time"] += record["start"] == record["end"]
            reached["held back with blocks free"] += bool(before["free"] and record["waiting"])
    assert min(reached.values()) >= 20, reached


def compare(config: Config, lines: list[Line], folder: Path) -> str | None:
    """What the simulator does otherwise than the reference, or contradicts itself in; None: nothing."""
    server = Server(config, lines)
    theirs = server.run()
    scenario = scenario_of(config, write_workload(folder / "workload.jsonl", lines))
    ours, results = play(scenario)
    unlogged = Simulation(scenario).run()
    return (
        first_difference(ours, theirs)
        or columns_differ(results, theirs)
        or requests_differ(results, server.requests)
        or journal_differs(results, theirs)
        or records_differ(results, unlogged)
        or leak(config, server, ours)
    )


def columns_differ(results: Results, theirs: list[dict[str, Any]]) -> str | None:
    """The columns of the steps: what the pool held while each ran."""
    expected = {
        "t": [record["start"] for record in theirs],
        "dt": [record["end"] - record["start"] for record in theirs],
        "running": [record["running"] for record in theirs],
        "waiting": [record["waiting"] for record in theirs],
        "scheduled_tokens": [sum(n for _, n, _ in record["sched"]) for record in theirs],
        "blocks_used": [results.blocks_in_pool - 1 - record["free_sched"] for record in theirs],
        "blocks_cached": [record["idle"] for record in theirs],
        "blocks_free": [record["free_sched"] - record["idle"] for record in theirs],
        "tokens_stored": [record["stored"] for record in theirs],
        "hit_tokens": [sum(record["hits"].values()) for record in theirs],
        "preemptions": [len(record["preempted"]) for record in theirs],
        "evictions": [record["evicted"] for record in theirs],
    }
    found = {name: column.tolist() for name, column in results.record.steps.items()}
    return None if found == expected else different("steps", found, expected)


def requests_differ(results: Results, requests: list[Request]) -> str | None:
    """The columns of the requests, and the steps that gave each a token."""
    workload, columns = results.workload, results.record.requests
    by_id = {request.id: request for request in requests}
    rows = [by_id[workload.id_of(row)] for row in range(len(workload))]
    arrived = columns["arrival"] != -1
    expected = {
        "row": list(range(len(rows))),
        "status": [STATUS[request.status] for request in rows],
        "arrival": [request.arrival if there else -1 for request, there in zip(rows, arrived, strict=True)],
        "first_scheduled": [never(request.first_scheduled) for request in rows],
        "first_token": [never(request.first_token) for request in rows],
        "finished": [never(request.finished) for request in rows],
        "preemptions": [request.preemptions for request in rows],
        "query_tokens": [request.query_tokens for request in rows],
        "hit_tokens_first": [request.hit_first or 0 for request in rows],
        "hit_tokens": [request.hit_total for request in rows],
        "computed_tokens": [request.scheduled for request in rows],
        "output_tokens": [len(request.tokens) - request.prompt_len for request in rows],
    }
    found = {name: column.tolist() for name, column in columns.items()}
    if found != expected:
        return different("requests", found, expected)
    token_steps: list[list[int]] = [[] for _ in rows]
    for row, first, steps in results.record.streaks.tolist():
        token_steps[row] += range(first, first + steps)
    expected_steps = [request.token_steps for request in rows]
    return None if token_steps == expected_steps else f"tokens come in steps {token_steps}, not {expected_steps}"


def journal_differs(results: Results, theirs: list[dict[str, Any]]) -> str | None:
    """Replay every change of a block: each must be possible, and lead to the reference's pool after every step."""
    assert results.journal is not None
    entries = results.journal.since(0)[::-1]
    refs: Counter[int] = Counter()
    keys: dict[int, int] = {}
    contents: dict[int, Any] = {}
    for record in theirs:
        while entries and entries[-1].step == record["i"]:
            entry = entries.pop()
            block, held, cached = entry.block, refs[entry.block], entry.block in keys
            possible = {
                Event.ALLOCATE: not held and not cached,
                Event.HIT: cached and entry.key == keys.get(block),
                Event.REGISTER: held == 1 and not cached and entry.key > 0,
                Event.EVICT: not held and cached and entry.sequence == NOBODY,
                Event.FREE: held > 0,
            }
            match entry.event:
                case Event.ALLOCATE | Event.HIT:
                    refs[block] += 1
                case Event.REGISTER:
                    keys[block] = entry.key
                case Event.EVICT:
                    keys.pop(block, None)
                case Event.FREE:
                    refs[block] -= 1
            if not possible.get(Event(entry.event)) or entry.refs != refs[block]:
                return f"step {record['i']}: {entry} cannot be: {held} held the block, cached: {cached}"
        holders = {block: count for block, count in refs.items() if count}
        if holders != record["refs"]:
            return f"step {record['i']}: the journal's holders are {holders}, not {record['refs']}"
        if keys.keys() != record["cached"].keys():
            return f"step {record['i']}: the journal's cached blocks are {set(keys)}, not {set(record['cached'])}"
        for block, key in keys.items():
            if contents.setdefault(key, record["cached"][block]) != record["cached"][block]:
                return f"step {record['i']}: key {key} stands for different tokens"
    if len(set(contents.values())) < len(contents):
        return "equal tokens have different keys"
    return f"the journal goes on after the last step: {entries[-1]}" if entries else None


def records_differ(results: Results, unlogged: Results) -> str | None:
    """The same run without a log takes short cuts, and must not show it."""
    for table in ("steps", "requests"):
        with_log, without = getattr(results.record, table), getattr(unlogged.record, table)
        for name in with_log:
            if not np.array_equal(with_log[name], without[name]):
                return f"without a log {table}.{name} is {without[name].tolist()}, not {with_log[name].tolist()}"
    for table in ("streaks", "sequences"):
        if not np.array_equal(getattr(results.record, table), getattr(unlogged.record, table)):
            return f"without a log the {table} are others"
    return None


def leak(config: Config, server: Server, ours: list[dict[str, Any]]) -> str | None:
    """The reference itself: every block is held or free, never both; and in the end all are free."""
    blocks = set(range(1, config.blocks))
    for record in server.steps:
        if len(record["queue"]) + len(record["refs"]) != len(blocks) or {*record["queue"], *record["refs"]} != blocks:
            return f"step {record['i']}: a block is lost, or in two places"
    over = all(request.status != "unfinished" for request in server.requests)
    return f"{ours[-1]['used']} blocks are left in use" if over and ours and ours[-1]["used"] else None


def reduced(config: Config, lines: list[Line], folder: Path) -> tuple[Config, list[Line]]:
    """The same problem, or another, with as few requests as it takes."""
    for line in list(lines):
        fewer = [other for other in lines if other is not line]
        if fewer and compare(config, fewer, folder):
            lines = fewer
    return config, lines


def different(table: str, found: dict[str, list[int]], expected: dict[str, list[int]]) -> str:
    names = [name for name in found | expected if found.get(name) != expected.get(name)]
    return "\n".join(f"{table}.{name} is {found.get(name)}, and should be {expected.get(name)}" for name in names)


def never(instant: int | None) -> int:
    return -1 if instant is None else instant

"""A scenario played by the simulator, twice, and by the reference: everything they say about it is compared."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from simcore import Results, Simulation, Workload
from simcore.record.journal import NOBODY, Event
from simcore.record.recorder import Ticks
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from tests.serving.harness import first_difference, play, scenario_of
from tests.serving.random_cases import Line
from tests.serving.reference import Config, Server

STATUS = {"finished": 0, "rejected": 1, "unfinished": 2}


def compare(config: Config, lines: list[Line], folder: Path) -> str | None:
    """What the simulator does otherwise than the reference, or contradicts itself in; None: nothing."""
    server = Server(config, lines)
    theirs = server.run()
    trace = folder / "workload.jsonl"
    trace.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    scenario = scenario_of(config, trace)
    ours, results = play(scenario)
    executor = Executor(results.workload)
    unlogged = Simulation(scenario, observers=[executor]).run()
    return (
        first_difference(ours, theirs)
        or columns_differ(results, theirs)
        or requests_differ(results, server)
        or journal_differs(results, theirs, config.async_scheduling)
        or records_differ(results, unlogged)
        or plans_differ(executor, theirs)
        or leak(config, server, ours)
    )


def columns_differ(results: Results, theirs: list[dict[str, Any]]) -> str | None:
    """The columns of the steps: what the pool held while each ran."""
    expected = {
        "t": [record["end"] - record["ticks"] for record in theirs],  # it may have been planned sooner
        "dt": [record["ticks"] for record in theirs],
        "running": [len(record["tables"]) for record in theirs],
        "waiting": [record["waiting"] for record in theirs],
        "scheduled_tokens": [sum(n for _, n, _ in record["sched"]) for record in theirs],
        "blocks_used": [results.blocks_in_pool - 1 - record["free_sched"] for record in theirs],
        "blocks_cached": [record["idle"] for record in theirs],
        "blocks_free": [record["free_sched"] - record["idle"] for record in theirs],
        "tokens_stored": [record["stored"] for record in theirs],
        "query_tokens": [record["queried"] for record in theirs],
        "hit_tokens": [sum(record["hits"].values()) for record in theirs],
        "preemptions": [len(record["preempted"]) for record in theirs],
        "evictions": [record["evicted"] for record in theirs],
    }
    return different("steps", results.record.steps, expected)


def requests_differ(results: Results, server: Server) -> str | None:
    """The columns of the requests, and the steps that gave each a token."""
    workload, columns = results.workload, results.record.requests
    by_id = {request.id: request for request in server.requests}
    rows = [by_id[workload.id_of(row)] for row in range(len(workload))]
    expected = {
        "row": list(range(len(rows))),
        "status": [STATUS[request.status] for request in rows],
        "arrival": [-1 if request in server.coming else request.arrival for request in rows],
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
    if problem := different("requests", columns, expected):
        return problem
    token_steps: list[list[int]] = [[] for _ in rows]
    for row, _, first, steps in results.record.streaks.tolist():
        token_steps[row] += range(first, first + steps)
    expected_steps = [request.token_steps for request in rows]
    return None if token_steps == expected_steps else f"tokens come in steps {token_steps}, not {expected_steps}"


def journal_differs(results: Results, theirs: list[dict[str, Any]], asynchronous: bool) -> str | None:
    """Replay every change of a block: each must be possible, and lead to the reference's pool after every step.

    After the last one only, where the next step is scheduled before the output of this one is processed.
    """
    assert results.journal is not None
    entries = results.journal.since(0)[::-1]
    refs: Counter[int] = Counter()
    keys: dict[int, int] = {}
    contents: dict[int, Any] = {}
    for record in theirs[-1:] if asynchronous else theirs:
        while entries and (asynchronous or entries[-1].step == record["i"]):
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
        missing = record["cached"].keys() - keys.keys()
        if asynchronous:  # what the last output filled is entered when the next step takes it along
            missing = {block for block in missing if not refs[block]}
        if missing or keys.keys() - record["cached"].keys():
            return f"step {record['i']}: the journal's cached blocks are {set(keys)}, not {set(record['cached'])}"
        for block, key in keys.items():
            if contents.setdefault(key, record["cached"][block]) != record["cached"][block]:
                return f"step {record['i']}: key {key} stands for different tokens"
    if len(set(contents.values())) < len(contents):
        return "equal tokens have different keys"
    return f"the journal goes on after the last step: {entries[-1]}" if entries else None


class Executor:
    """Knows of the block tables only what the plans say; and what a timer is told."""

    def __init__(self, workload: Workload) -> None:
        self.workload = workload
        self.ids: dict[int, str] = {}
        self.tables: dict[int, list[list[int]]] = {}
        self.steps: list[tuple[dict[str, list[list[int]]], int, int, int, int]] = []

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: int, ticks: int) -> None:
        for seq in plan.closed:
            del self.tables[seq]
        for seq, opening in plan.opened.items():
            assert seq not in self.tables
            self.ids[seq] = self.workload.id_of(opening.request)
            self.tables[seq] = list(map(list, opening.tables))
        for seq, growth in plan.grown.items():
            for table, blocks in growth:
                self.tables[seq][table] += blocks
        tables = {self.ids[seq]: list(map(list, tables)) for seq, tables in self.tables.items()}
        self.steps.append((tables, plan.rows, plan.tokens, plan.context, plan.pairs))

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        pass


def plans_differ(executor: Executor, theirs: list[dict[str, Any]]) -> str | None:
    for (tables, *totals), record in zip(executor.steps, theirs, strict=True):
        rows = [(n, before) for _, n, before in record["sched"]]
        tokens, context = sum(n for n, _ in rows), sum(before + n for n, before in rows)
        pairs = sum(before + i + 1 for n, before in rows for i in range(n))
        found = [in_window(tables, record["tables"]), *totals]
        expected = [record["tables"], len(rows), tokens, context, pairs]
        if found != expected:
            return f"step {record['i']}: the plan says {found}, and should say {expected}"
    return None


def in_window(tables: dict[str, list[list[int]]], theirs: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """The tables without what has left a window since: no plan says so, and nobody reads it again."""
    return {
        id: [
            [block if place >= len(known) or known[place] else 0 for place, block in enumerate(table)]
            for table, known in zip(groups, theirs.get(id, groups), strict=False)
        ]
        for id, groups in tables.items()
    }


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


def different(table: str, columns: dict[str, Ticks], expected: dict[str, list[int]]) -> str | None:
    found = {name: columns[name].tolist() for name in expected}
    names = [name for name in expected if found[name] != expected[name]]
    return "\n".join(f"{table}.{name} is {found[name]}, and should be {expected[name]}" for name in names) or None


def never(instant: int | None) -> int:
    return -1 if instant is None else instant

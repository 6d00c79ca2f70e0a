"""A run that was saved, as a history: told by blocks.parquet, timeline.parquet, requests.parquet and scenario.toml."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.jobs.history import Facts, History, Kind, Numbers
from simcore.errors import InputError
from simcore.record.journal import NOBODY, Event
from simcore.record.recorder import STEP_COLUMNS
from simcore.ticks import TICKS_PER_SECOND

if TYPE_CHECKING:
    import polars as pl

_Event = tuple[int, int, int, int, int, int, int]
NEEDED = ("scenario.toml", "requests.parquet", "timeline.parquet", "blocks.parquet")


def read_history(folder: Path) -> History:
    """The history of a folder of results. Raises InputError where it is none, or is broken.

    A request stands for all of its samples. How far it had come between two blocks is not in the folder: it is taken to
    have filled what it holds when it was admitted, and to have got a token a step since its last block.
    """
    import polars as pl

    for name in NEEDED:
        if not (folder / name).is_file():
            hint = "; run the scenario with --blocks" if name == "blocks.parquet" else ""
            raise InputError(f"{folder}: holds no {name}, which a run needs to be looked at{hint}")
    tables: dict[str, pl.DataFrame] = {}
    for name in NEEDED[1:]:
        try:
            tables[name] = pl.read_parquet(folder / name)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{folder / name}: cannot be read: {str(error).splitlines()[0]}") from None
    try:
        return _history(folder, tables)
    except (pl.exceptions.PolarsError, KeyError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: its tables are not those of a run: {error}") from None


def _history(folder: Path, tables: "dict[str, pl.DataFrame]") -> History:

    from simcore.geometry import pool_size
    from simcore.scenario import Scenario

    requests, timeline, blocks = (tables[name] for name in NEEDED[1:])
    scenario = Scenario.load(folder / "scenario.toml")
    summary: dict[str, Any] = {}
    if (folder / "summary.json").is_file():
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
    pool = int(summary.get("memory", {}).get("blocks") or pool_size(scenario).blocks)
    windows = scenario.model.resolve().windows
    facts = Facts(
        name=scenario.name,
        blocks=pool,
        block_size=scenario.memory.block_size,
        tables=len(windows) if any(windows) else 1,
        prefix_caching=scenario.memory.prefix_caching,
        allocator=scenario.memory.allocator.model_dump()["policy"],
        requests=len(requests),
        ids=tuple(requests["id"].to_list()),
        max_num_seqs=scenario.scheduler.max_num_seqs,
        max_num_batched_tokens=scenario.scheduler.max_num_batched_tokens,
        queue=scenario.scheduler.model_dump()["policy"]["policy"],
        tiers=tuple(tier.name for tier in scenario.memory.tiers),
        exact=False,
    )
    history = History(facts)
    entries = _entries(blocks, requests)
    steps = _steps(timeline, entries)
    events = _events(requests, entries, steps, facts.block_size)
    steps[:, -1] = np.searchsorted(events[:, 0], np.arange(len(steps)), "right")
    history.extend(steps, entries, events)
    return history


def _entries(blocks: "pl.DataFrame", requests: "pl.DataFrame") -> Numbers:
    """[entries, fields] of the journal; a request's row stands for its sequences."""
    import polars as pl

    rows = requests.select(pl.col("id").alias("request")).with_row_index("row")
    numbered = blocks.with_row_index("place").join(rows, on="request", how="left").sort("place")
    kinds = {event.name.lower(): int(event) for event in Event}
    columns = [
        numbered["step"],
        np.rint(numbered["t"].to_numpy() * TICKS_PER_SECOND),
        numbered["event"].replace_strict(kinds, return_dtype=pl.Int64),
        numbered["block"],
        numbered["row"].cast(pl.Int64).fill_null(NOBODY),
        numbered["key"].fill_null(0),
        numbered["refs"],
        numbered["other"].fill_null(0),
    ]
    return np.stack([np.asarray(column).astype(np.int64) for column in columns], axis=1)


def _steps(timeline: "pl.DataFrame", entries: Numbers) -> Numbers:
    """[steps, columns]: where the journal stood when each step had been planned is told by its times.

    Steps that begin after they were planned (async scheduling) are told by the numbers that the entries have.
    """
    columns = []
    for name in STEP_COLUMNS:
        column = timeline[name].to_numpy()
        if name in ("t", "dt"):
            column = np.rint(column * TICKS_PER_SECOND)
        columns.append(np.cumsum(column) if name == "evictions" else column)
    numbers, t, ends = np.arange(len(timeline)), columns[0], columns[0] + columns[1]
    step, at = entries[:, 0], entries[:, 1]
    if len(step) and (np.diff(step) < 0).any():  # plans are made while the step before them is computed
        places, known = np.arange(1, len(step) + 1), step < len(timeline)
        done = known & (at >= ends[np.minimum(step, len(timeline) - 1)])
        planned, committed = np.zeros((2, len(timeline)), np.int64)
        np.maximum.at(planned, step[known & ~done], places[known & ~done])
        np.maximum.at(committed, step[done], places[done])
        marks = planned
        marks[2:] = np.maximum(marks[2:], committed[:-2])
        marks[1:] = np.where(t[1:] > ends[:-1], np.maximum(marks[1:], committed[:-1]), marks[1:])
        marks = np.maximum.accumulate(marks)
    else:
        marks = np.minimum(np.searchsorted(at, t, "right"), np.searchsorted(step, numbers, "right"))
    columns += [marks, numbers, np.zeros(len(timeline))]
    return np.stack(columns, axis=1).astype(np.int64)


def _events(requests: "pl.DataFrame", entries: Numbers, steps: Numbers, size: int) -> Numbers:
    """[events, columns]: of each request what its times and its blocks tell."""
    starts = steps[:, 0]
    ends = starts + steps[:, 1]
    found: list[_Event] = []
    arrival, ttft, e2e = (requests[name].to_numpy() for name in ("arrival", "ttft", "e2e"))
    prompt, output, got = (requests[name].to_list() for name in ("prompt_len", "output_len", "output_tokens"))
    status = requests["status"].to_list()

    def step_after(seconds: float) -> int:
        return min(int(np.searchsorted(starts, _ticks(seconds), "left")), len(starts) - 1)

    for row in range(len(requests)):
        if arrival[row] is None or np.isnan(arrival[row]):
            continue
        came = _ticks(arrival[row])
        if status[row] == "rejected":
            found.append((step_after(arrival[row]), came, Kind.REFUSE, -1, row, prompt[row], prompt[row] + output[row]))
            continue
        found.append((step_after(arrival[row]), came, Kind.ARRIVE, row, row, prompt[row], prompt[row] + output[row]))
        if not np.isnan(ttft[row]):
            at = _ticks(arrival[row] + ttft[row])
            last = int(np.searchsorted(ends, at - 1, "left"))
            found.append((min(last, len(starts) - 1), at, Kind.DECODE, row, row, prompt[row], prompt[row]))
        if not np.isnan(e2e[row]):
            at = _ticks(arrival[row] + e2e[row])
            last = int(np.searchsorted(ends, at - 1, "left"))
            found.append((min(last + 1, len(starts) - 1), at, Kind.END, row, row, got[row], 0))
    found += _of_blocks(entries, steps, size, dict(enumerate(prompt)))
    order = {Kind.ARRIVE: 0, Kind.REFUSE: 0, Kind.END: 9}
    found.sort(key=lambda each: (each[0], each[3], order.get(Kind(each[2]), each[2])))
    return np.array(found, np.int64).reshape(-1, 7)


def _of_blocks(entries: Numbers, steps: Numbers, size: int, prompts: dict[int, int]) -> list[_Event]:
    """Who was admitted, grew and was preempted, as the blocks tell it."""
    found: list[_Event] = []
    held: dict[int, int] = {}
    event, who, step, t = entries[:, 2], entries[:, 4], entries[:, 0], entries[:, 1]
    taken = (event == Event.ALLOCATE) | (event == Event.HIT)
    chosen = np.flatnonzero((taken | (event == Event.FREE)) & (who >= 0))
    for place in chosen.tolist():
        row, at = int(who[place]), int(step[place])
        before = held.get(row, 0)
        held[row] = before + (1 if taken[place] else -1)
        if taken[place] and not before:
            found.append((at, int(t[place]), Kind.OPEN, row, row, 0, 0))
        elif not held[row] and t[place] < steps[at, 0] + steps[at, 1]:  # while a step is planned: it did not end
            found.append((at, int(t[place]), Kind.PREEMPT, row, row, 0, 0))
    opened = {(each[3], each[0]) for each in found if each[2] == Kind.OPEN}
    grown: dict[tuple[int, int], int] = {}
    held.clear()
    for place in chosen.tolist():
        row, at = int(who[place]), int(step[place])
        held[row] = held.get(row, 0) + (1 if taken[place] else -1)
        if taken[place]:
            grown[row, at] = held[row]
    for (row, at), blocks in grown.items():
        prompt, room = prompts.get(row, 0), blocks * size
        admitted = (row, at) in opened or room - size < prompt
        tokens = (
            min(prompt, room) if admitted else room - size + 1
        )  # a decoding request takes a block when it has a token to put there
        found.append((at, int(steps[at, 0]), Kind.DECODE if tokens >= prompt else Kind.CHUNK, row, row, tokens, 0))
    return found


def _ticks(seconds: float) -> int:
    return round(seconds * TICKS_PER_SECOND)

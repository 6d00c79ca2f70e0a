"""A run that was saved, as a history that equals the one that was watched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from app.jobs.columns import ENTRIES, STEP_TYPES, Numbers
from app.jobs.history import History
from app.jobs.told import Facts
from simcore.errors import InputError
from simcore.record.journal import NOBODY, Event
from simcore.record.recorder import STEP_COLUMNS
from simcore.record.results import TIMELINE_MARKS
from simcore.record.sequences import EVENT_TYPES, Kind
from simcore.ticks import TICKS_PER_SECOND

if TYPE_CHECKING:
    import polars as pl

TABLES = ("requests", "timeline", "blocks", "sequences")
NEEDED = ("scenario.toml", *(f"{name}.parquet" for name in TABLES))
CHUNK = 1 << 19
"""entries of the journal that are read in one go"""


def open_saved(tell: Callable[[float], None], folder: Path, spool: Path) -> History:
    """For a process of its own: `read_history` into files, which tells the share of it that is done."""
    return read_history(folder, spool, tell)


def read_history(folder: Path, spool: Path | None = None, tell: Callable[[float], None] | None = None) -> History:
    """The history of a folder of results; kept in files in `spool` if there is one, else in memory.

    Raises InputError where it is none, or is broken.
    """
    import polars as pl

    for name in NEEDED:
        if not (folder / name).is_file():
            hint = "; run the scenario with --blocks" if name in ("blocks.parquet", "sequences.parquet") else ""
            raise InputError(f"{folder}: holds no {name}, which a run needs to be looked at{hint}")
    tables: dict[str, pl.DataFrame] = {}
    for name in TABLES:
        path = folder / f"{name}.parquet"
        try:
            tables[name] = pl.read_parquet(path)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    try:
        return _history(folder, tables, spool, tell or (lambda share: None))
    except OSError as error:
        raise InputError(f"{folder}: cannot be unpacked: {(error.strerror or str(error)).lower()}") from None
    except (pl.exceptions.PolarsError, LookupError, ValueError, TypeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder}: its tables are not those of a run: {error}") from None


def _history(
    folder: Path, tables: "dict[str, pl.DataFrame]", spool: Path | None, tell: Callable[[float], None]
) -> History:
    requests, timeline, blocks, sequences = (tables.pop(name) for name in TABLES)
    facts = _facts(folder, requests)
    steps, events = _steps(timeline), _events(sequences)
    if (np.diff(steps["entries"]) < 0).any() or (np.diff(steps["events"]) < 0).any():
        raise InputError(f"{folder / 'timeline.parquet'}: its columns block_rows and sequence_rows must not decrease")
    if len(blocks) and not 0 < blocks["block"].min() <= blocks["block"].max() < facts.blocks:  # type: ignore[operator]
        raise InputError(f"{folder / 'blocks.parquet'}: tells of blocks that a pool of {facts.blocks:,} does not have")
    history = History(facts, spool, write=True)
    marks = steps["entries"]
    first = 0
    while True:  # whole steps at a time: what makes a copy comes in two entries
        begin = int(marks[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(marks, begin + CHUNK, "right")))
        ended = last >= len(marks)
        here = slice(first, last)
        entries = slice(begin, None if ended else int(marks[last - 1]))
        noted = slice(
            int(steps["events"][first - 1]) if first else 0, None if ended else int(steps["events"][last - 1])
        )
        history.extend(
            {name: column[here] for name, column in steps.items()},
            _entries(blocks[entries]),
            {name: column[noted] for name, column in events.items()},
        )
        if ended:
            return history
        tell(int(marks[last - 1]) / len(blocks))
        first = last


def _facts(folder: Path, requests: "pl.DataFrame") -> Facts:
    from simcore.geometry import pool_size
    from simcore.scenario import Scenario

    scenario = Scenario.load(folder / "scenario.toml")
    summary: dict[str, Any] = {}
    if (folder / "summary.json").is_file():
        summary = json.loads((folder / "summary.json").read_text("utf-8"))
    windows = scenario.model.resolve().windows
    ids = tuple(requests["id"].to_list())
    return Facts(
        name=scenario.name,
        blocks=int(summary.get("memory", {}).get("blocks") or pool_size(scenario).blocks),
        block_size=scenario.memory.block_size,
        tables=len(windows) if any(windows) else 1,
        prefix_caching=scenario.memory.prefix_caching,
        allocator=scenario.memory.allocator.model_dump()["policy"],
        requests=len(requests),
        ids=None if all(name == f"r{row}" for row, name in enumerate(ids)) else ids,
        max_num_seqs=scenario.scheduler.max_num_seqs,
        max_num_batched_tokens=scenario.scheduler.max_num_batched_tokens,
        queue=scenario.scheduler.model_dump()["policy"]["policy"],
        tiers=tuple(tier.name for tier in scenario.memory.tiers),
    )


def _entries(blocks: "pl.DataFrame") -> dict[str, Numbers]:
    """Rows of the journal."""
    import polars as pl

    kinds = {event.name.lower(): int(event) for event in Event}
    columns = blocks.select(
        "step",
        pl.col("event").replace_strict(kinds, return_dtype=pl.Int8),
        "block",
        pl.col("sequence").fill_null(NOBODY),
        pl.col("key").fill_null(0),
        "refs",
        pl.col("other").fill_null(0),
    )
    return {name: columns[name].to_numpy() for name in ENTRIES}


def _steps(timeline: "pl.DataFrame") -> dict[str, Numbers]:
    """Rows of steps. Seconds would be a few ticks off after some hours, so the times are those in ticks."""
    columns = {name: timeline[name].to_numpy() for name in STEP_COLUMNS}
    columns |= {name: timeline[own].to_numpy() for name, own in TIMELINE_MARKS.items()}
    columns["t"] = timeline["ticks"].to_numpy()
    columns["dt"] = np.rint(columns["dt"] * TICKS_PER_SECOND)
    columns["evictions"] = np.cumsum(columns["evictions"])
    return {name: columns[name].astype(np.int64) for name in STEP_TYPES}


def _events(sequences: "pl.DataFrame") -> dict[str, Numbers]:
    """Rows of what happened to sequences."""
    import polars as pl

    kinds = {kind.name.lower(): int(kind) for kind in Kind}
    columns = sequences.select(
        "step",
        pl.col("ticks").alias("t"),
        pl.col("event").replace_strict(kinds, return_dtype=pl.Int8).alias("kind"),
        pl.col("sequence").fill_null(NOBODY),
        "row",
        "tokens",
        "end",
    )
    return {name: columns[name].to_numpy() for name in EVENT_TYPES}

"""A folder of results, read for a window: its numbers, and its timeline thinned out to what a chart can show."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError

POINTS = 4_000
"""Rows of the timeline that are kept: of a longer one, of each stretch the last."""
COLUMNS = (
    "running",
    "waiting",
    "tokens_stored",
    "tokens_reserved",
    "tokens_internal",
    "blocks_used",
    "blocks_cached",
    "blocks_free",
)
SUMS = ("hit_tokens", "query_tokens", "preemptions", "evictions")
"""Columns of which a stretch is the sum."""


@dataclass(frozen=True, slots=True)
class Report:
    """One run."""

    path: Path
    summary: dict[str, Any]
    about: dict[str, Any]
    """run.json; empty: the folder is not whole"""
    time: NDArray[np.float64]
    """[points] s, when the last step of each stretch began"""
    columns: dict[str, NDArray[np.float64]]
    """[points] of COLUMNS, as of the last step, and of SUMS, over the stretch"""


def read_report(tell: Callable[[Any], None], path: Path) -> Report:
    """Read a folder; for a process of its own. Raises InputError that names the file."""
    summary = read_json(path / "summary.json")
    about = read_json(path / "run.json") if (path / "run.json").exists() else {}
    timeline = path / "timeline.parquet"
    if not timeline.exists():
        return Report(path, summary, about, np.empty(0), {name: np.empty(0) for name in (*COLUMNS, *SUMS)})
    import polars as pl

    try:
        table = pl.read_parquet(timeline, columns=["t", *COLUMNS, *SUMS])
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{timeline}: is no timeline of a run: {str(error).splitlines()[0]}") from None
    rows = table.height
    ends = np.unique(np.linspace(0, rows, min(rows, POINTS) + 1).astype(np.int64)[1:]) - 1
    columns = {name: table[name].to_numpy().astype(np.float64) for name in (*COLUMNS, *SUMS)}
    thin = {name: columns[name][ends] for name in COLUMNS}
    for name in SUMS:
        thin[name] = np.diff(np.cumsum(columns[name])[ends], prepend=0.0)
    return Report(path, summary, about, table["t"].to_numpy()[ends], thin)


def export_table(tell: Callable[[Any], None], source: Path, target: Path) -> str:
    """Write a table of a folder as CSV; for a process of its own. Raises InputError."""
    import polars as pl

    try:
        pl.read_parquet(source).write_csv(target)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{target}: cannot be written: {str(error).splitlines()[0]}") from None
    return str(target)


def read_json(path: Path) -> dict[str, Any]:
    """A table of JSON. Raises InputError."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is not a table of results")
    return content

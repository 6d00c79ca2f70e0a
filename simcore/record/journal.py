"""Every change of a block, written once: the step log, time travel and `blocks.parquet` all read this."""

from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simcore.record.files import ColumnFiles
from simcore.record.rows import Rows
from simcore.ticks import Tick

NOBODY = -1


class Event(IntEnum):
    """What happened to a block."""

    ALLOCATE = 0
    HIT = 1
    REGISTER = 2
    EVICT = 3
    FREE = 4
    COPY = 5
    SWAP_OUT = 6
    SWAP_IN = 7
    PRUNE = 8


class Entry(NamedTuple):
    """One line of a journal."""

    step: int
    t: Tick
    event: int
    block: int
    sequence: int
    """whose it was, or NOBODY"""
    key: int
    """the key of its content, 0 without one"""
    refs: int
    """how many hold the block afterwards"""
    other: int
    """where its content comes from or goes to: a block of the pool (copy) or of the host (swaps); of a block into which
    a pruned sequence packs what it keeps, its place in the table, from 1; else 0"""


ENTRY_TYPES: dict[str, type] = dict.fromkeys(Entry._fields, np.int32) | {
    "t": np.int64,
    "event": np.int8,
    "key": np.int64,
}
"""Of the columns of a journal in files."""


class Journal:
    """Append-only; 64 bytes an entry, or none: see `keep_in`."""

    def __init__(self) -> None:
        self._rows = Rows(len(Entry._fields))
        self._step = 0
        self._now: Tick = 0

    def __len__(self) -> int:
        return len(self._rows)

    def keep_in(self, folder: Path) -> None:
        """Let `flush` move entries to files, so that a long run needs no more memory than a short one."""
        self._rows.keep_in(ColumnFiles(folder, "entries", ENTRY_TYPES, write=True), Entry._fields)

    def flush(self) -> None:
        """Move the entries that are in memory to the files. Raises OSError."""
        self._rows.flush()

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""
        self._step, self._now = step, now

    def write(self, event: Event, block: int, sequence: int, key: int, refs: int, other: int = 0) -> None:
        self._rows.append(self._step, self._now, event, block, sequence, key, refs, other)

    def since(self, mark: int) -> list[Entry]:
        """The entries after the first `mark` ones."""
        return [Entry(*row) for row in self.table(mark).tolist()]

    def table(self, mark: int) -> NDArray[np.int64]:
        """[entries, fields] the same as numbers."""
        return self._rows.table(mark)

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """Each field of all entries as a column."""
        return self._rows.columns(Entry._fields)

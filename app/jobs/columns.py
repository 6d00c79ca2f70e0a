"""The tables that a run is told in: columns that grow, in memory or in files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.record.files import ColumnFiles
from simcore.record.journal import ENTRY_TYPES
from simcore.record.recorder import STEP_COLUMNS
from simcore.record.sequences import MARK_COLUMNS

Numbers = NDArray[Any]
ENTRIES = {name: kind for name, kind in ENTRY_TYPES.items() if name != "t"}  # the steps tell when
PLACES: dict[str, type] = {"place": np.int32}
KNOWN: dict[str, type] = dict.fromkeys(("event", "at", "took"), np.int64)
STEP_TYPES: dict[str, type] = dict.fromkeys((*STEP_COLUMNS, *MARK_COLUMNS), np.int64)


class Columns:
    """Columns that grow at their ends.

    Growing copies, and millions of rows take a while: there is much room from the start, which costs nothing until it
    is written to, and no two columns are full at the same time, so that nobody waits for more than one of them.
    """

    def __init__(self, types: Mapping[str, type], room: int = 1 << 16) -> None:
        rooms = np.linspace(room, 2 * room, len(types), endpoint=False).astype(int).tolist()
        self._arrays: dict[str, Numbers] = {
            name: np.empty(room, kind) for room, (name, kind) in zip(rooms, types.items(), strict=True)
        }
        self._length = 0

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._arrays)

    def __getitem__(self, name: str) -> Numbers:
        """All of a column."""
        return self._arrays[name][: self._length]

    def append(self, columns: Mapping[str, Numbers]) -> None:
        """Rows more, of each column."""
        more = len(next(iter(columns.values())))
        needed = self._length + more
        for name, array in self._arrays.items():
            if needed > len(array):
                larger = np.empty(max(2 * len(array), needed), array.dtype)
                larger[: self._length] = array[: self._length]
                self._arrays[name] = array = larger
            array[self._length : needed] = columns[name]
        self._length = needed


Table = Columns | ColumnFiles


def open_table(folder: Path | None, name: str, types: Mapping[str, type], *, write: bool = True) -> Table:
    """In files, which others write unless this does, or in memory."""
    return Columns(types) if folder is None else ColumnFiles(folder, name, types, write=write)

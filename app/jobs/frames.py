"""States of all blocks that are kept, so that from the nearest of them on any other is found soon."""

import os
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from app.jobs.columns import Table
from simcore.record.journal import NOBODY, Event


class Cells:
    """A state of all blocks that can be moved on along the journal."""

    __slots__ = ("holders", "key", "origin", "place", "refs", "taker", "touched")

    def __init__(self, blocks: int) -> None:
        self.refs = np.zeros(blocks, np.int32)
        self.key = np.zeros(blocks, np.int64)
        self.holders = np.zeros(blocks, np.int64)
        """the sum of the numbers of all sequences that hold a block: of a single one, that one"""
        self.taker = np.full(blocks, NOBODY, np.int32)
        self.place = np.zeros(blocks, np.int32)
        self.touched = np.full(blocks, -1, np.int32)
        self.origin = np.zeros(blocks, np.int8)

    def to_bytes(self) -> bytes:
        return b"".join(getattr(self, name).tobytes() for name in self.__slots__)

    @classmethod
    def from_bytes(cls, content: bytes, blocks: int) -> "Cells":
        cells, place = cls(blocks), 0
        for name in cls.__slots__:
            own = getattr(cells, name)
            own[:] = np.frombuffer(content, own.dtype, blocks, place)
            place += own.nbytes
        return cells

    def play(self, entries: Table, places: Table, first: int, end: int) -> None:
        """What the entries from `first` to before `end` change."""
        block, event, sequence, key, refs, other, step = (
            entries[name][first:end] for name in ("block", "event", "sequence", "key", "refs", "other", "step")
        )
        place = places["place"][first:end]
        self.refs[block] = refs
        self.touched[block] = step
        names = event != Event.SWAP_OUT
        self.key[block[names]] = np.where(event == Event.EVICT, 0, key)[names]
        taken = (event == Event.ALLOCATE) | (event == Event.HIT)
        placed = taken | (event == Event.PRUNE)
        self.taker[block[placed]] = sequence[placed]
        self.place[block[placed]] = place[placed]
        freed = event == Event.FREE
        np.add.at(self.holders, block[taken], sequence[taken])
        np.subtract.at(self.holders, block[freed], sequence[freed])
        came = (event == Event.ALLOCATE) | (event == Event.SWAP_IN)
        self.origin[block[came]] = np.where(event == Event.SWAP_IN, np.minimum(other, 100), 0)[came]


class Frames:
    """States that are kept, one every so many entries: in a file where there is a folder."""

    def __init__(self, blocks: int, spacing: int, folder: Path | None) -> None:
        self.spacing = spacing
        self._blocks = blocks
        self._kept = 0
        self._path = None if folder is None else folder / "frames"
        self._memory: list[bytes] = []
        self._open(os.O_RDWR | os.O_CREAT | os.O_APPEND)

    def _open(self, flags: int) -> None:
        self._file = None
        if self._path is not None:
            self._file = os.open(self._path, flags | getattr(os, "O_BINARY", 0), 0o600)
            weakref.finalize(self, os.close, self._file)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_file": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open(os.O_RDONLY)

    @property
    def end(self) -> int:
        """The entries that the last one has seen."""
        return self._kept * self.spacing

    def keep(self, cells: Cells) -> None:
        """The state after `spacing` entries more."""
        content = cells.to_bytes()
        if self._file is None:
            self._memory.append(content)
        else:
            left = memoryview(content)
            while left:
                left = left[os.write(self._file, left) :]
        self._kept += 1

    def before(self, end: int) -> tuple[int, Cells]:
        """The last one that has seen no more than so many entries, which may be changed; and how many it has seen."""
        number = min(end // self.spacing, self._kept)
        if not number:
            return 0, Cells(self._blocks)
        if self._file is None:
            content = self._memory[number - 1]
        else:
            size = len(Cells(self._blocks).to_bytes())
            os.lseek(self._file, (number - 1) * size, os.SEEK_SET)
            content = os.read(self._file, size)
        return number * self.spacing, Cells.from_bytes(content, self._blocks)

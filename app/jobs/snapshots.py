"""Where a run stands, in memory that two processes share: newest wins, nothing is ever half written.

The memory is a mapped file in the run's own folder, so that it goes with the folder whatever happens to the processes.
"""

import mmap
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

BUFFERS = 3
"""A reader has always two others that are not being written."""


class Snapshot(NamedTuple):
    """Where a run stands. How far its files are whole is part of that."""

    state: int
    """a `State`"""
    step: int
    """the last one that was planned; -1: none"""
    now: int
    """its beginning, in ticks"""
    steps: int
    """rows of steps, journal and events that are whole in the files"""
    entries: int
    events: int
    steps_per_s: int
    """achieved, over about the last second, times 1000"""
    ticks_per_s: int
    """simulated time per second of the wall's, the same way"""


class Board:
    """One writer hangs snapshots out, any number of readers see the newest."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Raises OSError where the file cannot be made, or is not there."""
        width = 8 * (1 + len(Snapshot._fields))
        if create:
            path.write_bytes(bytes(BUFFERS * width))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), BUFFERS * width)
        self._cells = np.frombuffer(self._memory, np.int64).reshape(BUFFERS, -1)
        self._number = int(self._cells[:, 0].max())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def publish(self, snapshot: Snapshot) -> None:
        """Write into the oldest buffer; its number goes last, and with it the snapshot counts."""
        self._number += 1
        row = self._cells[self._number % BUFFERS]
        row[0] = 0
        row[1:] = snapshot
        row[0] = self._number

    def newest(self) -> tuple[int, Snapshot] | None:
        """Its number, from 1, and the snapshot; None: there is none yet."""
        while True:
            number = int(self._cells[:, 0].max())
            if not number:
                return None
            row = self._cells[number % BUFFERS].tolist()
            if int(self._cells[number % BUFFERS, 0]) == number == row[0]:
                return number, Snapshot(*row[1:])

    def close(self) -> None:
        """Nothing can be read afterwards."""
        del self._cells
        self._memory.close()

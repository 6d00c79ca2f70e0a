"""Every change of a block, written once: the step log, time travel and `blocks.parquet` all read this."""

from array import array
from enum import IntEnum
from typing import NamedTuple

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


class Journal:
    """Append-only; 56 bytes an entry."""

    WIDTH = len(Entry._fields)

    def __init__(self) -> None:
        self.cells = array("q")
        self._step = 0
        self._now: Tick = 0

    def __len__(self) -> int:
        return len(self.cells) // self.WIDTH

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""
        self._step, self._now = step, now

    def write(self, event: Event, block: int, sequence: int, key: int, refs: int) -> None:
        self.cells.extend((self._step, self._now, event, block, sequence, key, refs))

    def since(self, mark: int) -> list[Entry]:
        """The entries after the first `mark` ones."""
        cells, width = self.cells, self.WIDTH
        return [Entry(*cells[i : i + width]) for i in range(mark * width, len(cells), width)]

"""Segmented LRU."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class SLRU(Eviction):
    """LRU lists of equal size: each use lifts a block to the next one, and what overflows sinks to the one below.

    As in libCacheSim, a new block enters the lowest list with room, so that an empty cache fills from below.
    https://doi.org/10.1109/2.268884
    """

    name = "slru"
    segments: int = parameter(4, help="LRU lists.", ge=2, le=64)

    def start(self, setting: Setting) -> None:
        self._room = setting.capacity // self.segments
        self._lists: list[OrderedDict[Block, None]] = [OrderedDict() for _ in range(self.segments)]
        self._levels: dict[Block, int] = {}

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._put(block, next((level for level, each in enumerate(self._lists) if len(each) < self._room), 0))

    def hit(self, block: Block, use: Use) -> None:
        level = self._levels[block]
        del self._lists[level][block]
        level = min(level + 1, self.segments - 1)
        self._put(block, level)
        while level and len(self._lists[level]) > self._room:
            overflow, _ = self._lists[level].popitem(last=False)
            level -= 1
            self._put(overflow, level)

    def victim(self) -> Block:
        block, _ = next(each for each in self._lists if each).popitem(last=False)
        del self._levels[block]
        return block

    def remove(self, block: Block) -> None:
        del self._lists[self._levels.pop(block)][block]

    def _put(self, block: Block, level: int) -> None:
        self._lists[level][block] = None
        self._levels[block] = level

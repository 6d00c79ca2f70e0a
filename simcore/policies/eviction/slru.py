"""Segmented LRU."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class SLRU(Eviction):
    """LRU in segments: each use lifts a block one segment up, and what does not fit there falls back one.

    Karedla et al., 1994: https://doi.org/10.1109/2.268884
    """

    name = "slru"
    segments: int = parameter(4, help="Segments, which are equally large.", ge=2, le=64)

    def start(self, setting: Setting) -> None:
        self._most = max(1, setting.capacity // self.segments)
        self._queues: list[OrderedDict[Block, None]] = [OrderedDict() for _ in range(self.segments)]
        self._segment: dict[Block, int] = {}

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._put(block, 0)

    def hit(self, block: Block, use: Use) -> None:
        segment = self._segment[block]
        del self._queues[segment][block]
        self._put(block, min(segment + 1, self.segments - 1))

    def victim(self) -> Block:
        block = next(iter(next(queue for queue in self._queues if queue)))
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self._queues[self._segment.pop(block)][block]

    def _put(self, block: Block, segment: int) -> None:
        """The lowest segment takes all that the others do not hold."""
        self._queues[segment][block] = None
        self._segment[block] = segment
        while segment and len(self._queues[segment]) > self._most:
            fallen, _ = self._queues[segment].popitem(last=False)
            segment -= 1
            self._queues[segment][fallen] = None
            self._segment[fallen] = segment

"""Least frequently used."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class LFU(Eviction):
    """Evict the block that was used least often since it was cached; among equals the one that has its count longest.

    What is evicted loses its count. https://doi.org/10.1145/321623.321632
    """

    name = "lfu"

    def start(self, setting: Setting) -> None:
        self._counts: dict[Block, int] = {}
        self._buckets: dict[int, OrderedDict[Block, None]] = {}  # the blocks of each count; none is empty
        self._least = 1  # no count is below it

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._enter(block, 1)
        self._least = 1

    def hit(self, block: Block, use: Use) -> None:
        count = self._counts[block]
        self._leave(block, count)
        self._enter(block, count + 1)

    def victim(self) -> Block:
        if self._least not in self._buckets:
            self._least = min(self._buckets)
        bucket = self._buckets[self._least]
        block, _ = bucket.popitem(last=False)
        if not bucket:
            del self._buckets[self._least]
        del self._counts[block]
        return block

    def remove(self, block: Block) -> None:
        self._leave(block, self._counts.pop(block))

    def _enter(self, block: Block, count: int) -> None:
        self._counts[block] = count
        bucket = self._buckets.get(count)
        if bucket is None:
            bucket = self._buckets[count] = OrderedDict()
        bucket[block] = None

    def _leave(self, block: Block, count: int) -> None:
        bucket = self._buckets[count]
        del bucket[block]
        if not bucket:
            del self._buckets[count]

"""Policies that give each block a score, and evict the lowest."""

from abc import abstractmethod
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import Any

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class Scored(Eviction):
    """Evict the block with the lowest score; of several the one whose score is the oldest.

    A subclass says what a block's score is with each use. A score is only replaced, so that a block costs O(log n).
    """

    def start(self, setting: Setting) -> None:
        self._heap: list[tuple[Any, int, Block]] = []
        self._entries: dict[Block, tuple[Any, int, Block]] = {}
        self._number = 0

    @abstractmethod
    def score(self, block: Block, name: Name | None, use: Use) -> Any:
        """Of a block that is inserted (under a name) or hit (None): lower goes sooner."""

    def gone(self, block: Block) -> None:
        """A block has left, evicted or not."""

    def rescore(self, block: Block, score: Any) -> None:
        """From now on a block has this score."""
        self._number += 1
        entry = self._entries[block] = (score, self._number, block)
        heappush(self._heap, entry)
        if len(self._heap) > 4 * len(self._entries) + 64:  # most of it is outdated
            self._heap = list(self._entries.values())
            heapify(self._heap)

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self.rescore(block, self.score(block, name, use))

    def hit(self, block: Block, use: Use) -> None:
        self.rescore(block, self.score(block, None, use))

    def lowest(self) -> tuple[Any, int, Block]:
        """The entry of the next victim; outdated ones before it are dropped."""
        while True:
            entry = self._heap[0]
            if self._entries.get(entry[2]) is entry:
                return entry
            heappop(self._heap)

    def victim(self) -> Block:
        block = self.lowest()[2]
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self._entries[block]
        self.gone(block)

"""Protects what waiting requests will look up."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ranking import Ranking


@dataclass
class QueueInformed(Eviction):
    """LRU that spares, while it can, the blocks that requests in the waiting queue will look up.

    In a cache study nobody waits and it is LRU. https://arxiv.org/abs/2403.19708 (section 3.3) looks at the queue too.
    """

    name = "queue-informed"
    hears_queue = True

    def start(self, setting: Setting) -> None:
        self._order = Ranking()
        self._turn = 0
        self._used: dict[Block, int] = {}
        self._names: dict[Block, Name] = {}
        self._blocks: dict[Name, dict[Block, None]] = {}  # that carry a name, in order of caching
        self._expected: Counter[Name] = Counter()

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._names[block] = name
        self._blocks.setdefault(name, {})[block] = None
        self.hit(block, use)

    def hit(self, block: Block, use: Use) -> None:
        self._turn += 1
        self._used[block] = self._turn
        self._rank(block)

    def release(self, block: Block, use: Use) -> None:
        self.hit(block, use)

    def victim(self) -> Block:
        _, block = self._order.pop()
        self._forget(block)
        return block

    def remove(self, block: Block) -> None:
        self._order.remove(block)
        self._forget(block)

    def expect(self, names: Sequence[Name]) -> None:
        self._expected.update(names)
        self._rank_again(name for name in names if self._expected[name] == 1)

    def unexpect(self, names: Sequence[Name]) -> None:
        self._expected.subtract(names)
        gone = [name for name in names if self._expected[name] <= 0]
        for name in gone:
            self._expected.pop(name, None)
        self._rank_again(gone)

    def worth(self, name: Name) -> Any:
        """Of a content; the least goes first, and among equals the least recently used."""
        return name in self._expected

    def _rank(self, block: Block) -> None:
        self._order.put(block, (self.worth(self._names[block]), self._used[block]))

    def _rank_again(self, names: Iterable[Name]) -> None:
        for name in names:
            for block in self._blocks.get(name, ()):
                self._rank(block)

    def _forget(self, block: Block) -> None:
        name = self._names.pop(block)
        del self._used[block]
        del self._blocks[name][block]
        if not self._blocks[name]:
            del self._blocks[name]

"""Least frequently used."""

from collections import OrderedDict, defaultdict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class LFU(Eviction):
    """Evict the block that was used least often since it was cached; of several the one so for longest.

    In constant time, by a queue for each number of uses: https://arxiv.org/abs/2110.11602. What is evicted is forgotten.
    """

    name = "lfu"

    def start(self, setting: Setting) -> None:
        self._uses: dict[Block, int] = {}
        self._queues: defaultdict[int, OrderedDict[Block, None]] = defaultdict(OrderedDict)
        self._fewest = 1

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._uses[block] = self._fewest = 1
        self._queues[1][block] = None

    def hit(self, block: Block, use: Use) -> None:
        uses = self._uses[block]
        self._leave(block, uses)
        self._uses[block] = uses + 1
        self._queues[uses + 1][block] = None

    def victim(self) -> Block:
        if self._fewest not in self._queues:
            self._fewest = min(self._queues)
        block = next(iter(self._queues[self._fewest]))
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        self._leave(block, self._uses.pop(block))

    def _leave(self, block: Block, uses: int) -> None:
        queue = self._queues[uses]
        del queue[block]
        if not queue:
            del self._queues[uses]

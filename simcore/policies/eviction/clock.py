"""CLOCK."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class Clock(Eviction):
    """Evict in the order of caching, but pass over a block once for each time it was used, up to a few times.

    An LRU that writes a bit where LRU moves a block: https://doi.org/10.1145/1283920.1283963
    """

    name = "clock"
    most: int = parameter(1, help="How often a block can be passed over.", ge=1, le=100)

    def start(self, setting: Setting) -> None:
        self._uses: OrderedDict[Block, int] = OrderedDict()  # the hand points to the first

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._uses[block] = 0

    def hit(self, block: Block, use: Use) -> None:
        if self._uses[block] < self.most:
            self._uses[block] += 1

    def victim(self) -> Block:
        while True:
            block, uses = self._uses.popitem(last=False)
            if not uses:
                return block
            self._uses[block] = uses - 1

    def remove(self, block: Block) -> None:
        del self._uses[block]

"""First in, first out."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class FIFO(Eviction):
    """Evict what was cached first, whether it has been used since or not.

    https://doi.org/10.1145/363095.363155
    """

    name = "fifo"

    def start(self, setting: Setting) -> None:
        self._queue: OrderedDict[Block, None] = OrderedDict()

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._queue[block] = None

    def hit(self, block: Block, use: Use) -> None:
        """It stays where it is."""

    def victim(self) -> Block:
        return self._queue.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        del self._queue[block]

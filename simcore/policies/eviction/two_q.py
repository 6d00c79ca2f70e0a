"""2Q."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ghosts import Ghosts


@dataclass
class TwoQ(Eviction):
    """New blocks pass through a FIFO queue; what comes back after it left that queue enters an LRU queue.

    The full version: names of what left the first queue are remembered for a while.
    https://www.vldb.org/conf/1994/P439.PDF
    """

    name = "2q"
    fresh: float = parameter(0.25, help="Share of the cache that the FIFO queue has (Kin).", gt=0, lt=1)
    ghost: float = parameter(0.5, help="Names that are remembered, as a share of the cache (Kout).", ge=0, le=10)

    def start(self, setting: Setting) -> None:
        self._room = int(setting.capacity * self.fresh)
        self._fresh: OrderedDict[Block, Name] = OrderedDict()
        self._main: OrderedDict[Block, None] = OrderedDict()
        self._ghosts = Ghosts(int(setting.capacity * self.ghost))

    def insert(self, block: Block, name: Name, use: Use) -> None:
        if self._ghosts.recall(name):
            self._main[block] = None
        else:
            self._fresh[block] = name

    def hit(self, block: Block, use: Use) -> None:
        if block in self._main:
            self._main.move_to_end(block)

    def victim(self) -> Block:
        if len(self._fresh) > self._room or not self._main:
            block, name = self._fresh.popitem(last=False)
            self._ghosts.add(name)
            return block
        return self._main.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        if block in self._main:
            del self._main[block]
        else:
            del self._fresh[block]

"""2Q."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ghost import Ghosts


@dataclass
class TwoQueue(Eviction):
    """New blocks pass through a queue; only those that come back after they have left it are kept by LRU.

    The full version of Johnson and Shasha, VLDB 1994: https://www.vldb.org/conf/1994/P439.PDF
    """

    name = "2q"
    new: float = parameter(0.25, help="Share of the capacity that the queue of new blocks may fill.", gt=0, lt=1)
    remembered: float = parameter(
        0.5, help="Names that are remembered of what left that queue, as a share of the capacity.", gt=0, le=100
    )

    def start(self, setting: Setting) -> None:
        self._most_new = int(self.new * setting.capacity)
        self._new: OrderedDict[Block, Name] = OrderedDict()
        self._kept: OrderedDict[Block, None] = OrderedDict()
        self._ghosts = Ghosts(int(self.remembered * setting.capacity))

    def coming(self, name: Name) -> None:
        self._ghosts.recall(name)

    def insert(self, block: Block, name: Name, use: Use) -> None:
        if self._ghosts.recalls(name):
            self._kept[block] = None
        else:
            self._new[block] = name

    def hit(self, block: Block, use: Use) -> None:
        if block in self._kept:
            self._kept.move_to_end(block)

    def victim(self) -> Block:
        if len(self._new) > self._most_new or not self._kept:
            block, name = self._new.popitem(last=False)
            self._ghosts.add(name)
            return block
        return self._kept.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        del (self._kept if block in self._kept else self._new)[block]

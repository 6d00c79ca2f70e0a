"""S3-FIFO."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ghosts import Ghosts

_MOST = 3  # uses that are counted in the main queue


@dataclass
class S3FIFO(Eviction):
    """Three FIFO queues: a small one for what is new, the main one for what was used again there, and one of names.

    What leaves the small queue unused is evicted and its name remembered; if it comes back in time, it enters the main
    queue, which works like `clock` with a counter. Until something is evicted, what does not fit in the small queue
    enters the main one. As in libCacheSim, the counter starts anew in the main queue.
    https://doi.org/10.1145/3600006.3613147
    """

    name = "s3-fifo"
    small: float = parameter(0.1, help="Share of the cache that the small queue has.", gt=0, lt=1)
    ghost: float = parameter(0.9, help="Names that are remembered, as a share of the cache.", ge=0, le=10)
    promote: int = parameter(2, help="Uses in the small queue with which a block enters the main queue.", ge=1, le=100)

    def start(self, setting: Setting) -> None:
        self._room = max(int(setting.capacity * self.small), 1)  # of the small queue
        self._main_room = setting.capacity - self._room
        self._small: OrderedDict[Block, int] = OrderedDict()  # uses
        self._main: OrderedDict[Block, int] = OrderedDict()
        self._names: dict[Block, Name] = {}
        self._ghosts = Ghosts(int(setting.capacity * self.ghost))
        self._filling = True

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._names[block] = name
        known = self._ghosts.recall(name)
        if known or (self._filling and len(self._small) >= self._room):
            self._main[block] = 0
        else:
            self._small[block] = 0

    def hit(self, block: Block, use: Use) -> None:
        queue = self._small if block in self._small else self._main
        queue[block] += 1

    def victim(self) -> Block:
        self._filling = False
        if len(self._main) <= self._main_room:
            while self._small:
                block, uses = self._small.popitem(last=False)
                if uses < self.promote:
                    self._ghosts.add(self._names.pop(block))
                    return block
                self._main[block] = 0
        while True:
            block, uses = self._main.popitem(last=False)
            if not uses:
                del self._names[block]
                return block
            self._main[block] = min(uses, _MOST) - 1

    def remove(self, block: Block) -> None:
        del self._names[block]
        del (self._small if block in self._small else self._main)[block]

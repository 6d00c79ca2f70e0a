"""S3-FIFO."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ghost import Ghosts


@dataclass
class S3FIFO(Eviction):
    """A small queue in front of a main one: what is not used again leaves soon, and is kept when it comes back.

    Yang et al., SOSP 2023: https://dl.acm.org/doi/10.1145/3600006.3613147. As in libCacheSim, new blocks fill the main
    queue too until something has been evicted.
    """

    name = "s3-fifo"
    small: float = parameter(0.1, help="Share of the capacity that the small queue may fill.", gt=0, lt=1)
    ghosts: float = parameter(
        0.9, help="Names that are remembered of what left the small queue, as a share of the capacity.", gt=0, le=100
    )
    promote: int = parameter(2, help="Uses with which a block moves from the small queue to the main one.", ge=1, le=3)

    def start(self, setting: Setting) -> None:
        self._most_small = int(self.small * setting.capacity)
        self._most_main = setting.capacity - self._most_small
        self._small: OrderedDict[Block, Name] = OrderedDict()
        self._main: OrderedDict[Block, None] = OrderedDict()
        self._uses: dict[Block, int] = {}
        self._ghosts = Ghosts(int(self.ghosts * setting.capacity))
        self._has_evicted = False

    def coming(self, name: Name) -> None:
        self._ghosts.recall(name)

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._uses[block] = 0
        if self._ghosts.recalls(name) or (not self._has_evicted and len(self._small) >= self._most_small):
            self._main[block] = None
        else:
            self._small[block] = name

    def hit(self, block: Block, use: Use) -> None:
        self._uses[block] += 1

    def victim(self) -> Block:
        self._has_evicted = True
        while True:
            if len(self._main) > self._most_main or not self._small:
                return self._victim_of_main()
            while self._small:
                block, name = self._small.popitem(last=False)
                if self._uses[block] < self.promote:
                    del self._uses[block]
                    self._ghosts.add(name)
                    return block
                self._uses[block] = 0
                self._main[block] = None

    def _victim_of_main(self) -> Block:
        while True:
            block, _ = self._main.popitem(last=False)
            uses = self._uses[block]
            if not uses:
                del self._uses[block]
                return block
            self._uses[block] = min(uses, 3) - 1
            self._main[block] = None

    def remove(self, block: Block) -> None:
        del self._uses[block]
        if block in self._main:
            del self._main[block]
        else:
            del self._small[block]

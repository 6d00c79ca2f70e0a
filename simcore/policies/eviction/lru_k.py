"""LRU-K."""

from collections import OrderedDict, deque
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ranking import Ranking


@dataclass
class LRUK(Eviction):
    """Evict the block whose k-th last use is longest ago; before that those with fewer uses, in order of caching.

    The uses of what was evicted are forgotten, as in libCacheSim. https://doi.org/10.1145/170036.170081
    """

    name = "lru-k"
    k: int = parameter(2, help="Which of the last uses counts; 1 is LRU.", ge=1, le=64)

    def start(self, setting: Setting) -> None:
        self._uses: dict[Block, deque[int]] = {}  # the last k
        self._few: OrderedDict[Block, None] = OrderedDict()  # fewer than k uses
        self._many = Ranking()
        self._clock = 0

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._uses[block] = deque(maxlen=self.k)
        self._few[block] = None
        self.hit(block, use)

    def hit(self, block: Block, use: Use) -> None:
        self._clock += 1
        uses = self._uses[block]
        uses.append(self._clock)
        if len(uses) == self.k:
            self._few.pop(block, None)
            self._many.put(block, uses[0])

    def victim(self) -> Block:
        block = self._few.popitem(last=False)[0] if self._few else self._many.pop()[1]
        del self._uses[block]
        return block

    def remove(self, block: Block) -> None:
        del self._uses[block]
        if block in self._few:
            del self._few[block]
        else:
            self._many.remove(block)

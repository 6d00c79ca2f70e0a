"""LFU with dynamic aging."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ranking import Ranking


@dataclass
class LFUDA(Eviction):
    """LFU whose counts age: each use adds the rank of the last victim to a block's rank, and a new one starts above it.

    As libCacheSim does it, so that what is popular now counts more the longer the cache has been running; with an
    addend of one instead it would be `gdsf`. https://www.hpl.hp.com/techreports/98/HPL-98-173.pdf
    """

    name = "lfuda"

    def start(self, setting: Setting) -> None:
        self._order = Ranking()
        self._ranks: dict[Block, int] = {}
        self._age = 0

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._rank(block, self._age + 1)

    def hit(self, block: Block, use: Use) -> None:
        self._rank(block, self._ranks[block] + self._age)

    def victim(self) -> Block:
        self._age, block = self._order.pop()
        del self._ranks[block]
        return block

    def remove(self, block: Block) -> None:
        self._order.remove(block)
        del self._ranks[block]

    def _rank(self, block: Block, rank: int) -> None:
        self._ranks[block] = rank
        self._order.put(block, rank)

"""Greedy-Dual-Size-Frequency."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ranking import Ranking


@dataclass
class GDSF(Eviction):
    """Evict by uses plus age: a block's rank is its number of uses plus the rank of the last victim at its last use.

    Greedy-Dual-Size-Frequency where all sizes and costs are equal; `cost-aware` weighs the cost of a block as well.
    https://www.hpl.hp.com/techreports/98/HPL-98-69R1.pdf
    """

    name = "gdsf"

    def start(self, setting: Setting) -> None:
        self._order = Ranking()
        self._uses: dict[Block, int] = {}
        self._age = 0

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._uses[block] = 0
        self.hit(block, use)

    def hit(self, block: Block, use: Use) -> None:
        self._uses[block] += 1
        self._order.put(block, self._age + self._uses[block])

    def victim(self) -> Block:
        self._age, block = self._order.pop()
        del self._uses[block]
        return block

    def remove(self, block: Block) -> None:
        self._order.remove(block)
        del self._uses[block]

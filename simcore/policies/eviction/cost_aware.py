"""What is cheap to compute again goes first."""

from dataclasses import dataclass
from functools import cache

from simcore.policies.eviction.base import Block, Setting, Use
from simcore.policies.eviction.gdsf import GDSF


@dataclass
class CostAware(GDSF):
    """Evict by uses times cost plus age: the cost is what computing the block again would take, which grows with place.

    Greedy-Dual-Size-Frequency with the recomputing time of a block as its cost. All blocks are of one size, so it is a
    cost per byte too. The age is the rank of the last victim. https://www.hpl.hp.com/techreports/98/HPL-98-69R1.pdf
    """

    name = "cost-aware"

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self._cost = cache(setting.cost)

    def hit(self, block: Block, use: Use) -> None:
        self._uses[block] += 1
        self._order.put(block, self._age + self._uses[block] * self._cost(use.place))

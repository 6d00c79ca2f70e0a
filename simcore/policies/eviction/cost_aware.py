"""What it would cost to compute a block again."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Setting, Use
from simcore.policies.eviction.gdsf import GDSF


@dataclass
class CostAware(GDSF):
    """Evict the block with the lowest uses times time to compute it again, plus the age of the cache.

    A block late in a long sequence attends to all before it, and costs more than an early one. This is
    GreedyDual-Size-Frequency with that cost: https://www.hpl.hp.com/techreports/98/HPL-98-69R1.html
    """

    name = "cost-aware"

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self._cost_at = setting.cost
        self._costs: dict[int, float] = {}

    def cost(self, use: Use) -> float:
        if use.place not in self._costs:
            self._costs[use.place] = float(self._cost_at(use.place))
        return self._costs[use.place]

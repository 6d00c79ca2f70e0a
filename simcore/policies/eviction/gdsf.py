"""GreedyDual-Size with frequency, and what recomputing costs."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Name, Setting, Use
from simcore.policies.eviction.scored import Scored


@dataclass
class GDSF(Scored):
    """Evict the block with the lowest uses times cost over size, plus the age of the cache (GreedyDual-Size-Frequency).

    Cherkasova, 1998: https://www.hpl.hp.com/techreports/98/HPL-98-69R1.html. Blocks are equally large; the cost is one
    here, and the time to compute the block again in `cost-aware`. libCacheSim's ties are broken otherwise.
    """

    name = "gdsf"

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self._worth: dict[Block, tuple[int, float]] = {}  # uses, cost
        self._age = 0.0

    def cost(self, use: Use) -> float:
        """Of a block that is not there when it is needed."""
        return 1.0

    def score(self, block: Block, name: Name | None, use: Use) -> float:
        uses, cost = (0, self.cost(use)) if name is not None else self._worth[block]
        self._worth[block] = uses + 1, cost
        return self._age + (uses + 1) * cost

    def victim(self) -> Block:
        self._age = self.lowest()[0]
        return super().victim()

    def gone(self, block: Block) -> None:
        del self._worth[block]

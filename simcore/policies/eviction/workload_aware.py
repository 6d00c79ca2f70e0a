"""How likely each kind of request comes back."""

import math
from collections import OrderedDict
from dataclasses import dataclass, field

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick, to_ticks


@dataclass
class Kind:
    """What has been seen of the blocks of one kind of request."""

    order: "OrderedDict[Block, Tick]" = field(default_factory=OrderedDict)
    """when each was used last, the oldest first"""
    uses: int = 0
    reuses: int = 0
    waited: Tick = 0
    """between a use and the next one, in all"""

    def chance(self, age: Tick, ahead: Tick) -> float:
        """That a block is used again within `ahead`, when it has not been for `age`.

        Some of the blocks are used again at all, and those after times that are exponentially distributed.
        """
        share = (self.reuses + 1) / (self.uses + 2)
        mean = self.waited / self.reuses if self.reuses else ahead
        still = share * math.exp(-age / max(mean, 1))
        return still * -math.expm1(-ahead / max(mean, 1)) / (1 - share + still)


@dataclass
class WorkloadAware(Eviction):
    """Evict the block that is least likely to be used again soon, by what was seen of its kind of request.

    KVCache Cache in the Wild, ATC 2025: https://arxiv.org/abs/2506.02634. Kinds are the workload's categories, such as
    the turn of a conversation. A sequence lets go of its last block first, and so late blocks go before early ones.
    """

    name = "workload-aware"
    seconds: float = parameter(60.0, help="How far ahead it looks.", unit="s", gt=0, le=1e6)

    def start(self, setting: Setting) -> None:
        self._kinds: dict[int, Kind] = {}
        self._kind: dict[Block, Kind] = {}
        self._ahead = to_ticks(self.seconds)
        self._now: Tick = 0

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._put(block, use)

    def hit(self, block: Block, use: Use) -> None:
        kind = self._kind.pop(block)
        kind.reuses += 1
        kind.waited += use.now - kind.order.pop(block)
        self._put(block, use)

    def release(self, block: Block, use: Use) -> None:
        self._now = use.now
        order = self._kind[block].order
        order[block] = use.now
        order.move_to_end(block)

    def victim(self) -> Block:
        chances = (
            (kind.chance(self._now - last, self._ahead), number, block)
            for number, kind in self._kinds.items()
            for block, last in [next(iter(kind.order.items()), (-1, 0))]
            if block >= 0
        )
        block = min(chances)[2]
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self._kind.pop(block).order[block]

    def _put(self, block: Block, use: Use) -> None:
        self._now = use.now
        kind = self._kind[block] = self._kinds.setdefault(use.category, Kind())
        kind.uses += 1
        kind.order[block] = use.now

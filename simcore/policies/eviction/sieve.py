"""SIEVE."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class SIEVE(Eviction):
    """A hand moves from the oldest block to the newest, spares what was used since it last passed, and evicts the rest.

    What is spared stays where it is, unlike in `clock`. When the hand has passed the newest block, it starts again from
    the oldest. https://www.usenix.org/conference/nsdi24/presentation/zhang-yazhuo
    """

    name = "sieve"

    def start(self, setting: Setting) -> None:
        self._ahead: OrderedDict[Block, bool] = OrderedDict()  # from the hand to the newest; whether it was used since
        self._passed: OrderedDict[Block, bool] = OrderedDict()  # older ones, which the hand has spared

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._ahead[block] = False

    def hit(self, block: Block, use: Use) -> None:
        if block in self._ahead:
            self._ahead[block] = True
        else:
            self._passed[block] = True

    def victim(self) -> Block:
        while True:
            block, used = self._ahead.popitem(last=False)
            if used:
                self._passed[block] = False
            self._restart()
            if not used:
                return block

    def remove(self, block: Block) -> None:
        if block in self._ahead:
            del self._ahead[block]
            self._restart()
        else:
            del self._passed[block]

    def _restart(self) -> None:
        """From the oldest, if the hand has passed the newest: at once, before there is a newer one."""
        if not self._ahead:
            self._ahead, self._passed = self._passed, self._ahead

"""Clock, or second chance."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class Clock(Eviction):
    """First in, first out, but what was used since the hand last passed goes around once more.

    One bit a block; also known as second chance and FIFO with reinsertion.
    https://multicians.org/paging-experiment.pdf
    """

    name = "clock"

    def start(self, setting: Setting) -> None:
        self._queue: OrderedDict[Block, bool] = OrderedDict()  # whether it was used since

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._queue[block] = False

    def hit(self, block: Block, use: Use) -> None:
        self._queue[block] = True

    def victim(self) -> Block:
        while True:
            block, used = self._queue.popitem(last=False)
            if not used:
                return block
            self._queue[block] = False

    def remove(self, block: Block) -> None:
        del self._queue[block]

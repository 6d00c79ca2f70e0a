"""ARC."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use

Queue = OrderedDict[Block, Name]
Ghosts = OrderedDict[Name, None]


@dataclass
class ARC(Eviction):
    """Two LRU queues, of what was used once and of what was used again; what comes back too late moves their border.

    Megiddo and Modha, FAST 2003:
    https://www.usenix.org/conference/fast-03/arc-self-tuning-low-overhead-replacement-cache
    """

    name = "arc"

    def start(self, setting: Setting) -> None:
        self._capacity = setting.capacity
        self._once: Queue = OrderedDict()
        self._again: Queue = OrderedDict()
        self._once_ghosts: Ghosts = OrderedDict()
        self._again_ghosts: Ghosts = OrderedDict()
        self._target = 0.0  # of blocks used once
        self._coming: Name = 0
        self._known = self._from_again = False  # about what is coming

    def coming(self, name: Name) -> None:
        self._coming = name
        once, again = self._once_ghosts, self._again_ghosts
        self._known = self._from_again = False
        if name in once:
            self._target = min(self._target + max(len(again) / len(once), 1), self._capacity)
            del once[name]
            self._known = True
        elif name in again:
            self._target = max(self._target - max(len(once) / len(again), 1), 0)
            del again[name]
            self._known = self._from_again = True

    def insert(self, block: Block, name: Name, use: Use) -> None:
        if self._coming != name:
            self.coming(name)
        (self._again if self._known else self._once)[block] = name
        self._coming = 0
        self._known = self._from_again = False

    def hit(self, block: Block, use: Use) -> None:
        if block in self._once:
            self._again[block] = self._once.pop(block)
        else:
            self._again.move_to_end(block)

    def victim(self) -> Block:
        once, again = len(self._once), len(self._again)
        remember = True
        if not self._known:  # what is coming is new: make room among the ghosts
            if once + len(self._once_ghosts) >= self._capacity:
                if self._once_ghosts:
                    self._once_ghosts.popitem(last=False)
                else:
                    remember = False
            elif once + again + len(self._once_ghosts) + len(self._again_ghosts) >= 2 * self._capacity:
                (self._again_ghosts or self._once_ghosts).popitem(last=False)
        if not remember or (once and (once > self._target or (self._from_again and once == self._target))) or not again:
            block, name = self._once.popitem(last=False)
            if remember:
                self._once_ghosts[name] = None
        else:
            block, name = self._again.popitem(last=False)
            self._again_ghosts[name] = None
        return block

    def remove(self, block: Block) -> None:
        del (self._once if block in self._once else self._again)[block]

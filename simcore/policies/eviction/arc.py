"""ARC."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class ARC(Eviction):
    """Two LRU lists, of what was used once and of what was used again, that learn from their ghosts to share the cache.

    In a server the victim is chosen before it is known what comes in its place, so a return of its name can move the
    shares only afterwards; a cache study does it in the paper's order.
    https://www.usenix.org/conference/fast-03/arc-self-tuning-low-overhead-replacement-cache
    """

    name = "arc"

    def start(self, setting: Setting) -> None:
        self._capacity = setting.capacity
        self._once: OrderedDict[Block, Name] = OrderedDict()  # T1
        self._again: OrderedDict[Block, Name] = OrderedDict()  # T2
        self._once_ghosts: OrderedDict[Name, None] = OrderedDict()  # B1
        self._again_ghosts: OrderedDict[Name, None] = OrderedDict()  # B2
        self._target = 0.0  # blocks that T1 should have: p

    def insert(self, block: Block, name: Name, use: Use) -> None:
        returns = self._recall(name) is not None
        (self._again if returns else self._once)[block] = name

    def hit(self, block: Block, use: Use) -> None:
        if block in self._again:
            self._again.move_to_end(block)
        else:
            self._again[block] = self._once.pop(block)

    def victim(self) -> Block:
        once, ghosts = len(self._once), self._once_ghosts
        if once >= self._capacity:
            return self._once.popitem(last=False)[0]
        while once + len(ghosts) >= self._capacity:
            ghosts.popitem(last=False)
        most = 2 * self._capacity - once - len(ghosts) - len(self._again)
        while self._again_ghosts and len(self._again_ghosts) >= most:
            self._again_ghosts.popitem(last=False)
        return self._replace()

    def remove(self, block: Block) -> None:
        del (self._once if block in self._once else self._again)[block]

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        hits = bytearray(len(names))
        use = Use()
        once, again = self._once, self._again
        for access, name in enumerate(names):
            if name in once or name in again:
                hits[access] = 1
                self.hit(name, use)
                continue
            ghosts = self._recall(name)
            if len(once) + len(again) == capacity:
                if ghosts is None:
                    self.victim()
                else:
                    self._replace(ghosts is self._again_ghosts)
            (once if ghosts is None else again)[name] = name
        return hits

    def _recall(self, name: Name) -> OrderedDict[Name, None] | None:
        """The ghosts among which a name was, if any; it leaves them, and T1's target moves."""
        once, again = self._once_ghosts, self._again_ghosts
        if name in once:
            self._target = min(self._target + max(len(again) / len(once), 1.0), self._capacity)
            del once[name]
            return once
        if name in again:
            self._target = max(self._target - max(len(once) / len(again), 1.0), 0.0)
            del again[name]
            return again
        return None

    def _replace(self, from_again: bool = False) -> Block:
        """Evict from the list that has more than its share, for a name that was among B2 or not."""
        once = len(self._once)
        if not self._again or (once and (once > self._target or (from_again and once == self._target))):
            block, name = self._once.popitem(last=False)
            self._once_ghosts[name] = None
        else:
            block, name = self._again.popitem(last=False)
            self._again_ghosts[name] = None
        return block

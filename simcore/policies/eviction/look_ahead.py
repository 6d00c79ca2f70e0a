"""Looks ahead in the waiting queue."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Name, Setting
from simcore.policies.eviction.queue_informed import QueueInformed

_OUTSIDE = -1 << 62  # less than that of any request


@dataclass
class LookAhead(QueueInformed):
    """Evict what none of the next waiting requests will look up, the least recent first; else what the last will.

    CachedAttention's look-ahead window, in requests. The queue is taken in the order in which requests joined it. In a
    cache study nobody waits and it is LRU. https://arxiv.org/abs/2403.19708
    """

    name = "look-ahead"
    window: int = parameter(16, help="How many waiting requests it looks at, from the front.", ge=1, le=1_000_000)

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self._joined = 0
        self._waiting: dict[int, tuple[Name, ...]] = {}  # by order of joining
        self._next: dict[Name, int] = {}  # which request in the window will be the first to look it up
        self._stale = False

    def victim(self) -> Block:
        if self._stale:
            self._look()
        return super().victim()

    def expect(self, names: Sequence[Name]) -> None:
        self._joined += 1
        self._waiting[self._joined] = tuple(names)
        self._stale |= len(self._waiting) <= self.window

    def unexpect(self, names: Sequence[Name]) -> None:
        given = tuple(names)
        place, joined = next((place, key) for place, (key, each) in enumerate(self._waiting.items()) if each == given)
        del self._waiting[joined]
        self._stale |= place < self.window

    def worth(self, name: Name) -> int:
        return -self._next[name] if name in self._next else _OUTSIDE

    def _look(self) -> None:
        self._stale = False
        before, self._next = self._next, {}
        for joined, names in islice(self._waiting.items(), self.window):
            for name in names:
                self._next.setdefault(name, joined)
        self._rank_again({name: None for name, _ in before.items() ^ self._next.items()})

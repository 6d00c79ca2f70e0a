"""Look-ahead over the waiting queue."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class LookAhead(Eviction):
    """LRU outside of a window over the waiting queue; within it, what the last of its requests needs goes first.

    CachedAttention, ATC 2024, section 3.3.2: https://arxiv.org/abs/2403.19708
    """

    name = "look-ahead"
    hears_queue = True
    window: int = parameter(
        16, help="How many of the waiting requests are looked at.", unit="requests", ge=1, le=100_000
    )

    def start(self, setting: Setting) -> None:
        self._names: OrderedDict[Block, Name] = OrderedDict()
        self._waiting: OrderedDict[tuple[Name, ...], int] = OrderedDict()  # and how many look up the same
        self._place: dict[Name, int] | None = None  # where in the window a content is needed first

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._names[block] = name

    def hit(self, block: Block, use: Use) -> None:
        """It counts from its release on."""

    def release(self, block: Block, use: Use) -> None:
        self._names.move_to_end(block)

    def victim(self) -> Block:
        if self._place is None:
            self._place = {}
            for place, names in enumerate(islice(self._waiting, self.window)):
                for name in names:
                    self._place.setdefault(name, place)
        latest = -1
        for _ in range(len(self._names)):
            block, name = next(iter(self._names.items()))
            if name not in self._place:
                return self._names.popitem(last=False)[0]
            latest = max(latest, self._place[name])
            self._names.move_to_end(block)
        block = next(block for block, name in self._names.items() if self._place[name] == latest)
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self._names[block]

    def expect(self, names: Sequence[Name]) -> None:
        if names:
            key = tuple(names)
            self._waiting[key] = self._waiting.get(key, 0) + 1
            self._place = None

    def unexpect(self, names: Sequence[Name]) -> None:
        if names:
            key = tuple(names)
            self._waiting[key] -= 1
            if not self._waiting[key]:
                del self._waiting[key]
            self._place = None

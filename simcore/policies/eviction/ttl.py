"""A time to live."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick, to_ticks


@dataclass
class TTL(Eviction):
    """Forget what was not used for some time, whether its room is needed or not; before that it is LRU.

    As providers price a prompt cache: each use starts the time anew. In a cache study nothing gets too old.
    https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching
    """

    name = "ttl"
    expires = True
    seconds: float = parameter(300.0, help="How long an unused block lives.", unit="s", gt=0, le=8_000_000)

    def start(self, setting: Setting) -> None:
        self._used: OrderedDict[Block, Tick] = OrderedDict()
        self._ticks = to_ticks(self.seconds)

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._used[block] = use.now

    def hit(self, block: Block, use: Use) -> None:
        self._used[block] = use.now
        self._used.move_to_end(block)

    def release(self, block: Block, use: Use) -> None:
        self.hit(block, use)

    def victim(self) -> Block:
        return self._used.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        del self._used[block]

    def expire(self, now: Tick) -> Iterator[Block]:
        while self._used and next(iter(self._used.values())) + self._ticks <= now:
            yield self.victim()

"""Time to live."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick, to_ticks


@dataclass
class TTL(Eviction):
    """Drop what has not been used for a time, though there may be room; where there is none, evict by LRU.

    As providers sell prompt caching, for five minutes that each use renews:
    https://docs.claude.com/en/docs/build-with-claude/prompt-caching
    """

    name = "ttl"
    expires = True
    seconds: float = parameter(300.0, help="How long a block lives after its last use.", unit="s", gt=0, le=1e6)

    def start(self, setting: Setting) -> None:
        self._last: OrderedDict[Block, Tick] = OrderedDict()
        self._life = to_ticks(self.seconds)

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._last[block] = use.now

    def hit(self, block: Block, use: Use) -> None:
        """It lives from its release on."""

    def release(self, block: Block, use: Use) -> None:
        self._last[block] = use.now
        self._last.move_to_end(block)

    def victim(self) -> Block:
        return self._last.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        del self._last[block]

    def expire(self, now: Tick) -> Iterator[Block]:
        while self._last:
            block, last = next(iter(self._last.items()))
            if last + self._life > now:
                break
            del self._last[block]
            yield block

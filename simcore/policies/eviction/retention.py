"""Retention priorities, as in TensorRT-LLM."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick, to_ticks

_LOWEST, _HIGHEST = 0, 100


@dataclass
class Retention(Eviction):
    """Evict the least recently used block of the lowest retention priority; after a time, priorities fall to a default.

    The priority of a block is `default - step * priority` of the request that last used it, from 0 to 100: what is
    scheduled sooner (a smaller number) is kept longer. Without priorities it is LRU.
    https://nvidia.github.io/TensorRT-LLM/features/kvcache.html
    """

    name = "retention"
    default: int = parameter(35, help="Retention priority of requests with priority 0.", ge=0, le=100)
    step: int = parameter(10, help="How much less each higher number of a request's priority counts.", ge=0, le=100)
    duration: float = parameter(
        0.0, help="Time after its last use for which a block keeps its priority; 0: for ever.", unit="s", ge=0, le=8e6
    )

    def start(self, setting: Setting) -> None:
        self._ticks = to_ticks(self.duration)
        self._now: Tick = 0
        self._levels: dict[int, OrderedDict[Block, None]] = {}  # by priority; none is empty
        self._priorities: dict[Block, int] = {}
        self._used: OrderedDict[Block, Tick] = OrderedDict()  # those whose priority will fall, the first to fall first

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._now = use.now
        priority = min(max(self.default - self.step * use.priority, _LOWEST), _HIGHEST)
        self._enter(block, priority)
        if self._ticks and priority != self.default:
            self._used[block] = use.now

    def hit(self, block: Block, use: Use) -> None:
        self.remove(block)
        self.insert(block, 0, use)

    def release(self, block: Block, use: Use) -> None:
        self.hit(block, use)

    def victim(self) -> Block:
        while self._used:
            block, used = next(iter(self._used.items()))
            if used + self._ticks > self._now:
                break
            self.remove(block)
            self._enter(block, self.default)
        block = next(iter(self._levels[min(self._levels)]))
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        priority = self._priorities.pop(block)
        level = self._levels[priority]
        del level[block]
        if not level:
            del self._levels[priority]
        self._used.pop(block, None)

    def _enter(self, block: Block, priority: int) -> None:
        self._priorities[block] = priority
        self._levels.setdefault(priority, OrderedDict())[block] = None

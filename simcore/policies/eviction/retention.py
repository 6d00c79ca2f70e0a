"""Retention by priority, as TensorRT-LLM has it."""

from collections import OrderedDict
from dataclasses import dataclass
from heapq import heappop, heappush

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick, to_ticks

LEVELS = 101


@dataclass
class Retention(Eviction):
    """Evict from the lowest retention priority, 0 to 100, by LRU; after a time a block falls back to the default.

    A request's retention is `default - step * priority`, since a smaller priority is sooner. TensorRT-LLM's
    KvCacheRetentionConfig: https://nvidia.github.io/TensorRT-LLM/advanced/kv-cache-reuse.html
    """

    name = "retention"
    default: int = parameter(35, help="Retention priority of requests whose priority is 0.", ge=0, le=100)
    step: int = parameter(10, help="By how much the next smaller priority is retained better.", ge=1, le=100)
    seconds: float = parameter(
        0.0, help="How long a block keeps its retention after its last use; 0: for ever.", unit="s", ge=0, le=1e6
    )

    def start(self, setting: Setting) -> None:
        self._queues: list[OrderedDict[Block, None]] = [OrderedDict() for _ in range(LEVELS)]
        self._level: dict[Block, int] = {}
        self._until: dict[Block, Tick] = {}
        self._ends: list[tuple[Tick, Block]] = []
        self._life = to_ticks(self.seconds)
        self._now: Tick = 0

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._put(block, use)

    def hit(self, block: Block, use: Use) -> None:
        self.remove(block)
        self._put(block, use)

    def release(self, block: Block, use: Use) -> None:
        self._now = use.now
        self._queues[self._level[block]].move_to_end(block)

    def victim(self) -> Block:
        while self._ends and self._ends[0][0] <= self._now:
            until, block = heappop(self._ends)
            if self._until.get(block) == until:
                del self._until[block]
                del self._queues[self._level[block]][block]
                self._level[block] = self.default
                self._queues[self.default][block] = None
        block = next(iter(next(queue for queue in self._queues if queue)))
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self._queues[self._level.pop(block)][block]
        self._until.pop(block, None)

    def _put(self, block: Block, use: Use) -> None:
        self._now = use.now
        level = min(max(self.default - self.step * use.priority, 0), LEVELS - 1)
        self._level[block] = level
        self._queues[level][block] = None
        if self._life:
            self._until[block] = use.now + self._life
            heappush(self._ends, (use.now + self._life, block))

"""Learns from the reuse of each kind of request."""

from collections import OrderedDict
from dataclasses import dataclass
from math import exp, expm1

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.ticks import Tick


@dataclass
class _Category:
    """What was seen of one kind of request."""

    uses: int = 0
    reuses: int = 0
    waited: float = 0.0
    """ticks from a use to the next, summed over the reuses"""

    def probability(self, age: float, life: float) -> float:
        """That a block is reused between `age` and `age + life` after its last use."""
        share = (self.reuses + 1) / (self.uses + 2)
        rate = (self.reuses + 1) / (self.waited + life)  # as if one more had been reused, after this time
        return -share * exp(-rate * age) * expm1(-rate * life)


@dataclass
class WorkloadAware(Eviction):
    """Evict the block least likely to be reused soon, judged by how blocks of its category of request were reused.

    Of each category it learns which share of uses is followed by another and, as an exponential distribution, after how
    long; soon is the mean time from last use to eviction of late. Among blocks released together the later in the
    sequence goes first. It learns from cached blocks alone. https://arxiv.org/abs/2506.02634
    """

    name = "workload-aware"
    memory: float = parameter(
        0.99, help="How much the mean time from last use to eviction remembers, per evicted block.", ge=0, lt=1
    )

    def start(self, setting: Setting) -> None:
        self._now: Tick = 0
        self._life = 0.0
        self._categories: dict[int, _Category] = {}
        self._queues: dict[int, OrderedDict[Block, Tick]] = {}  # last uses by category, oldest first; none is empty
        self._of: dict[Block, int] = {}  # its category

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._enter(block, use)
        self._categories.setdefault(use.category, _Category()).uses += 1

    def hit(self, block: Block, use: Use) -> None:
        before, used = self._of[block], self._leave(block)
        seen = self._categories[before]
        seen.reuses += 1
        seen.waited += use.now - used
        self.insert(block, 0, use)

    def release(self, block: Block, use: Use) -> None:
        self._leave(block)
        self._enter(block, use)
        self._categories.setdefault(use.category, _Category())

    def victim(self) -> Block:
        oldest = {category: self._now - next(iter(queue.values())) for category, queue in self._queues.items()}
        life = max(self._life or max(oldest.values()), 1)
        chances = {category: self._categories[category].probability(age, life) for category, age in oldest.items()}
        block = next(iter(self._queues[min(chances, key=chances.__getitem__)]))
        self._life = self.memory * life + (1 - self.memory) * (self._now - self._leave(block))
        return block

    def remove(self, block: Block) -> None:
        self._leave(block)

    def _enter(self, block: Block, use: Use) -> None:
        self._now = use.now
        self._of[block] = use.category
        self._queues.setdefault(use.category, OrderedDict())[block] = use.now

    def _leave(self, block: Block) -> Tick:
        category = self._of.pop(block)
        queue = self._queues[category]
        used = queue.pop(block)
        if not queue:
            del self._queues[category]
        return used

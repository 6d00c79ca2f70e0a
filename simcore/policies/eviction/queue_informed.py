"""LRU that knows who waits."""

from collections import Counter, OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class QueueInformed(Eviction):
    """LRU, but what a waiting request is about to look up counts as just used.

    As SGLang's and Preble's schedulers look at the cache, here the cache looks at the queue:
    https://arxiv.org/abs/2407.00023
    """

    name = "queue-informed"
    hears_queue = True

    def start(self, setting: Setting) -> None:
        self._names: OrderedDict[Block, Name] = OrderedDict()
        self._expected: Counter[Name] = Counter()

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._names[block] = name

    def hit(self, block: Block, use: Use) -> None:
        """It counts from its release on."""

    def release(self, block: Block, use: Use) -> None:
        self._names.move_to_end(block)

    def victim(self) -> Block:
        for _ in range(len(self._names)):
            block, name = next(iter(self._names.items()))
            if not self._expected[name]:
                break
            self._names.move_to_end(block)
        return self._names.popitem(last=False)[0]

    def remove(self, block: Block) -> None:
        del self._names[block]

    def expect(self, names: Sequence[Name]) -> None:
        self._expected.update(names)

    def unexpect(self, names: Sequence[Name]) -> None:
        self._expected.subtract(names)
        for name in names:
            if not self._expected[name]:
                del self._expected[name]

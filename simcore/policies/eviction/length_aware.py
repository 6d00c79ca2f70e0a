"""Late blocks first."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
from simcore.policies.eviction.ranking import Ranking


@dataclass
class LengthAware(Eviction):
    """Evict the block that stands latest in its sequence; among equals the least recently used.

    A block is of use only after all those before it, so early ones are shared most and late ones least. In vLLM that
    rule breaks ties; here it comes first. In a cache study it is LRU.
    https://docs.vllm.ai/en/latest/design/prefix_caching.html
    """

    name = "length-aware"

    def start(self, setting: Setting) -> None:
        self._order = Ranking()

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._order.put(block, -use.place)

    def hit(self, block: Block, use: Use) -> None:
        self._order.put(block, -use.place)

    def release(self, block: Block, use: Use) -> None:
        self._order.put(block, -use.place)

    def victim(self) -> Block:
        return self._order.pop()[1]

    def remove(self, block: Block) -> None:
        self._order.remove(block)

"""Least recently used, as vLLM does it."""

from collections import OrderedDict
from collections.abc import Iterator

from simcore.policies.eviction.base import Block
from simcore.ticks import Tick


class LRU:
    """Evict the block that has been idle for longest.

    A block is used for as long as a sequence holds it, so the order is that of the releases. A sequence lets go of its
    last block first; the tail of a chain is therefore evicted before its head.
    https://docs.vllm.ai/en/latest/design/prefix_caching.html
    """

    def __init__(self) -> None:
        self._idle: OrderedDict[Block, None] = OrderedDict()

    def insert(self, block: Block, name: int, now: Tick) -> None:
        """Nothing to remember: only the release counts."""

    def pin(self, block: Block) -> None:
        del self._idle[block]

    def unpin(self, block: Block, now: Tick) -> None:
        self._idle[block] = None

    def victim(self) -> Block:
        return self._idle.popitem(last=False)[0]

    def __iter__(self) -> Iterator[Block]:
        return iter(self._idle)

"""Least recently used, as vLLM does it."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence

from simcore.policies.eviction.base import Block
from simcore.ticks import Tick


class LRU:
    """Evict the block that has been idle for longest.

    A block is used for as long as a sequence holds it, so the order is that of the releases. A sequence lets go of its
    last block first; the tail of a chain is therefore evicted before its head.
    https://docs.vllm.ai/en/latest/design/prefix_caching.html
    """

    hears_inserts = False

    def __init__(self) -> None:
        self._queue: deque[Block] = deque()  # in the order of release
        self._stale: Counter[Block] = Counter()  # entries of the queue, a block's oldest, whose block was hit since
        self._stale_entries = 0

    def insert(self, blocks: Sequence[Block], names: Sequence[int], now: Tick) -> None:
        """Nothing to remember: only the release counts."""

    def pin(self, blocks: Sequence[Block]) -> None:
        self._stale.update(blocks)
        self._stale_entries += len(blocks)
        if self._stale_entries > len(self._queue) // 2:
            self._queue = deque(self)
            self._stale.clear()
            self._stale_entries = 0

    def unpin(self, blocks: Sequence[Block], now: Tick) -> None:
        self._queue.extend(blocks)

    def victims(self, count: int) -> list[Block]:
        oldest = self._queue.popleft
        if not self._stale:
            return [oldest()] if count == 1 else [oldest() for _ in range(count)]
        victims: list[Block] = []
        while len(victims) < count:
            block = oldest()
            if block not in self._stale:
                victims.append(block)
                continue
            self._stale_entries -= 1
            self._stale[block] -= 1
            if not self._stale[block]:
                del self._stale[block]
        return victims

    def __iter__(self) -> Iterator[Block]:
        stale = self._stale.copy()
        for block in self._queue:
            if stale[block]:
                stale[block] -= 1
            else:
                yield block

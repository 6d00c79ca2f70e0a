"""Least recently used, as vLLM does it."""

from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, EvictionOrder, Name, Setting, Use


@dataclass
class LRU(EvictionOrder):
    """Evict the block that has been idle for longest.

    A block is used for as long as a sequence holds it, so the order is that of the releases. A sequence lets go of its
    last block first; the tail of a chain is therefore evicted before its head.
    https://docs.vllm.ai/en/latest/design/prefix_caching.html

    It is the default and has to be quick: it works on the pool's lists, and only idle blocks are in its order.
    """

    name = "lru"
    hears_private = False

    def begin(self, setting: Setting) -> None:
        self._queue: deque[Block] = deque()  # in the order of release
        self._stale: Counter[Block] = Counter()  # entries of the queue, a block's oldest, whose block was hit since
        self._stale_entries = 0

    def registered(self, blocks: Sequence[Block], names: Sequence[Name], use: Use) -> None:
        """Nothing to remember: only the release counts."""

    def shared(self, blocks: Sequence[Block], names: Sequence[Name], woken: Sequence[Block], use: Use) -> None:
        self._stale.update(woken)
        self._stale_entries += len(woken)
        if self._stale_entries > len(self._queue) // 2:
            self._queue = deque(self)
            self._stale.clear()
            self._stale_entries = 0

    def released(self, blocks: Sequence[Block], use: Use) -> None:
        self._queue.extend(blocks)

    def unregistered(self, blocks: Iterable[Block]) -> None:
        """Held blocks are not in the order."""

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

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        hits = bytearray(len(names))
        order: OrderedDict[Name, None] = OrderedDict()
        use_again, evict = order.move_to_end, order.popitem
        room = capacity
        for access, name in enumerate(names):
            if name in order:
                use_again(name)
                hits[access] = 1
            else:
                order[name] = None
                if room:
                    room -= 1
                else:
                    evict(last=False)
        return hits

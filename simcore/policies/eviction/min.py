"""The optimal policy."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush

from simcore.policies.eviction.base import NEVER_AGAIN, Block, Eviction, Name, Setting, Use, foresee
from simcore.policies.eviction.ranking import Ranking


@dataclass
class MIN(Eviction):
    """Evict the block whose content is used again last: an oracle that knows the future, as a bound for all others.

    No policy that caches every miss has fewer. In a server the future is counted in requests, in the order of arrival;
    among blocks of the same next request the later in its sequence goes first.
    https://doi.org/10.1147/sj.52.0078
    """

    name = "min"
    foresees = True

    def start(self, setting: Setting) -> None:
        self._order = Ranking()

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._order.put(block, (-use.next, -use.place))

    def hit(self, block: Block, use: Use) -> None:
        self._order.put(block, (-use.next, -use.place))

    def victim(self) -> Block:
        return self._order.pop()[1]

    def remove(self, block: Block) -> None:
        self._order.remove(block)

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        # No two accesses have the same next one, so that number is all that the heap needs. What lies in the past sinks
        # to its bottom, and what lies in the future is cached until it is popped.
        if next_uses is None:
            next_uses = foresee(names)
        hits = bytearray(len(names))
        cached: set[Name] = set()
        dead: list[Name] = []  # never used again
        heap: list[int] = []  # next uses, negative
        for access, (name, then) in enumerate(zip(names, next_uses, strict=True)):
            if name in cached:
                hits[access] = 1
            else:
                if len(cached) == capacity:
                    cached.remove(dead.pop() if dead else names[-heappop(heap)])
                cached.add(name)
            if then == NEVER_AGAIN:
                dead.append(name)
            else:
                heappush(heap, -then)
                if len(heap) > 2 * capacity:
                    heap = [entry for entry in heap if -entry > access]
                    heapify(heap)
        return hits

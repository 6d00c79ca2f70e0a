"""MIN, the offline optimum."""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from simcore.policies.eviction.base import Block, Name, Use
from simcore.policies.eviction.scored import Scored


@dataclass
class Min(Scored):
    """Evict the block whose content is used again latest: an oracle, and the bound of all that insert every miss.

    Belady, 1966: https://doi.org/10.1147/sj.52.0078. In a server the next use is that by the next request in the order
    of arrival; of several blocks those later in their sequence go first.
    """

    name = "min"
    aliases = ("belady",)
    foresees = True

    def score(self, block: Block, name: Name | None, use: Use) -> tuple[int, int]:
        return -use.next, -use.place

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        assert next_uses is not None
        hits = bytearray(len(names))
        due: dict[Name, int] = {}
        latest: list[tuple[int, Name]] = []  # what has been used since sinks to the bottom
        for access, (name, next_use) in enumerate(zip(names, next_uses, strict=True)):
            if name in due:
                hits[access] = 1
            elif len(due) == capacity:
                next_of_victim, victim = heappop(latest)
                while due.get(victim) != -next_of_victim:
                    next_of_victim, victim = heappop(latest)
                del due[victim]
            due[name] = next_use
            heappush(latest, (-next_use, name))
        return hits

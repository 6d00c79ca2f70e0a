"""The optimal policy."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use
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

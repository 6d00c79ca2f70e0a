"""LRU-K."""

from collections import deque
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Name, Setting, Use
from simcore.policies.eviction.scored import Scored


@dataclass
class LRUK(Scored):
    """Evict the block whose k-th last use lies furthest back; those with fewer uses go before all others, by LRU.

    O'Neil et al., SIGMOD 1993: https://doi.org/10.1145/170035.170081. Uses are counted while a block is cached; the
    paper remembers them for longer.
    """

    name = "lru-k"
    k: int = parameter(2, help="Which of its last uses counts.", ge=2, le=16)

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self._last: dict[Block, deque[int]] = {}
        self._clock = 0

    def score(self, block: Block, name: Name | None, use: Use) -> tuple[int, int]:
        self._clock += 1
        if name is not None:
            self._last[block] = deque(maxlen=self.k)
        last = self._last[block]
        last.append(self._clock)
        return (last[0] if len(last) == self.k else 0), self._clock

    def gone(self, block: Block) -> None:
        del self._last[block]

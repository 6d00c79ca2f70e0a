"""Who frees most."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import ScoredVictim

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class MostBlocks(ScoredVictim):
    """Whoever holds most blocks gives way, shared ones included: few preemptions, each of which costs much.

    Which one to evict is the question of https://arxiv.org/abs/2309.06180, section 4.5.
    """

    name = "most-blocks"

    def score(self, sequence: "Sequence") -> int:
        return sum(map(len, sequence.tables))

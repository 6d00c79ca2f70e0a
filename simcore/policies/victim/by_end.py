"""By what is left to do: oracles, since a server does not know when an output ends."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import ScoredVictim

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class ClosestToEnd(ScoredVictim):
    """Whoever has the fewest tokens of output to come gives way: the worst that an oracle can do, as a bound.

    The mirror of shortest remaining time: https://arxiv.org/abs/2305.05920
    """

    name = "closest-to-end"

    def score(self, sequence: "Sequence") -> int:
        return sequence.length - sequence.end


@dataclass
class FurthestFromEnd(ScoredVictim):
    """Whoever has most tokens of output to come gives way: an oracle's shortest remaining time first.

    https://arxiv.org/abs/2305.05920
    """

    name = "furthest-from-end"

    def score(self, sequence: "Sequence") -> int:
        return sequence.end - sequence.length

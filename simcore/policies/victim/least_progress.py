"""Who loses least."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import ScoredVictim

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class LeastProgress(ScoredVictim):
    """Whoever has the fewest tokens of output so far gives way.

    Attained service, as in https://arxiv.org/abs/2305.05920, the other way round: what was served longest goes on.
    """

    name = "least-progress"

    def score(self, sequence: "Sequence") -> int:
        return -sequence.outputs

"""The victim: which running request gives way when the pool has no block left."""

from simcore.policies.base import Family
from simcore.policies.victim.base import ScoredVictim, Victim
from simcore.policies.victim.by_end import ClosestToEnd, FurthestFromEnd
from simcore.policies.victim.by_queue import ByQueue
from simcore.policies.victim.last_admitted import LastAdmitted
from simcore.policies.victim.least_progress import LeastProgress
from simcore.policies.victim.lowest_priority import LowestPriority
from simcore.policies.victim.most_blocks import MostBlocks

VICTIM: Family[Victim] = Family(
    "victim",
    Victim,
    (ByQueue, LastAdmitted, LowestPriority, MostBlocks, LeastProgress, ClosestToEnd, FurthestFromEnd),
)
"""Every victim policy by the name a scenario uses."""

__all__ = [
    "VICTIM", "ByQueue", "ClosestToEnd", "FurthestFromEnd", "LastAdmitted", "LeastProgress", "LowestPriority",
    "MostBlocks", "ScoredVictim", "Victim",
]  # fmt: skip

"""Eviction from the prefix cache: which idle cached block makes room when the pool has no unhashed block left."""

from simcore.policies.eviction.base import Block, Eviction
from simcore.policies.eviction.lru import LRU

EVICTION: dict[str, type[Eviction]] = {"lru": LRU}
"""Every eviction policy by the name a scenario uses."""

__all__ = ["EVICTION", "LRU", "Block", "Eviction"]

"""Eviction from the prefix cache: which idle cached block makes room when the pool has no unhashed block left."""

from simcore.policies.base import Family
from simcore.policies.eviction.base import Block, Eviction, EvictionOrder, Name, Setting, Use
from simcore.policies.eviction.fifo import FIFO
from simcore.policies.eviction.lru import LRU

EVICTION: Family[EvictionOrder] = Family("eviction", EvictionOrder, (LRU, FIFO))
"""Every eviction policy by the name a scenario uses."""

__all__ = ["EVICTION", "FIFO", "LRU", "Block", "Eviction", "EvictionOrder", "Name", "Setting", "Use"]

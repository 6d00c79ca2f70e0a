"""Eviction from the prefix cache: which idle cached block makes room when the pool has no unhashed block left."""

from simcore.policies.base import Family
from simcore.policies.eviction.arc import ARC
from simcore.policies.eviction.base import Block, Eviction, EvictionOrder, Name, Setting, Use
from simcore.policies.eviction.clock import Clock
from simcore.policies.eviction.cost_aware import CostAware
from simcore.policies.eviction.fifo import FIFO
from simcore.policies.eviction.gdsf import GDSF
from simcore.policies.eviction.length_aware import LengthAware
from simcore.policies.eviction.lfu import LFU
from simcore.policies.eviction.lfuda import LFUDA
from simcore.policies.eviction.look_ahead import LookAhead
from simcore.policies.eviction.lru import LRU
from simcore.policies.eviction.lru_k import LRUK
from simcore.policies.eviction.min import MIN
from simcore.policies.eviction.queue_informed import QueueInformed
from simcore.policies.eviction.random import RandomChoice
from simcore.policies.eviction.retention import Retention
from simcore.policies.eviction.s3_fifo import S3FIFO
from simcore.policies.eviction.sieve import SIEVE
from simcore.policies.eviction.slru import SLRU
from simcore.policies.eviction.ttl import TTL
from simcore.policies.eviction.two_q import TwoQ
from simcore.policies.eviction.w_tinylfu import WTinyLFU
from simcore.policies.eviction.workload_aware import WorkloadAware

EVICTION: Family[EvictionOrder] = Family(
    "eviction",
    EvictionOrder,
    (
        LRU,
        FIFO,
        LFU,
        Clock,
        TwoQ,
        ARC,
        SIEVE,
        S3FIFO,
        MIN,
        RandomChoice,
        LRUK,
        GDSF,
        LFUDA,
        SLRU,
        WTinyLFU,
        TTL,
        LengthAware,
        CostAware,
        Retention,
        WorkloadAware,
        QueueInformed,
        LookAhead,
    ),
)
"""Every eviction policy by the name a scenario uses."""

__all__ = ["EVICTION", "FIFO", "LRU", "Block", "Eviction", "EvictionOrder", "Name", "Setting", "Use"]

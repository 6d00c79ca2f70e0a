"""The queue: which waiting request is admitted next."""

from simcore.policies.base import Family
from simcore.policies.queue.base import Queue, QueueSetting, RankedQueue
from simcore.policies.queue.fair import Fair
from simcore.policies.queue.fcfs import FCFS
from simcore.policies.queue.longest_prefix_first import LongestPrefixFirst
from simcore.policies.queue.priority import Priority
from simcore.policies.queue.shortest_first import ShortestFirst

QUEUE: Family[Queue] = Family("queue", Queue, (FCFS, Priority, ShortestFirst, Fair, LongestPrefixFirst))
"""Every queue policy by the name a scenario uses."""

__all__ = [
    "FCFS", "QUEUE", "Fair", "LongestPrefixFirst", "Priority", "Queue", "QueueSetting", "RankedQueue", "ShortestFirst",
]  # fmt: skip

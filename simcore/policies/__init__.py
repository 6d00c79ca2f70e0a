"""What is kept and what goes. One policy is one small class with a link to its source.

A policy of one's own begins with `from simcore.policies import Eviction, parameter`: see docs/policies.md.
"""

from simcore.policies.admission import Admission
from simcore.policies.base import Policy, parameter
from simcore.policies.eviction import Block, Eviction, EvictionOrder, Name, Setting, Use
from simcore.policies.pruning import Pruning, View

__all__ = [
    "Admission", "Block", "Eviction", "EvictionOrder", "Name", "Policy", "Pruning", "Setting", "Use", "View",
    "parameter",
]  # fmt: skip

"""What an admission policy is asked."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from simcore.policies.base import Policy
from simcore.policies.eviction import Name, Setting, Use


@dataclass
class Admission(Policy, ABC):
    """Which full blocks enter the prefix cache, when they are filled.

    What is refused is just not cached: its sequence keeps it for as long as it runs. A block is of no use without all
    those before it, so after the first refusal a sequence offers no more.
    """

    admits_all = False
    """whether it never refuses; it is not asked then"""

    def start(self, setting: Setting) -> None:
        """Start with an empty cache."""

    @abstractmethod
    def admits(self, name: Name, use: Use) -> bool:
        """Whether a block is worth keeping."""

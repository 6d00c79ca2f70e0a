"""What all allocators have in common."""

from dataclasses import dataclass
from typing import ClassVar

from simcore.policies.base import Policy


@dataclass
class Allocator(Policy):
    """A way to lay out sequences in the pool. It is only described here; `simcore.memory` carries it out."""

    shares: ClassVar[bool] = False
    """whether a block can belong to several sequences, or be moved by itself: prefix caching, samples, swapping"""

"""Allocators: in which pieces of the pool a sequence's tokens lie, and how many slots are held for those to come."""

from simcore.policies.allocation.base import Allocator
from simcore.policies.allocation.contiguous import Contiguous
from simcore.policies.allocation.growing import Growing
from simcore.policies.allocation.paged import Paged
from simcore.policies.allocation.virtual import Virtual
from simcore.policies.base import Family

ALLOCATOR: Family[Allocator] = Family("allocator", Allocator, (Paged, Contiguous, Virtual, Growing))
"""Every allocator by the name a scenario uses."""

__all__ = ["ALLOCATOR", "Allocator", "Contiguous", "Growing", "Paged", "Virtual"]

"""Blocks whose size grows with their sequence."""

from dataclasses import dataclass

from simcore.errors import InputError
from simcore.policies.allocation.base import Allocator
from simcore.policies.base import parameter

_LARGEST = 1 << 16


@dataclass
class Growing(Allocator):
    """Take pieces that double in size as a sequence grows, up to a largest one and smaller where there is none,
    from a buddy allocator: few pieces for long sequences, little waste for short ones.

    The buddy allocator is Knowlton's: https://doi.org/10.1145/365628.365655
    """

    name = "growing"

    first: int = parameter(1, help="The first piece, a power of two.", unit="blocks", ge=1, le=_LARGEST)
    largest: int = parameter(
        16, help="The largest piece, a power of two and at least `first`.", unit="blocks", ge=1, le=_LARGEST
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, size in (("first", self.first), ("largest", self.largest)):
            if size & (size - 1):
                raise InputError(f"{name} is {size}, and must be a power of two")
        if self.largest < self.first:
            raise InputError(f"largest is {self.largest}, and must be at least first ({self.first})")

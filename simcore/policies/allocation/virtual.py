"""Contiguous addresses, and physical pages behind them when they are needed."""

from dataclasses import dataclass

from simcore.policies.allocation.base import Allocator
from simcore.policies.base import parameter


@dataclass
class Virtual(Allocator):
    """Reserve addresses for the longest sequence, and map one more physical page in every layer's keys and values when
    the last ones are full (vAttention).

    https://arxiv.org/abs/2405.04437
    """

    name = "virtual"

    page: int = parameter(
        2048,
        help="Size of a physical page: 2048 is CUDA's own; 64, 128 and 256 take the paper's change to the driver.",
        unit="KiB",
        ge=4,
        le=1_048_576,
    )

"""Blocks of one size, anywhere in the pool."""

from dataclasses import dataclass
from typing import ClassVar

from simcore.policies.allocation.base import Allocator


@dataclass
class Paged(Allocator):
    """Take one block after another, wherever it lies, when a sequence has filled the last one (vLLM).

    https://arxiv.org/abs/2309.06180
    """

    name = "paged"
    shares: ClassVar[bool] = True

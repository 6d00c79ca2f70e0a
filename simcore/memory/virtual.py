"""Virtually contiguous memory: physical pages are mapped behind a sequence's addresses when it needs them (vAttention).

https://arxiv.org/abs/2405.04437
"""

from collections.abc import Sequence

from simcore.memory.extents import ExtentMemory
from simcore.memory.spaces import Frames
from simcore.record.journal import Journal


class VirtualMemory(ExtentMemory):
    """One page for each tensor at a time: the keys and the values of each layer grow together, a page group.

    Pages stay as they are when their sequence ends; mapping costs no time here, as in the paper, which does it while
    the step before is computed.
    """

    def __init__(self, blocks: int, block_size: int, group: int, journal: Journal | None = None) -> None:
        """`group`: blocks whose tokens fit into a page of each tensor."""
        super().__init__(blocks, block_size, lambda units: Frames(units, group), journal)
        self._group = group

    def sizes(self, prompt: int, end: int, room: int) -> Sequence[int]:
        return (self._group,)

"""Memory in blocks that grow with their sequence, from a buddy allocator."""

from collections.abc import Sequence

from simcore.memory.extents import ExtentMemory
from simcore.memory.spaces import Buddies
from simcore.policies.allocation import Growing
from simcore.record.journal import Journal


class GrowingMemory(ExtentMemory):
    """Each piece is as large as all before it and the first together, up to the largest.

    If there is none it takes a smaller one: otherwise it might have to give way though it is alone, since its own
    pieces lie so that no large one is left between them, and again and again.
    """

    def __init__(self, blocks: int, block_size: int, allocator: Growing, journal: Journal | None = None) -> None:
        super().__init__(blocks, block_size, Buddies, journal)
        self._first, self._largest = allocator.first, allocator.largest

    def sizes(self, prompt: int, end: int, room: int) -> Sequence[int]:
        best = min(room + self._first, self._largest).bit_length() - 1
        return [1 << order for order in range(best, self._first.bit_length() - 2, -1)]

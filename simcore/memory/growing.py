"""Memory in blocks that grow with their sequence, from a buddy allocator."""

from collections.abc import Iterator

from simcore.memory.extents import ExtentMemory
from simcore.memory.spaces import Buddies
from simcore.policies.allocation import Growing
from simcore.record.journal import Journal


class GrowingMemory(ExtentMemory):
    """Each piece is twice as large as the last one, up to the largest."""

    def __init__(self, blocks: int, block_size: int, allocator: Growing, journal: Journal | None = None) -> None:
        super().__init__(blocks, block_size, Buddies, journal)
        self._first, self._largest = allocator.first, allocator.largest

    def pieces(self, prompt: int, end: int, tokens: int, room: int) -> Iterator[int]:
        while room * self.block_size < tokens:
            size = min(room + self._first, self._largest)  # 1 + 2 + ... + 2^k = 2^(k + 1) - 1
            yield size
            room += size

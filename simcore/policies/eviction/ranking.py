"""Blocks by rank."""

from heapq import heapify, heappop, heappush
from typing import Any

from simcore.policies.eviction.base import Block


class Ranking:
    """Blocks with a rank each; the lowest leaves first, and among equals the one ranked first.

    A heap in which outdated entries stay until they come up, or until they are the majority.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[Any, int, Block]] = []
        self._turns: dict[Block, int] = {}  # of the entry that counts
        self._turn = 0

    def __len__(self) -> int:
        return len(self._turns)

    def __contains__(self, block: Block) -> bool:
        return block in self._turns

    def put(self, block: Block, rank: Any) -> None:
        """Give a block a rank, or another one."""
        self._turn = turn = self._turn + 1
        turns, heap = self._turns, self._heap
        turns[block] = turn
        heappush(heap, (rank, turn, block))
        if len(heap) > 2 * len(turns) + 64:
            heap[:] = [entry for entry in heap if turns.get(entry[2]) == entry[1]]
            heapify(heap)

    def pop(self) -> tuple[Any, Block]:
        """The lowest rank and the block that has it, which leaves."""
        while True:
            rank, turn, block = heappop(self._heap)
            if self._turns.get(block) == turn:
                del self._turns[block]
                return rank, block

    def remove(self, block: Block) -> None:
        """A block leaves."""
        del self._turns[block]

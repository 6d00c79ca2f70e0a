"""What the allocators that share nothing have in common: a sequence's table is made of pieces of the pool."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from collections.abc import Sequence as Row

from simcore.memory.base import Growth, Hit, Move, Usage
from simcore.memory.paged import NO_HIT
from simcore.memory.spaces import Space
from simcore.policies.eviction import Block
from simcore.record.journal import Event, Journal
from simcore.serving.request import Sequence
from simcore.ticks import Tick

_Pieces = list[tuple[int, int]]
"""Addresses, and the sizes that were asked for."""


class ExtentMemory(ABC):
    """One table a sequence, made of pieces of consecutive blocks. Nothing is shared, cached or swapped.

    What a kind of memory decides is how large the pieces are that a sequence takes when it needs room: `sizes`.
    """

    def __init__(
        self, blocks: int, block_size: int, make_space: Callable[[int], Space], journal: Journal | None = None
    ) -> None:
        """`make_space(units)` makes the space of blocks 1 to `blocks - 1`: block b is its unit b - 1."""
        self.blocks = blocks
        self.block_size = block_size
        self.journal = journal
        self.tables = 1
        self.moves: list[Move] = []
        self.evictions = 0
        self.chances = 0
        self.space = make_space(blocks - 1)
        self._empty = make_space(blocks - 1)  # to see what would fit into it
        self._held: dict[int, _Pieces] = {}  # by sequence
        self._internal = 0  # slots of all tables that will never hold a token
        self._wanted: int | None = None  # blocks that the head of the queue could not get

    @abstractmethod
    def sizes(self, prompt: int, end: int, room: int) -> Row[int]:
        """The sizes that the next piece may have of a sequence that holds `room`, all in blocks; the best one first.

        It begins with `prompt` tokens and ends with `end`, the last of which is never computed.
        """

    @property
    def free(self) -> int:
        return self.space.free

    def free_queue(self) -> Iterator[Block]:
        """The free blocks by address: which of them is next hangs on how many are asked for."""
        for start, units in self.space.gaps():
            yield from range(start + 1, start + units + 1)

    def turn(self, step: int, now: Tick) -> None:
        if self.journal is not None:
            self.journal.turn(step, now)

    def lookup(self, sequence: Sequence) -> Hit:
        return NO_HIT

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        known = sequence.length if whole else tokens
        prompt, end = sequence.request.prompt_len, sequence.end
        taken = self._take(self.space, prompt, end, known, 0)
        if taken is None or self.free < spare:
            _give_back(self.space, taken or [])
            self._wanted = self._least(prompt, end, known) + spare
            return False
        self._wanted = None
        now = room = 0  # pieces for the coming step, and their blocks
        while room * self.block_size < tokens:
            room += self.space.piece(taken[now][1])
            now += 1
        _give_back(self.space, taken[now:])
        self._held[sequence.id] = []
        sequence.tables = [[]]
        self._append(sequence, taken[:now])
        return True

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        room, reach = len(sequence.tables[0]), sequence.computed + tokens
        taken = self._take(self.space, sequence.request.prompt_len, sequence.end, reach, room)
        if taken is None:
            return None
        self._internal -= self._never_used(sequence)
        blocks = self._append(sequence, taken)
        return [(0, blocks)] if blocks else []

    def expect(self, sequence: Sequence) -> None:  # noqa: B027
        """Nothing is cached that it could find."""

    def fork(self, parent: Sequence, child: Sequence) -> None:
        raise NotImplementedError("a workload with several samples of a request is refused")

    def swap_out(self, sequence: Sequence) -> None:  # noqa: B027
        """There is no room on the host."""

    def forget(self, sequence: Sequence) -> None:  # noqa: B027
        """It has nothing on the host."""

    def release(self, sequence: Sequence, filled: int, returns: bool) -> None:
        self._internal -= self._never_used(sequence)
        _give_back(self.space, self._held.pop(sequence.id))
        if self.journal is not None:
            for block in reversed(sequence.tables[0]):
                self.journal.write(Event.FREE, block, sequence.id, 0, 0)
        self.chances += 1
        self._wanted = None
        sequence.tables = [[]]
        sequence.horizon = 0

    def fits(self, tokens: int, prompt: int) -> bool:
        taken = self._take(self._empty, prompt, tokens + 1, tokens, 0)
        _give_back(self._empty, taken or [])
        return taken is not None

    def usage(self, computed: int) -> Usage:
        free = self.free
        used = self.blocks - 1 - free
        external = free if self._wanted is not None and self._wanted <= free else 0
        return Usage(
            used=used,
            cached=0,
            free=free,
            stored=computed,
            reserved=used * self.block_size - self._internal - computed,
            internal=self._internal,
            external=external * self.block_size,
            saved=0,
        )

    def _take(self, space: Space, prompt: int, end: int, tokens: int, room: int) -> _Pieces | None:
        """Pieces until there is room for `tokens`; None: there are none, and nothing has changed."""
        taken: _Pieces = []
        while room * self.block_size < tokens:
            for size in self.sizes(prompt, end, room):
                start = space.take(size)
                if start is not None:
                    break
            else:
                _give_back(space, taken)
                return None
            taken.append((start, size))
            room += space.piece(size)
        return taken

    def _least(self, prompt: int, end: int, tokens: int) -> int:
        """Blocks that are asked for in the smallest pieces that will do, before a space rounds them up."""
        room = 0
        while room * self.block_size < tokens:
            room += self.sizes(prompt, end, room)[-1]
        return room

    def _append(self, sequence: Sequence, taken: _Pieces) -> list[Block]:
        """Let a sequence hold pieces, and return their blocks."""
        blocks = [block for start, size in taken for block in range(start + 1, start + self.space.piece(size) + 1)]
        self._held[sequence.id] += taken
        table = sequence.tables[0]
        table += blocks
        sequence.horizon = len(table) * self.block_size + 1
        self._internal += self._never_used(sequence)
        if self.journal is not None:
            for block in blocks:
                self.journal.write(Event.ALLOCATE, block, sequence.id, 0, 1)
        return blocks

    def _never_used(self, sequence: Sequence) -> int:
        """Slots of a sequence's table behind all that it will ever compute."""
        return max(len(sequence.tables[0]) * self.block_size - sequence.end + 1, 0)


def _give_back(space: Space, pieces: _Pieces) -> None:
    for start, size in reversed(pieces):
        space.give_back(start, size)

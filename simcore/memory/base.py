"""What the scheduler asks of a memory, whatever lies below: paged pool, radix tree or contiguous slots."""

from collections.abc import Iterator
from collections.abc import Sequence as Row
from enum import StrEnum
from typing import NamedTuple, Protocol

from simcore.policies.eviction import Block
from simcore.record.journal import Journal
from simcore.serving.request import Sequence
from simcore.ticks import Tick

Table = int
"""Which of a sequence's block tables: 0 is the one of all layers."""

Growth = list[tuple[Table, list[Block]]]
"""The blocks that were appended to each of a sequence's tables that grew."""


class MoveKind(StrEnum):
    """From where to where the content of a block goes."""

    COPY = "copy"
    """within the pool"""
    SWAP_OUT = "swap_out"
    """from the pool to the host"""
    SWAP_IN = "swap_in"
    """from the host to the pool"""


class Move(NamedTuple):
    """The content of one block goes to another one, in all layers, before the model runs."""

    kind: MoveKind
    sequence: int
    """whose table it is for"""
    table: Table
    place: int
    """which entry of the table; a copy's target takes the source's place in it"""
    source: Block
    target: Block


class Hit(NamedTuple):
    """What of a waiting sequence need not be computed."""

    tokens: int
    """those found, and those on the host behind them"""
    found: int
    """tokens in `blocks`"""
    blocks: list[Block]
    """of the prefix cache"""
    host: list[Block]
    """of the host: what follows, swapped out when the sequence was preempted"""
    fetched: int = 0
    """tokens that are found in lower tiers, behind those of the prefix cache"""
    tiers: Row[int] = ()
    """the number of the tier that each block of them comes from"""
    waits: bool = False
    """the sequence is to be admitted when they have been fetched, not before"""


class Memory(Protocol):
    """Blocks are taken for the tokens of the coming step alone, unless an allocator reserves more."""

    @property
    def journal(self) -> Journal | None: ...

    moves: list[Move]
    """What is to be moved before the model runs, in this order; who plans the step takes the list away."""

    @property
    def evictions(self) -> int:
        """Cached blocks that lost their content so far."""
        ...

    @property
    def chances(self) -> int:
        """Changes whenever a sequence that was refused as a `whole` might be admitted now; until then it will not."""
        ...

    @property
    def blocks(self) -> int:
        """Of the pool, the null block included."""
        ...

    @property
    def free(self) -> int:
        """Blocks that nobody holds, cached ones included."""
        ...

    def free_queue(self) -> Iterator[Block]:
        """The free blocks in the order in which they will be handed out."""
        ...

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""

    def lookup(self, sequence: Sequence) -> Hit:
        """What a waiting sequence has already: its longest cached prefix, and what was swapped out behind it.

        Looking changes nothing.
        """
        ...

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        """Adopt the hit and take blocks for `tokens` more.

        `spare` blocks must stay free, and with `whole` all that is known of the sequence must fit now, though only the
        step's part is taken. False: no room, and nothing has changed.
        """
        ...

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        """Take blocks for `tokens` more of a running sequence, and a copy of a block that others hold too.

        None: no room, and nothing has changed.
        """
        ...

    def expect(self, sequence: Sequence) -> None:
        """It waits to be admitted, and will be looked up."""

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """A new branch has all that its parent has; what is full stays shared, and who writes first takes a copy."""

    def swap_out(self, sequence: Sequence) -> None:
        """Keep what a running sequence has computed on the host, if all of it has room there; it is released next."""

    def release(self, sequence: Sequence, returns: bool) -> None:
        """Let go of all that a sequence holds in the pool; whether it is only preempted and will come back."""

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens could ever be held."""
        ...

    def usage(self, computed: int) -> tuple[int, int, int, int]:
        """Blocks used, blocks cached and blocks free, and tokens stored in used blocks, those of shared blocks once.

        Used: somebody holds it. Cached: nobody does, but it has content. `computed` is the sum of the running
        sequences' computed tokens.
        """
        ...

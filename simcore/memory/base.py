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
"""Which of a sequence's block tables: 0 is the one of all layers, or that of the first group of them."""

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
    blocks: list[list[Block]]
    """of the prefix cache, for each table; the null block where a token to come will not look"""
    host: list[Block]
    """of the host: what follows, swapped out when the sequence was preempted"""
    junction: int = 0
    """blocks of the longest prefix that some layers had cached, but not all of them; 0: there was none"""
    fetched: int = 0
    """tokens that are found in lower tiers, behind those of the prefix cache"""
    tiers: Row[int] = ()
    """the number of the tier that each block of them comes from"""
    waits: bool = False
    """the sequence is to be admitted when they have been fetched, not before"""


class Usage(NamedTuple):
    """What the pool is used for while a step runs. Blocks: used + cached + free are all but the null block.

    Slots for tokens: stored + reserved + internal are those of the used blocks, what is shared counted once.
    """

    used: int
    """blocks that somebody holds"""
    cached: int
    """blocks that nobody holds, but that have content"""
    free: int
    """blocks that nobody holds, without content"""
    stored: int
    """slots that hold a token once the step is done"""
    reserved: int
    """slots that hold none yet, and will hold one that their sequence has still to compute"""
    internal: int
    """slots that their sequence will never use: what was reserved or rounded up beyond its end"""
    external: int
    """slots of free blocks that are of no use to the head of the queue: it was refused what it asked for, though so
    many are free, because they do not lie together; else 0"""
    saved: int
    """blocks that there would be more if every sequence had its own: entries of the block tables beyond `used`"""


class Memory(Protocol):
    """Blocks are taken for the tokens of the coming step alone, unless an allocator reserves more."""

    @property
    def journal(self) -> Journal | None: ...

    tables: int
    """block tables of a sequence"""
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

        In tables that look back no further than a window, what has slid out of it is let go of first, though not what
        a plan in flight may read. None: no room, and nothing else has changed.
        """
        ...

    def expect(self, sequence: Sequence) -> None:
        """It waits to be admitted, and will be looked up."""

    def fork(self, parent: Sequence, child: Sequence) -> None:
        """A new branch has all that its parent has; what is full stays shared, and who writes first takes a copy."""

    def swap_out(self, sequence: Sequence) -> None:
        """Keep what a running sequence has computed on the host, if all of it has room there; it is released next."""

    def release(self, sequence: Sequence, filled: int, returns: bool) -> None:
        """Let go of all that a sequence holds in the pool; whether it is only preempted and will come back.

        Blocks that its first `filled` tokens do not fill are not cached.
        """

    def forget(self, sequence: Sequence) -> None:
        """Drop what is kept of a waiting sequence on the host: it will not come back."""

    def fits(self, tokens: int, prompt: int) -> bool:
        """Whether a sequence of so many computed tokens, its prompt among them, could ever be held."""
        ...

    def usage(self, computed: int) -> Usage:
        """What the pool is used for; `computed` is the sum of the running sequences' computed tokens.

        A token counts in each table that has a block for it.
        """
        ...

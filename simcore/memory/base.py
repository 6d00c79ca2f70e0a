"""What the scheduler asks of a memory, whatever lies below: paged pool, radix tree or contiguous slots."""

from typing import NamedTuple, Protocol

from simcore.policies.eviction import Block
from simcore.record.journal import Journal
from simcore.serving.request import Sequence
from simcore.ticks import Tick

Table = int
"""Which of a sequence's block tables: 0 is the one of all layers."""

Growth = list[tuple[Table, list[Block]]]
"""The blocks that were appended to each of a sequence's tables that grew."""


class Hit(NamedTuple):
    """What of a waiting sequence is in the prefix cache already."""

    tokens: int
    blocks: list[Block]


class Memory(Protocol):
    """Blocks are taken for the tokens of the coming step alone, unless an allocator reserves more."""

    @property
    def journal(self) -> Journal | None: ...

    @property
    def evictions(self) -> int:
        """Cached blocks that lost their content so far."""
        ...

    @property
    def chances(self) -> int:
        """Changes whenever a sequence that was refused as a `whole` might be admitted now; until then it will not."""
        ...

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""

    def lookup(self, sequence: Sequence) -> Hit:
        """The longest cached prefix that a waiting sequence may use. Looking changes nothing."""
        ...

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        """Adopt the hit and take blocks for `tokens` more.

        `spare` blocks must stay free, and with `whole` all that is known of the sequence must fit now, though only the
        step's part is taken. False: no room, and nothing has changed.
        """
        ...

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        """Take blocks for `tokens` more of a running sequence. None: no room, and nothing has changed."""
        ...

    def release(self, sequence: Sequence, returns: bool) -> None:
        """Let go of all that a sequence holds; whether it is only preempted and will come back."""

    def fits(self, tokens: int) -> bool:
        """Whether a sequence of so many tokens could ever be held."""
        ...

    def usage(self, computed: int) -> tuple[int, int, int, int]:
        """Blocks used, blocks cached and blocks free, and tokens stored in used blocks, those of shared blocks once.

        Used: somebody holds it. Cached: nobody does, but it has content. `computed` is the sum of the running
        sequences' computed tokens.
        """
        ...

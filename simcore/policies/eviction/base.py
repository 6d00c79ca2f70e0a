"""What an eviction policy is told, and what it is asked."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from simcore.ticks import Tick

Block = int
"""The number of a block in its pool."""


class Eviction(Protocol):
    """An order among the cached blocks of a pool.

    A cached block is *pinned* while a sequence holds it and *idle* otherwise; only idle blocks can be victims. Blocks
    that hold nothing worth keeping are not the policy's business: the pool gives those away first. Blocks come in
    lists, because a sequence takes and leaves many at once.
    """

    hears_inserts: bool
    """whether `insert` matters to it; if not, it need not be called for blocks that no other request could hit"""

    def insert(self, blocks: Sequence[Block], names: Sequence[int], now: Tick) -> None:
        """Held blocks were registered under names; several blocks may hold one name."""

    def pin(self, blocks: Sequence[Block]) -> None:
        """Idle blocks were hit: they are held again."""

    def unpin(self, blocks: Sequence[Block], now: Tick) -> None:
        """The last holder let go of cached blocks, in this order: they are idle."""

    def victims(self, count: int) -> list[Block]:
        """Choose idle blocks one after another, and forget them; there are as many."""
        ...

    def __iter__(self) -> Iterator[Block]:
        """The idle blocks, the next victim first."""
        ...

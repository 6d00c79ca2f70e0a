"""What an eviction policy is told, and what it is asked."""

from collections.abc import Iterator
from typing import Protocol

from simcore.ticks import Tick

Block = int
"""The number of a block in its pool."""


class Eviction(Protocol):
    """An order among the cached blocks of a pool.

    A cached block is *pinned* while a sequence holds it and *idle* otherwise; only idle blocks can be victims. Blocks
    that hold nothing worth keeping are not the policy's business: the pool gives those away first.
    """

    def insert(self, block: Block, name: int, now: Tick) -> None:
        """A held block was registered under `name`; several blocks may hold one name."""

    def pin(self, block: Block) -> None:
        """An idle block was hit: it is held again."""

    def unpin(self, block: Block, now: Tick) -> None:
        """Its last holder let go of a cached block: it is idle."""

    def victim(self) -> Block:
        """Choose an idle block and forget it."""
        ...

    def __iter__(self) -> Iterator[Block]:
        """The idle blocks, the next victim first."""
        ...

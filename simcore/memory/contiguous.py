"""Contiguous memory: a sequence has one piece for its whole life (Orca, as the authors of vLLM compare it).

https://arxiv.org/abs/2309.06180, section 6.1.
"""

from collections.abc import Callable, Sequence

from simcore.errors import InputError
from simcore.memory.extents import ExtentMemory
from simcore.memory.spaces import Buddies, Gaps, Space
from simcore.policies.allocation import Contiguous
from simcore.record.journal import Journal


class ContiguousMemory(ExtentMemory):
    """Admitted is who gets all the slots reserved for it at once; it never asks for more."""

    def __init__(
        self, blocks: int, block_size: int, allocator: Contiguous, max_model_len: int, journal: Journal | None = None
    ) -> None:
        """Raises InputError where the longest sequence is reserved for every request and has no room."""
        super().__init__(blocks, block_size, _SPACES[allocator.placement], journal)
        self._reserve = allocator.reserve
        self._max_model_len = max_model_len
        if allocator.reserve == "max" and not self.fits(max_model_len - 1, 1):
            raise InputError(
                f"memory.allocator reserves {max_model_len:,} tokens for every request, and the pool of "
                f"{(blocks - 1) * block_size:,} has no such piece; a smaller scheduler.max_model_len would help"
            )

    def sizes(self, prompt: int, end: int, room: int) -> Sequence[int]:
        return (-(-self._reserved(prompt, end) // self.block_size),)

    def _reserved(self, prompt: int, end: int) -> int:
        """Tokens."""
        if self._reserve == "max":
            return self._max_model_len
        if self._reserve == "exact":
            return end
        return min(prompt + (1 << (end - prompt - 1).bit_length()), self._max_model_len)


def _best_fit(units: int) -> Space:
    return Gaps(units, best=True)


_SPACES: dict[str, Callable[[int], Space]] = {"buddy": Buddies, "first-fit": Gaps, "best-fit": _best_fit}

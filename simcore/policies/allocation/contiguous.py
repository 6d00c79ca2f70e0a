"""One piece of memory a sequence, as before paging."""

from dataclasses import dataclass
from typing import Literal

from simcore.policies.allocation.base import Allocator
from simcore.policies.base import parameter


@dataclass
class Contiguous(Allocator):
    """Take one piece for a sequence's whole life when it is admitted (Orca and FasterTransformer, as vLLM's authors
    compare them).

    https://arxiv.org/abs/2309.06180, section 6.1.
    """

    name = "contiguous"

    reserve: Literal["max", "pow2", "exact"] = parameter(
        "max",
        help="How much is reserved. max: the longest sequence, scheduler.max_model_len; pow2: the prompt, and the "
        "output rounded up to a power of two; exact: prompt and output, which only an oracle knows beforehand.",
    )
    placement: Literal["buddy", "first-fit", "best-fit"] = parameter(
        "buddy",
        help="Where it is put. buddy: sizes are powers of two, split and merged in halves; first-fit and best-fit: in "
        "the first or in the smallest gap that is large enough.",
    )

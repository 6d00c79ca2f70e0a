"""What a pruning policy is asked: how much each stored token of a live sequence is worth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from simcore.policies.base import Policy

Array = Any
"""An array of NumPy or of torch; `array_api_compat.array_namespace` has functions for either."""


@dataclass(frozen=True, slots=True)
class View:
    """What is stored of one sequence in one layer, token by token in the order of their positions.

    Each head may store other tokens, but all of a sequence store equally many.
    """

    layer: int
    layers: int
    positions: Array
    """[kv_heads, tokens] int64: where in the text each token stands"""
    keys: Array = None
    """[kv_heads, tokens, head_dim], rotated"""
    values: Array = None
    """[kv_heads, tokens, head_dim]"""
    queries: Array = None
    """[heads, seen, head_dim]: rotated, of the last `seen` tokens, the policy's `window` or fewer; a KV head serves
    heads / kv_heads query heads that stand together"""
    attended: Array = None
    """[kv_heads, tokens]: the attention that each token has been paid so far, by all queries that could see it, summed
    over the query heads of a KV head; for a policy with `sums_attention`"""


@dataclass
class Pruning(Policy, ABC):
    """Which tokens of a live sequence are dropped from its KV cache, by layer and head, when it has too many.

    The scenario says how many stay and when they are chosen; the policy only says which, by a score. The engine gives
    it tensors. The simulator has none, and needs none: it counts, and each head keeps equally many.
    """

    by_position: ClassVar[bool] = False
    """whether the score depends on positions alone"""
    sums_attention: ClassVar[bool] = False
    """whether it asks for `View.attended`"""

    @property
    def window(self) -> int:
        """How many of the last queries it asks for."""
        return 0

    @abstractmethod
    def score(self, view: View) -> Array:
        """[kv_heads, tokens]: those with the largest scores stay; among equals the earlier. inf: stays in any case."""

"""What a pruning policy is asked: how much each stored token of a live sequence is worth."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from array_api_compat import array_namespace

from simcore.policies.base import Policy
from simcore.policies.pruning.arrays import Array, numbers, softmax, widened


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
    keep: int | None = None
    """how many tokens of each head are to stay; None: not said"""

    def weights(self) -> Array:
        """[kv_heads, heads / kv_heads, seen, tokens]: how each of `queries` shares its attention among the tokens.

        Softmax over the tokens that stand no later than the query (https://arxiv.org/abs/1706.03762), in float32 or
        wider. The last token that is stored is the last that asked. Raises ValueError without `queries`.
        """
        if self.queries is None:
            raise ValueError(
                "there are no queries: a policy's class says by its `window` of how many tokens it wants them"
            )
        xp = array_namespace(self.keys)
        (kv_heads, tokens, size), seen = self.keys.shape, self.queries.shape[1]
        queries = xp.reshape(widened(self.queries), (kv_heads, -1, size))
        products = queries @ xp.matrix_transpose(widened(self.keys)) / size**0.5
        asked = self.positions[:, -1:] - xp.flip(numbers(seen, self.positions))  # [kv_heads, seen]
        visible = self.positions[:, None, :] <= asked[:, :, None]
        products = xp.reshape(products, (kv_heads, -1, seen, tokens))
        return softmax(xp.where(visible[:, None], products, xp.finfo(products.dtype).min))

    def newest(self, count: int) -> Array:
        """[tokens] bool: which are the last `count` of those that are stored, or the last `keep` where that is less."""
        tokens = self.positions.shape[1]
        return numbers(tokens, self.positions) >= tokens - (count if self.keep is None else min(count, self.keep))


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

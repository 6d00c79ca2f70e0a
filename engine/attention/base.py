"""What a model asks of attention."""

from typing import Protocol

from torch import Tensor


class Attend(Protocol):
    """Attention of the new tokens of one step, in one layer."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim] -> [tokens, heads, head_dim].

        Keys are rotated already. Query head h looks at KV head h // (heads / kv_heads). Scores are scaled by
        1 / sqrt(head_dim).
        """
        ...

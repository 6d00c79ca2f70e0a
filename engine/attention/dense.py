"""Attention over sequences that lie whole in the tensors of the call: no cache, no pages."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

CHUNK = 512  # queries that share one mask: bounds its memory to CHUNK * keys


def causal(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0) -> Tensor:
    """Causal attention of the last tokens of one sequence; fused, the weights are never whole in memory.

    q [new, heads, head_dim], k and v [stored + new, kv_heads, head_dim] -> [new, heads, head_dim]. `window`: a token
    looks at itself and the window - 1 before it; 0: at all before it.
    """
    new, stored = q.shape[0], k.shape[0] - q.shape[0]
    if not stored and not (0 < window < new):
        return _fused(q, k, v, None, causal=new > 1)
    if new == 1:
        return _fused(q, k[-window:], v[-window:], None)
    out = torch.empty_like(q)
    for first in range(0, new, CHUNK):
        last = min(first + CHUNK, new)
        low, high = max(stored + first - window + 1, 0) if window else 0, stored + last
        mask = band(last - first, high - low, stored + first - low, window, q)
        out[first:last] = _fused(q[first:last], k[low:high], v[low:high], mask)
    return out


def band(queries: int, keys: int, ahead: int, window: int, like: Tensor) -> Tensor:
    """The mask [queries, keys] to be added to scores: query i stands at key ahead + i and looks at none after it."""
    distance = torch.arange(ahead, ahead + queries, device=like.device)[:, None] - torch.arange(
        keys, device=like.device
    )
    seen = distance >= 0
    if window:
        seen &= distance < window
    return torch.zeros(queries, keys, dtype=like.dtype, device=like.device).masked_fill_(~seen, float("-inf"))


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, *, causal: bool = False) -> Tensor:
    """The query heads of a KV head become a batch over which its keys are expanded: nothing is repeated in memory."""
    tokens, heads, dim = q.shape
    group = heads // k.shape[1]
    folded = q.view(tokens, -1, group, dim).permute(2, 1, 0, 3)
    k, v = (x.transpose(0, 1).expand(group, -1, -1, -1) for x in (k, v))
    return sdpa(folded, k, v, attn_mask=mask, is_causal=causal).permute(2, 1, 0, 3).reshape(tokens, heads, dim)


class DenseAttention:
    """Standard causal attention over packed sequences, each whole in the call: prefill without a cache, training."""

    def __init__(self, counts: Sequence[int], *, window: int = 0) -> None:
        """counts: the tokens of each sequence."""
        self.counts = list(counts)
        self.window = window

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        parts = zip(*(torch.split(x, self.counts) for x in (q, k, v)), strict=True)
        return torch.cat([causal(*part, window=self.window) for part in parts])


class BlockLocalAttention(DenseAttention):
    """Attention inside blocks only: a token looks at those before it in its own block, never at another block.

    It is often shown under the name of paged attention, but it is another function: pages are places in memory, and
    exact paged attention looks at all of them.
    """

    def __init__(self, counts: Sequence[int], block_size: int) -> None:
        """counts: the tokens of each sequence; each starts with a block of its own."""
        super().__init__([min(block_size, n - at) for n in counts for at in range(0, n, block_size)])

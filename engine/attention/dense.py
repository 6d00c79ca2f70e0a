"""Attention over sequences that lie whole in the tensors of the call: no cache, no pages."""

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention as sdpa

CHUNK = 512  # queries that share one mask: bounds its memory to CHUNK * keys


def standard(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0) -> Tensor:
    """Causal attention as it is written down: all weights are in memory, [batch, kv_heads, group * new, keys] of them.

    Shapes as in `causal`. https://arxiv.org/abs/1706.03762.
    """
    batch, new, _, dim = q.shape
    keys, kv_heads = k.shape[1:3]
    # The query heads of a group become rows of one product with the keys that they share.
    folded = (q * dim**-0.5).view(batch, new, kv_heads, -1, dim).permute(0, 2, 3, 1, 4).flatten(2, 3)
    scores = (folded @ k.permute(0, 2, 3, 1)).view(batch, kv_heads, -1, new, keys)
    scores = scores.masked_fill_(~_seen(new, keys, keys - new, window, q.device), float("-inf"))
    half = q.dtype in (torch.float16, torch.bfloat16)
    weights = scores.softmax(-1, dtype=torch.float32).to(q.dtype) if half else scores.softmax(-1)
    out: Tensor = weights.flatten(2, 3) @ v.transpose(1, 2)
    return out.view(batch, kv_heads, -1, new, dim).permute(0, 3, 1, 2, 4).reshape(q.shape)


def causal(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0) -> Tensor:
    """Causal attention of the last tokens of sequences; fused, so that no more than a part of the weights is in memory.

    q [batch, new, heads, head_dim], k and v [batch, stored + new, kv_heads, head_dim] -> [batch, new, heads, head_dim].
    `window`: a token looks at itself and the window - 1 before it; 0: at all before it.
    https://arxiv.org/abs/2205.14135 (FlashAttention, also what torch does on CPUs).
    """
    new, keys = q.shape[1], k.shape[1]
    window = window if window < keys else 0
    if new == 1:
        return _fused(q, k[:, -window:], v[:, -window:])
    if not window and new == keys:
        return _fused(q, k, v, causal=True)
    if not window and q.is_cuda:
        return _fused(q, k, v, causal_lower_right(new, keys))
    parts = []
    for first in range(keys - new, keys, CHUNK):
        last = min(first + CHUNK, keys)
        low = max(first - window + 1, 0) if window else 0
        unseen = ~_seen(last - first, last - low, first - low, window, q.device)
        mask = torch.zeros(unseen.shape, dtype=q.dtype, device=q.device).masked_fill_(unseen, float("-inf"))
        queries = slice(first - (keys - new), last - (keys - new))
        parts.append(_fused(q[:, queries], k[:, low:last], v[:, low:last], mask))
    return torch.cat(parts, 1)


def _seen(queries: int, keys: int, ahead: int, window: int, device: torch.device) -> Tensor:
    """[queries, keys] bool: query i stands at key ahead + i and looks at none after it."""
    at, places = torch.arange(queries, device=device), torch.arange(keys, device=device)
    distance = ahead + at[:, None] - places
    return (distance >= 0) & (distance < window) if window else distance >= 0


def _fused(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None, *, causal: bool = False) -> Tensor:
    """Keys and values are never repeated for the query heads that share them."""
    batch, new, heads, dim = q.shape
    group = heads // k.shape[2]
    q = q.reshape(batch, new, -1, group, dim)
    k, v = k.transpose(1, 2), v.transpose(1, 2)
    if batch == 1:  # the group as the batch, over which keys and values are expanded without a copy
        k, v = k.expand(group, -1, -1, -1), v.expand(group, -1, -1, -1)
        out = sdpa(q[0].permute(2, 1, 0, 3), k, v, attn_mask=mask, is_causal=causal).permute(2, 1, 0, 3)
    else:
        each = [sdpa(part.transpose(1, 2), k, v, attn_mask=mask, is_causal=causal) for part in q.unbind(3)]
        out = torch.stack(each, 3).transpose(1, 2)
    return out.reshape(batch, new, heads, dim)


class DenseAttention:
    """Causal attention over packed sequences, each whole in the call: what paged attention must agree with; training.

    Neighbors of equal length are attended in one call.
    """

    form = staticmethod(causal)

    def __init__(self, counts: Sequence[int], *, window: int = 0) -> None:
        """counts: the tokens of each sequence, in the order in which they are packed."""
        self._runs = [(length, len(list(run))) for length, run in groupby(counts)]
        self._window = window

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        done, first = [], 0
        for length, sequences in self._runs:
            part = slice(first, first := first + length * sequences)
            some = (x[part].view(sequences, length, *x.shape[1:]) for x in (q, k, v))
            done.append(self.form(*some, window=self._window).flatten(0, 1))
        return torch.cat(done) if done else q.new_empty(q.shape)


class StandardAttention(DenseAttention):
    """The same with all weights in memory, and nothing of torch's own attention: an independent witness."""

    form = staticmethod(standard)


class PrunedAttention:
    """Causal attention of one sequence, whole in the call, of which each head forgets tokens on the way. See `Attend`.

    No cache is pruned: every token after such a moment looks at what stayed and at those since then.
    """

    def __init__(self, tokens: int, kept: Mapping[int, Tensor]) -> None:
        """kept: by how many tokens there were, which of them stayed, [layers, kv_heads, stayed] int64 positions."""
        ends = [*sorted(end for end in kept if end < tokens), tokens]
        self._first = ends[0]
        self._later = [(slice(*span), kept[span[0]]) for span in pairwise(ends)]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """q [tokens, heads, head_dim], k and v [tokens, kv_heads, head_dim] -> [tokens, heads, head_dim]."""
        head = torch.arange(k.shape[1], device=k.device)
        done = [causal(*(x[None, : self._first] for x in (q, k, v)))[0]]
        for span, kept in self._later:
            keys, values = (torch.cat((x[kept[layer].T, head], x[span])) for x in (k, v))
            done.append(causal(q[None, span], keys[None], values[None])[0])
        return torch.cat(done)


class BlockLocalAttention(DenseAttention):
    """Attention inside blocks only: a token looks at those before it in its own block, never at another block.

    It is often shown under the name of paged attention, but it is another function of its inputs: pages are places in
    memory, and paged attention looks at all of them.
    """

    def __init__(self, counts: Sequence[int], block_size: int) -> None:
        """counts: the tokens of each sequence; each starts with a block of its own."""
        super().__init__([min(block_size, n - at) for n in counts for at in range(0, n, block_size)])

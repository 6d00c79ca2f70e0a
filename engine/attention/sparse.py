"""Causal attention to some blocks of keys only: local, strided and random patterns.

https://arxiv.org/abs/1904.10509 (local and strided: Sparse Transformers), https://arxiv.org/abs/2007.14062 (random:
BigBird). A pattern is a table of blocks, like the block table of a cache: others are neither read nor computed.
"""

import math
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.attention.dense import DenseAttention

Pattern = Callable[[int, int], list[list[int]]]
"""Of so many blocks, which ones each block looks at, the last being itself; at most so many."""


def local(blocks: int, chosen: int) -> list[list[int]]:
    """The nearest ones."""
    return [list(range(max(i - chosen + 1, 0), i + 1)) for i in range(blocks)]


def strided(blocks: int, chosen: int) -> list[list[int]]:
    """Ones at equal distances, over the whole sequence."""
    stride = -(-blocks // chosen)
    return [list(range(i % stride, i + 1, stride)) for i in range(blocks)]


def random(blocks: int, chosen: int, seed: int = 0) -> list[list[int]]:
    """Itself and any."""
    rng = Random(seed)
    return [[*sorted(rng.sample(range(i), min(chosen - 1, i))), i] for i in range(blocks)]


PATTERNS: dict[str, Pattern] = {"local": local, "strided": strided, "random": random}


def sparse(q: Tensor, k: Tensor, v: Tensor, table: Sequence[Sequence[int]], block: int) -> Tensor:
    """q, k, v [batch, tokens, dim] -> the same; table: for each block of queries, the blocks of keys that it sees.

    A query sees no key after it. The longest line of the table bounds the weights: [batch, tokens, line * block].
    """
    tokens, dim = q.shape[1:]
    padded = len(table) * block
    q, k, v = (pad(x, (0, 0, 0, padded - tokens)).view(len(x), len(table), block, dim) for x in (q, k, v))
    width = max(map(len, table))
    filled = [[-1] * (width - len(line)) + list(line) for line in table]
    seen = torch.tensor(filled, device=q.device)  # [blocks, width]
    k, v = (x[:, seen.clamp(min=0)].flatten(2, 3) for x in (k, v))  # [batch, blocks, width * block, dim]
    places = torch.arange(block, device=q.device)
    keys = torch.where(seen[..., None] < 0, padded, seen[..., None] * block + places).flatten(1)
    queries = torch.arange(padded, device=q.device).view(-1, block)
    unseen = keys[:, None, :] > queries[:, :, None]  # [blocks, block, width * block]
    scores = q @ k.transpose(-2, -1) / math.sqrt(dim)
    weights = scores.masked_fill_(unseen, float("-inf")).softmax(-1)
    return (weights @ v).flatten(1, 2)[:, :tokens]


class SparseAttention(DenseAttention):
    """Attention of a model with a pattern. See `Attend`."""

    def __init__(self, counts: Sequence[int], pattern: Pattern, block: int, chosen: int) -> None:
        """counts: the tokens of each sequence; chosen: blocks that a block looks at, at most."""
        super().__init__(counts)

        def form(q: Tensor, k: Tensor, v: Tensor, *, window: int = 0) -> Tensor:
            """[batch, tokens, heads, dim], with every head as a sequence of its own."""
            batch, tokens, heads, dim = q.shape
            group = heads // k.shape[2]
            q, k, v = (
                x.transpose(1, 2).reshape(batch * heads, tokens, dim)
                for x in (q, k.repeat_interleave(group, 2), v.repeat_interleave(group, 2))
            )
            out = sparse(q, k, v, pattern(-(-tokens // block), chosen), block)
            return out.view(batch, heads, tokens, dim).transpose(1, 2)

        self.form = form

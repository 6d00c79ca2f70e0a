"""Every form of attention in a few lines of NumPy: what they mean, for readers and for tests; nobody waits for them.

Shapes: q [new, heads, head_dim], the last `new` tokens of a sequence; k and v [tokens, kv_heads, head_dim], all of its
tokens; results as q. Everything is computed in float64. Query head h reads KV head h // (heads / kv_heads): with as
many KV heads as heads that is multi-head attention (https://arxiv.org/abs/1706.03762), with one multi-query
(https://arxiv.org/abs/1911.02150), in between grouped-query attention (https://arxiv.org/abs/2305.13245).
"""

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[np.floating]


def standard(q: Array, k: Array, v: Array) -> Array:
    """A token looks at itself and at all before it. https://arxiv.org/abs/1706.03762."""
    distance = _distance(len(q), len(k))
    return _weigh(_scores(q, k, distance >= 0), v)


def sliding_window(q: Array, k: Array, v: Array, window: int) -> Array:
    """A token looks at itself and the window - 1 before it. https://arxiv.org/abs/2310.06825 (Mistral 7B)."""
    distance = _distance(len(q), len(k))
    return _weigh(_scores(q, k, (distance >= 0) & (distance < window)), v)


def block_local(q: Array, k: Array, v: Array, block_size: int) -> Array:
    """A token looks at itself and at those before it in its own block: not the same function as `standard`."""
    block = np.arange(len(k)) // block_size
    same = block[len(k) - len(q) :, None] == block
    return _weigh(_scores(q, k, (_distance(len(q), len(k)) >= 0) & same), v)


def paged(q: Array, keys: Array, values: Array, table: Sequence[int], length: int) -> Array:
    """`standard` over the first `length` slots of a block table, a page at a time and none of them twice.

    keys, values: [blocks, block_size, kv_heads, head_dim]; table: the blocks in order. Slots behind `length` are not
    read. Pages: https://arxiv.org/abs/2309.06180; online softmax, by which the running result fades whenever a higher
    score turns up: https://arxiv.org/abs/1805.02867.
    """
    block_size, heads = keys.shape[1], q.shape[1]
    top = np.full((heads, len(q), 1), -np.inf)
    total = np.zeros((heads, len(q), 1))
    result = np.zeros((heads, len(q), q.shape[2]))
    distance = _distance(len(q), length)
    for page, first in enumerate(range(0, length, block_size)):
        last = min(first + block_size, length)
        k, v = (x[table[page], : last - first] for x in (keys, values))
        scores = _scores(q, k, distance[:, first:last] >= 0)
        higher = np.maximum(top, scores.max(-1, keepdims=True))
        base = np.where(np.isfinite(higher), higher, 0.0)  # nothing seen so far: all weights are exp(-inf)
        weights, fade = np.exp(scores - base), np.exp(top - base)
        total = total * fade + weights.sum(-1, keepdims=True)
        result = result * fade + weights @ _to_heads(v, heads)
        top = higher
    return (result / total).swapaxes(0, 1)


def _distance(new: int, tokens: int) -> NDArray[np.integer]:
    """[new, tokens]: how far each token lies before each of the last `new` ones; negative if it comes after."""
    places = np.arange(tokens)
    return places[tokens - new :, None] - places


def _scores(q: Array, k: Array, seen: NDArray[np.bool]) -> Array:
    """[heads, new, tokens], -inf where a token is not seen."""
    products = _to_heads(q, q.shape[1]) @ _to_heads(k, q.shape[1]).swapaxes(1, 2)
    return np.where(seen, products / np.sqrt(q.shape[2]), -np.inf)


def _weigh(scores: Array, v: Array) -> Array:
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    result: Array = weights / weights.sum(-1, keepdims=True) @ _to_heads(v, len(scores))
    return result.swapaxes(0, 1)


def _to_heads(x: Array, heads: int) -> Array:
    """[tokens, kv_heads, head_dim] -> [heads, tokens, head_dim] float64: each query head's own."""
    return np.repeat(x.astype(np.float64), heads // x.shape[1], axis=1).swapaxes(0, 1)

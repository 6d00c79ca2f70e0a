"""Attention of one head over a whole sequence, in the same lines for NumPy and for torch: standard, paged, block-local.

Every token looks at every other one, before and after it. `xp` is the module that computes: `numpy` or `torch`. Shapes:
q, k, v and results [tokens, dim]. What is made on the way is made as the formulas are written, so that memory can be
counted by hand: the scores, what is left of them under the exponent, the exponentials or the weights.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any


def standard(xp: Any, q: Any, k: Any, v: Any) -> Any:
    """All weights at once. https://arxiv.org/abs/1706.03762."""
    return weights(xp, q, k) @ v


def weights(xp: Any, q: Any, k: Any) -> Any:
    """[queries, keys]: how much of each key's value each query gets; the sum over keys is 1."""
    return _softmax(xp, q @ k.T / math.sqrt(q.shape[1]))


def block_local(xp: Any, q: Any, k: Any, v: Any, block: int, overlap: int = 0) -> Any:
    """Block by block, where a block looks at itself and at `overlap` tokens on either side of it.

    Not the same function as `standard`, unless the overlap reaches over the whole sequence. It is often shown under the
    name of paged attention.
    """
    out = xp.empty_like(q)
    for rows in spans(len(q), block):
        block_local_rows(xp, q, k, v, rows, overlap, out)
    return out


def block_local_rows(xp: Any, q: Any, k: Any, v: Any, rows: slice, overlap: int, out: Any) -> None:
    """One block of `block_local`, into its place."""
    near = slice(max(rows.start - overlap, 0), rows.stop + overlap)
    xp.matmul(weights(xp, q[rows], k[near]), v[near], out=out[rows])


def paged(xp: Any, q: Any, keys: Any, values: Any, table: Sequence[int]) -> Any:
    """`standard`, whose keys and values lie in pages: a block of queries at a time, which looks at all pages in turn.

    keys, values [pages, block, dim]; table: the pages in the order of the sequence, whose last one may not be full.
    Pages: https://arxiv.org/abs/2309.06180; online softmax: https://arxiv.org/abs/1805.02867.
    """
    out = xp.empty_like(q)
    for rows in spans(len(q), keys.shape[1]):
        paged_rows(xp, q, keys, values, table, rows, out)
    return out


def paged_rows(xp: Any, q: Any, keys: Any, values: Any, table: Sequence[int], rows: slice, out: Any) -> None:
    """One block of `paged`, into its place, where the running result fades whenever a higher score turns up."""
    part, result = q[rows], out[rows]
    result[:] = 0
    top, total = 0.0, 0.0
    for page, held in enumerate(spans(len(q), keys.shape[1])):
        k, v = (x[table[page]][: held.stop - held.start] for x in (keys, values))
        scores = part @ k.T / math.sqrt(q.shape[1])
        higher = xp.amax(scores, axis=-1, keepdims=True)
        if page:
            higher = xp.maximum(top, higher)
            fade = xp.exp(top - higher)
            result *= fade
            total *= fade
        scores = xp.exp(scores - higher)
        total = total + xp.sum(scores, axis=-1, keepdims=True)
        result += scores @ v
        top = higher
    result /= total


def spans(tokens: int, block: int) -> Iterator[slice]:
    """The blocks of a sequence, the last of which may be shorter."""
    return (slice(first, min(first + block, tokens)) for first in range(0, tokens, block))


def _softmax(xp: Any, x: Any) -> Any:
    exponentials = xp.exp(x - xp.amax(x, axis=-1, keepdims=True))
    return exponentials / xp.sum(exponentials, axis=-1, keepdims=True)

"""Exact attention over the blocks of a KV cache."""

from itertools import accumulate

import torch
from torch import Tensor

from engine.attention.dense import causal
from engine.attention.gather import GatherDecode, Gathered, row_slots
from engine.batch import Batch
from engine.kv_cache import KVCache


class PagedAttention:
    """Attention of one step over the block tables of its rows: decode, prefill in chunks, and both at once.

    In each layer the keys and values of all new tokens are written before any row looks at them, so that a row may
    share blocks that another row fills in the same step.

    Paged attention: https://arxiv.org/abs/2309.06180.
    """

    def __init__(self, cache: KVCache, batch: Batch, *, window: int = 0) -> None:
        """`window`: a token looks at itself and the window - 1 before it; 0: at all."""
        self._cache = cache
        self._batch = batch
        self._window = window
        decode = [row for row, count in enumerate(batch.counts) if count == 1]
        self._decode = GatherDecode(cache, batch, decode, window) if decode else None
        self._prefill: list[tuple[slice, Gathered | None]] = []
        ends = accumulate(batch.counts)
        for row, (start, count, end) in enumerate(zip(batch.starts, batch.counts, ends, strict=True)):
            if count > 1:
                self._prefill.append((slice(end - count, end), self._stored(row) if start else None))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        self._cache.write(layer, self._batch.slots, k, v)
        out = torch.empty_like(q)
        if self._decode is not None:
            self._decode(layer, q, out)
        for part, stored in self._prefill:
            keys, values = (k[part], v[part]) if stored is None else (x[0] for x in stored(layer))
            out[part] = causal(q[part], keys, values, window=self._window)
        return out

    def _stored(self, row: int) -> Gathered:
        """A row's tokens, the new ones included, as far back as the first of the new ones looks."""
        start, count = self._batch.starts[row], self._batch.counts[row]
        reach = min(start + count, count + self._window - 1) if self._window else start + count
        return Gathered(self._cache, row_slots(self._batch, [row], reach, reach)[0])

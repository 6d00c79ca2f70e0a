"""Attention over the blocks of a KV cache."""

from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from engine.attention.dense import causal
from engine.batch import Batch
from engine.kv_cache import KVCache


class PagedAttention:
    """Writes the new keys and values to their slots, then attends over the block tables; exact."""

    def __init__(self, cache: KVCache, batch: Batch, *, window: int = 0, path: str = "auto") -> None:
        self.cache = cache
        self.batch = batch
        self.window = window
        self.path = "gather" if path == "auto" else path
        self._cu = [0, *accumulate(batch.counts)]
        ends = batch.ends
        self._decode = [row for row, count in enumerate(batch.counts) if count == 1]
        self._prefill = [row for row, count in enumerate(batch.counts) if count > 1]
        if self._decode:
            rows = torch.tensor(self._decode, device=batch.device)
            self._at = batch.cu_q[:-1].long()[rows]
            lens = batch.lens[rows].long()
            self._longest = max(ends[row] for row in self._decode)
            places = torch.arange(self._longest, device=batch.device).expand(len(rows), -1)
            inside = torch.minimum(places, lens[:, None] - 1)
            size = batch.block_size
            blocks = batch.block_table[rows].long()
            self._index = (torch.gather(blocks, 1, inside // size) * size + inside % size).flatten()
            seen = places < lens[:, None]
            if window:
                seen &= places >= lens[:, None] - window
            self._mask = torch.zeros(seen.shape, dtype=cache.data.dtype, device=batch.device)
            self._mask = self._mask.masked_fill_(~seen, float("-inf"))[:, None, None]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        self.cache.write(layer, self.batch.slots, k, v)
        out = torch.empty_like(q)
        if self._decode:
            out[self._at] = self._decoded(layer, q[self._at])
        for row in self._prefill:
            part = slice(self._cu[row], self._cu[row + 1])
            keys, values = k[part], v[part]
            if self.batch.starts[row]:
                keys, values = self._stored(layer, row)
            out[part] = causal(q[part], keys, values, window=self.window)
        return out

    def _decoded(self, layer: int, q: Tensor) -> Tensor:
        rows, heads, dim = q.shape
        k, v = self.cache.scratch(rows * self._longest)
        for source, target in zip(self.cache.layer(layer), (k, v), strict=True):
            torch.index_select(source, 0, self._index, out=target)
        kv_heads = k.shape[1]
        k, v = (x.view(rows, self._longest, kv_heads, dim).transpose(1, 2) for x in (k, v))
        return sdpa(q.view(rows, kv_heads, -1, dim), k, v, attn_mask=self._mask).reshape(rows, heads, dim)

    def _stored(self, layer: int, row: int) -> tuple[Tensor, Tensor]:
        end, size = self.batch.starts[row] + self.batch.counts[row], self.batch.block_size
        blocks = self.batch.block_table[row, : -(-end // size)].long()
        k, v = (x.index_select(0, blocks).flatten(0, 1)[:end] for x in self.cache.data[layer])
        return k, v

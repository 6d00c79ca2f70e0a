"""Decode on a CPU without a copy: torch's sparse products read keys and values where they lie.

Queries times keys are wanted at few places of a large product: those of a query's own tokens. That is a sampled product
(`torch.sparse.sampled_addmm`), whose sparse matrix has a row for each query head and a column for each slot. Weights
times values are a weighted sum of few rows of a large table, which is an embedding bag.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from engine.attention.gather import GatherDecode, row_slots, row_tokens
from engine.batch import Batch
from engine.kv_cache import KVCache

DTYPES = torch.float32, torch.float64
# Every query head reads the keys anew. One or two do so faster than the keys are copied; more of them only as long as
# the keys stay in a core's cache. With 4 heads of 128: 0.82 ms against 1.10 at 128 tokens, 17.9 against 12.8 at 4,096.
FEW_HEADS = 2
READS = 4096
EVEN = 0.85  # rows are padded to the longest of their group, which is at most so much longer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # torch says once a process that its compressed matrices are new
    torch.sparse_csr_tensor([0, 0], [], [], size=(1, 1))


class InPlaceDecode:
    """One new token a row; rows in which many heads would read many keys anew are gathered instead."""

    def __init__(self, cache: KVCache, batch: Batch, rows: Sequence[int], window: int) -> None:
        """rows: those of the batch that have one new token; float32 or float64."""
        self._cache = cache
        self._batch = batch
        self._rows = rows
        self._window = window
        self._heads = 0

    def __call__(self, layer: int, q: Tensor, out: Tensor) -> None:
        """The rows' tokens of q [tokens, heads, head_dim], into their places of `out`."""
        if self._heads != q.shape[1]:
            self._prepare(q.shape[1])
        if self._gathered is not None:
            self._gathered(layer, q, out)
        if not self._groups:
            return
        dim = q.shape[2]
        keys, values = self._cache.layer(layer).flatten(1, 2)
        some = q[self._tokens].view(-1, dim)
        torch.sparse.sampled_addmm(self._scores, some, keys.T, beta=0.0, alpha=dim**-0.5, out=self._scores)
        weights = self._scores.values()
        for part, shape, mask in self._groups:
            scores = weights[part].view(shape)
            if mask is not None:
                scores += mask
            torch.softmax(scores, -1, out=scores)
        done = embedding_bag(self._columns, values, self._starts, mode="sum", per_sample_weights=weights)
        out[self._tokens] = done.view(-1, *q.shape[1:])

    def _prepare(self, heads: int) -> None:
        """What all layers have in common, and what is known once the query heads are."""
        cache, batch, window = self._cache, self._batch, self._window
        self._heads = heads
        kv_heads = cache.data.shape[-2]
        shared = heads // kv_heads
        lens = row_tokens(batch, self._rows, window)
        far = [row for row in self._rows if shared > FEW_HEADS and shared * lens[row] > READS]
        self._gathered = GatherDecode(cache, batch, far, window) if far else None
        near = sorted(set(self._rows).difference(far), key=lens.__getitem__, reverse=True)
        self._groups: list[tuple[slice, tuple[int, int, int], Tensor | None]] = []
        if not near:
            return
        self._tokens = batch.cu_q[near].long()
        slots, padding = row_slots(batch, near, lens[near[0]], window)
        mask = torch.zeros(slots.shape, dtype=cache.dtype).masked_fill_(padding, float("-inf"))
        head = torch.arange(heads)[:, None] // shared
        columns, sizes, first, end = [], [], 0, 0
        while first < len(near):
            longest = lens[near[first]]
            last = first + sum(lens[row] >= EVEN * longest for row in near[first:])
            part, shape = slice(first, last), (last - first, heads, longest)
            columns.append((slots[part, None, :longest] * kv_heads + head).flatten())
            sizes += [longest] * (last - first)
            even = lens[near[last - 1]] == longest
            span = slice(end, end := end + columns[-1].numel())
            self._groups.append((span, shape, None if even else mask[part, None, :longest]))
            first = last
        self._columns = torch.cat(columns)
        lengths = torch.tensor(sizes).repeat_interleave(heads)
        ends = lengths.cumsum(0)
        self._starts = ends - lengths
        self._scores = torch.sparse_csr_tensor(
            torch.cat((self._starts, ends[-1:])),
            self._columns,
            torch.zeros(end, dtype=cache.dtype),
            size=(len(near) * heads, cache.slots * kv_heads),
            check_invariants=False,
        )

"""Rows with several new tokens: prompts, whole or in chunks, with what is cached before them."""

import inspect
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn

from engine.attention.dense import causal
from engine.attention.gather import Gathered, row_slots
from engine.batch import Batch
from engine.kv_cache import KVCache

# torch 2.11 shares heads without being asked to, later ones want it said.
SHARE: dict[str, Any] = {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


def reach(batch: Batch, row: int, window: int) -> int:
    """How many of a row's last tokens its new ones look at, themselves included."""
    start, count = batch.starts[row], batch.counts[row]
    return min(start, window - 1) + count if window else start + count


class RowPrefill:
    """Row by row through torch's scaled_dot_product_attention, on any device and in any precision."""

    def __init__(self, cache: KVCache, batch: Batch, rows: Sequence[int], window: int) -> None:
        """rows: those of the batch that have several new tokens."""
        self._window = window
        ends = list(accumulate(batch.counts))
        self._rows: list[tuple[slice, Gathered | None]] = []
        for row in rows:
            stored = None
            if batch.starts[row]:
                tokens = reach(batch, row, window)
                stored = Gathered(cache, row_slots(batch, [row], tokens, tokens)[0])
            self._rows.append((slice(ends[row] - batch.counts[row], ends[row]), stored))

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
        """The rows' tokens of q, k, v [tokens, heads, head_dim], into their places of `out`, shaped like q."""
        for part, stored in self._rows:
            keys, values = (k[None, part], v[None, part]) if stored is None else stored(layer)
            out[part] = causal(q[None, part], keys, values, window=self._window)[0]


class VarlenPrefill:
    """All rows in one call of torch's FlashAttention for packed sequences: CUDA, float16 and bfloat16.

    It aligns the last new token of a row with its last key: https://docs.pytorch.org/docs/2.12/nn.attention.varlen.html.
    """

    def __init__(self, cache: KVCache, batch: Batch, rows: Sequence[int], window: int) -> None:
        """rows: those of the batch that have several new tokens."""
        counts = [batch.counts[row] for row in rows]
        keys = [reach(batch, row, window) for row in rows]
        starts = [0, *accumulate(batch.counts)]
        self._window = (window - 1, 0) if window else (-1, 0)
        self._longest = max(counts), max(keys)
        self._cu_q, self._cu_k = (_prefix_sums(each, batch.device) for each in (counts, keys))
        self._tokens: slice | Tensor = slice(starts[rows[0]], starts[rows[-1] + 1])
        if sum(counts) < starts[rows[-1] + 1] - starts[rows[0]]:  # other rows lie between
            spans = [torch.arange(starts[row], starts[row + 1]) for row in rows]
            self._tokens = torch.cat(spans).to(batch.device)
        self._stored: Gathered | None = None
        if any(batch.starts[row] for row in rows):
            self._stored = Gathered(cache, _packed_slots(batch, rows, keys)[None])

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor, out: Tensor) -> None:
        """The rows' tokens of q, k, v [tokens, heads, head_dim], into their places of `out`, shaped like q."""
        if self._stored is None:
            keys, values = k[self._tokens], v[self._tokens]
        else:
            keys, values = (x[0] for x in self._stored(layer))
        q = q[self._tokens]
        done = varlen_attn(q, keys, values, self._cu_q, self._cu_k, *self._longest, window_size=self._window, **SHARE)
        assert isinstance(done, Tensor)  # and not the sums of exponentials too, for which nobody asked
        out[self._tokens] = done


def _packed_slots(batch: Batch, rows: Sequence[int], tokens: Sequence[int]) -> Tensor:
    """[sum of tokens] int64: the slots of the last so many tokens of each row, one row behind the other."""
    chosen, counts = torch.tensor([rows, tokens], device=batch.device)
    total = sum(tokens)
    row = torch.repeat_interleave(chosen, counts, output_size=total)
    first = batch.lens[chosen].long() - counts.cumsum(0)  # place of a row's first token, less its index in the result
    places = torch.arange(total, device=batch.device) + torch.repeat_interleave(first, counts, output_size=total)
    blocks = torch.div(places, batch.block_size, rounding_mode="floor")
    return batch.block_table[row, blocks].long() * batch.block_size + places % batch.block_size


def _prefix_sums(counts: Sequence[int], device: torch.device) -> Tensor:
    return torch.tensor([0, *accumulate(counts)], dtype=torch.int32, device=device)

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator, unused-ignore"
"""Decode on CUDA: a Triton kernel that walks the block table and reads keys and values where they lie.

One program takes one row, one KV head with all its query heads, and one part of the row's tokens (split-K, so that few
long rows fill the device too); a second kernel joins the parts (https://pytorch.org/blog/flash-decoding/). Within a
program: online softmax (https://arxiv.org/abs/1805.02867) over tiles of tokens, accumulated in float32. Nothing waits
for the device, and the grid depends on shapes and on what the host knows, so that CUDA graphs can hold it.

Imported only where Triton is: its kernels are written in its language, in which arguments have no types.
"""

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from engine.batch import Batch
from engine.kv_cache import KVCache

LOG2_E = 1.4426950408889634
DTYPES = torch.float16, torch.bfloat16, torch.float32
PROGRAMS = 2  # wanted for each multiprocessor: on an H100 one part is best for 64 x 8 heads, 32 or 64 for 1 x 8
SPLIT_TOKENS = 256  # what a part has at least, or joining the parts costs more than it brings


@triton.jit(do_not_specialize=["table_stride"])
def _attend(
    q,
    keys,
    values,
    table,
    cu_q,
    lens,
    out,  # if whole [tokens, heads, dim], else the parts [rows, splits, heads, dim] float32
    sums,  # unless whole [rows, splits, heads] float32: log2 of the parts' sums of exponentials
    scale,
    q_stride,
    table_stride,
    heads: tl.constexpr,
    kv_heads: tl.constexpr,
    dim: tl.constexpr,
    block_size: tl.constexpr,
    window: tl.constexpr,
    group_rows: tl.constexpr,
    dims: tl.constexpr,
    tile: tl.constexpr,
    whole: tl.constexpr,
):
    row, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    splits = tl.num_programs(2)
    token = tl.load(cu_q + row)
    if tl.load(cu_q + row + 1) - token != 1:  # a row of prefill: not ours
        return
    end = tl.load(lens + row)
    begin = 0
    if window > 0:
        begin = tl.maximum(end - window, 0)
    part = tl.cdiv(tl.cdiv(end - begin, splits), tile) * tile
    begin += split * part
    end = tl.minimum(begin + part, end)

    group: tl.constexpr = heads // kv_heads
    at_head, at_dim = tl.arange(0, group_rows), tl.arange(0, dims)
    head_inside, dim_inside = at_head < group, at_dim < dim
    query_inside = head_inside[:, None] & dim_inside[None, :]
    query_at = (head * group + at_head)[:, None] * dim + at_dim[None, :]
    query = tl.load(q + token * q_stride + query_at, mask=query_inside, other=0.0)

    top = tl.full([group_rows], float("-inf"), tl.float32)
    total = tl.zeros([group_rows], tl.float32)
    acc = tl.zeros([group_rows, dims], tl.float32)
    for first in range(begin, end, tile):
        place = first + tl.arange(0, tile)
        written = place < end
        block = tl.load(table + row * table_stride + place // block_size, mask=written, other=0)
        slot = block.to(tl.int64) * block_size + place % block_size
        at = slot[:, None] * (kv_heads * dim) + head * dim + at_dim[None, :]
        inside = written[:, None] & dim_inside[None, :]  # what is not written is NaN, and 0 * NaN is NaN
        key = tl.load(keys + at, mask=inside, other=0.0)
        score = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        score = tl.where(written[None, :], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        weight = tl.exp2(score - higher[:, None])
        fade = tl.exp2(top - higher)
        total = total * fade + tl.sum(weight, 1)
        value = tl.load(values + at, mask=inside, other=0.0)
        acc = tl.dot(weight.to(value.dtype), value, acc * fade[:, None], input_precision="ieee")
        top = higher

    acc = acc / tl.where(total > 0, total, 1.0)[:, None]
    if whole:
        tl.store(out + token * (heads * dim) + query_at, acc.to(out.dtype.element_ty), mask=query_inside)
    else:
        where = row * splits + split
        tl.store(sums + where * heads + head * group + at_head, top + tl.log2(total), mask=head_inside)
        if begin < end:
            tl.store(out + where * (heads * dim) + query_at, acc, mask=query_inside)


@triton.jit
def _join(
    parts,
    sums,
    cu_q,
    out,
    heads: tl.constexpr,
    dim: tl.constexpr,
    splits: tl.constexpr,
    dims: tl.constexpr,
):
    """Weigh the parts of one row and head by their shares of the sum of exponentials."""
    row, head = tl.program_id(0), tl.program_id(1)
    token = tl.load(cu_q + row)
    if tl.load(cu_q + row + 1) - token != 1:
        return
    at_split, at_dim = tl.arange(0, splits), tl.arange(0, dims)
    inside = at_dim < dim
    where = (row * splits + at_split) * heads + head
    log_sum = tl.load(sums + where)
    top = tl.max(log_sum, 0)
    share = tl.exp2(log_sum - tl.where(top > float("-inf"), top, 0.0))
    total = tl.sum(share, 0)
    there = share[:, None] > 0.0  # parts without a token are not written
    part = tl.load(parts + where[:, None] * dim + at_dim[None, :], mask=there & inside[None, :], other=0.0)
    joined = tl.sum(part * share[:, None], 0) / tl.where(total > 0, total, 1.0)
    tl.store(out + (token * heads + head) * dim + at_dim, joined.to(out.dtype.element_ty), mask=inside)


class TritonDecode:
    """The rows of a batch that have one new token, read in place. A row of length 0 (padding) gets zeros."""

    def __init__(self, kv_cache: KVCache, batch: Batch, rows: Sequence[int], window: int) -> None:
        """rows: those with one new token; float16, bfloat16 or float32."""
        self._cache = kv_cache
        self._batch = batch
        self._window = window
        longest = max(min(batch.starts[row] + 1, window or batch.starts[row] + 1) for row in rows)
        kv_heads = kv_cache.data.shape[-2]
        self._splits = split_count(len(rows), kv_heads, longest, _processors(batch.device))

    def __call__(self, layer: int, q: Tensor, out: Tensor) -> None:
        """The rows' tokens of q [tokens, heads, head_dim], into their places of `out`."""
        decode(self._cache.layer(layer), self._batch, q, out, window=self._window, splits=self._splits)


def split_count(rows: int, kv_heads: int, longest: int, processors: int) -> int:
    """Into how many parts a row is split, a power of two: until the device is busy or parts would get too short."""
    splits = 1
    while rows * kv_heads * splits < PROGRAMS * processors and longest > SPLIT_TOKENS * splits:
        splits *= 2
    return splits


def decode(
    layer: Tensor,
    batch: Batch,
    q: Tensor,
    out: Tensor,
    *,
    window: int = 0,
    splits: int = 1,
    tile: int = 0,
    num_warps: int = 4,
    num_stages: int = 3,
) -> None:
    """Attention of the rows with one new token, from q [tokens, heads, head_dim] into `out`, of the same shape.

    layer: [2, slots, kv_heads, head_dim], in which the new tokens are written already. `splits`: a power of two;
    `tile`: tokens at once, 0: as many as registers hold.
    """
    rows = len(batch.counts)
    _, heads, dim = q.shape
    kv_heads = layer.shape[2]
    dims = max(triton.next_power_of_2(dim), 16)
    if not tile:
        tile = min(max((2048 if q.dtype.itemsize == 4 else 8192) // dims, 16), 128)
    q = q if q.stride()[1:] == (dim, 1) else q.contiguous()
    parts = sums = out
    if splits > 1:
        parts = torch.empty((rows, splits, heads, dim), dtype=torch.float32, device=q.device)
        sums = torch.empty((rows, splits, heads), dtype=torch.float32, device=q.device)
    _attend[(rows, kv_heads, splits)](
        q,
        layer[0],
        layer[1],
        batch.block_table,
        batch.cu_q,
        batch.lens,
        parts,
        sums,
        LOG2_E / dim**0.5,
        q.stride(0),
        batch.block_table.stride(0),
        heads=heads,
        kv_heads=kv_heads,
        dim=dim,
        block_size=batch.block_size,
        window=window,
        group_rows=max(triton.next_power_of_2(heads // kv_heads), 16),
        dims=dims,
        tile=tile,
        whole=splits == 1,
        num_warps=num_warps,
        num_stages=num_stages,
    )
    if splits > 1:
        _join[(rows, heads)](parts, sums, batch.cu_q, out, heads, dim, splits, dims, num_warps=1)


@cache
def _processors(device: torch.device) -> int:
    """Multiprocessors of a CUDA device; 1 where Triton only interprets."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 1

"""Exact attention over the blocks of a KV cache."""

from collections.abc import Callable
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from engine.attention import in_place
from engine.attention.gather import GatherDecode
from engine.attention.in_place import InPlaceDecode
from engine.attention.prefill import RowPrefill, VarlenPrefill
from engine.batch import Batch
from engine.kv_cache import KVCache
from simcore.errors import InputError

PATHS = {
    "in-place": "torch's sparse products, on keys and values in their blocks "
    "(CPU with MKL; float32, float64; long rows with many query heads a KV head are gathered)",
    "gather": "torch's own attention, on keys and values gathered from their blocks",
    "triton": "a Triton kernel reads keys and values in their blocks (CUDA; float16, bfloat16, float32)",
}
PREFILL_PATHS = {
    "rows": "torch's own attention, row by row",
    "varlen": "torch's FlashAttention, all rows in one call (CUDA; float16, bfloat16)",
}


def decode_path(cache: KVCache, path: str = "auto") -> str:
    """How decode reads this cache, a key of PATHS; "auto": the quickest that there is here. Raises InputError."""
    possible = ["gather"]
    if cache.data.is_cuda and cache.dtype != torch.float64 and find_spec("triton"):
        possible.append("triton")
    has_mkl = torch.backends.mkl.is_available()  # type: ignore[no-untyped-call]
    if cache.data.device.type == "cpu" and cache.dtype in in_place.DTYPES and has_mkl:
        possible.append("in-place")
    if path == "auto":
        return possible[-1]
    if path not in possible:
        raise InputError(f'attention path = "{path}" cannot run here, only {", ".join(possible)} can')
    return path


def prefill_path(cache: KVCache) -> str:
    """How prompts are attended, a key of PREFILL_PATHS: the quickest that there is here."""
    dim = cache.data.shape[-1]
    flash = cache.data.is_cuda and cache.dtype.itemsize == 2 and dim % 8 == 0 and dim <= 256
    return "varlen" if flash and torch.cuda.get_device_capability(cache.data.device) >= (8, 0) else "rows"


class Decode(Protocol):
    """Attention of the rows of a batch that have one new token."""

    def __call__(self, layer: int, q: Tensor, out: Tensor) -> None:
        """q [tokens, heads, head_dim] of all rows; the results go to their tokens' places in `out`, shaped like it."""
        ...


class PagedAttention:
    """Attention of one step over the block tables of its rows: decode, prefill in chunks, and both at once.

    In each layer the keys and values of all new tokens are written before any row looks at them, so that a row may
    share blocks that another row fills in the same step.

    Paged attention: https://arxiv.org/abs/2309.06180.
    """

    def __init__(self, cache: KVCache, batch: Batch, *, window: int = 0, path: str = "auto") -> None:
        """`window`: a token looks at itself and the window - 1 before it; 0: at all. `path`: see `decode_path`."""
        self.path = decode_path(cache, path)
        self.prefill_path = prefill_path(cache)
        self._cache = cache
        self._batch = batch
        decoder: Callable[[KVCache, Batch, list[int], int], Decode] = GatherDecode
        if self.path == "in-place":
            decoder = InPlaceDecode
        elif self.path == "triton":
            from engine.attention.triton_decode import TritonDecode

            decoder = TritonDecode
        prefiller = VarlenPrefill if self.prefill_path == "varlen" else RowPrefill
        decode = [row for row, count in enumerate(batch.counts) if count == 1]
        prefill = [row for row, count in enumerate(batch.counts) if count > 1]
        self._decode = decoder(cache, batch, decode, window) if decode else None
        self._prefill = prefiller(cache, batch, prefill, window) if prefill else None

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """See `Attend`."""
        self._cache.write(layer, self._batch.slots, k, v)
        out = q.new_empty(q.shape)
        if self._decode is not None:
            self._decode(layer, q, out)
        if self._prefill is not None:
            self._prefill(layer, q, k, v, out)
        return out

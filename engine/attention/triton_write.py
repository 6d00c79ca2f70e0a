# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-def, untyped-decorator, unused-ignore"
"""Writing to the cache on CUDA in one launch. Imported only where Triton is."""

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def _write(k, v, keys, values, slots, k_stride, v_stride, width: tl.constexpr, padded: tl.constexpr):
    token = tl.program_id(0)
    slot = tl.load(slots + token)
    if slot < 0:
        return
    at = tl.arange(0, padded)
    inside = at < width
    tl.store(keys + slot * width + at, tl.load(k + token * k_stride + at, mask=inside), mask=inside)
    tl.store(values + slot * width + at, tl.load(v + token * v_stride + at, mask=inside), mask=inside)


def write(layer: Tensor, slots: Tensor, k: Tensor, v: Tensor) -> None:
    """Keys and values [tokens, kv_heads, head_dim] into a layer [2, slots, kv_heads, head_dim]; slots [tokens] int64.

    What has a slot below 0 (padding under CUDA graphs) is written nowhere.
    """
    tokens, kv_heads, dim = k.shape
    width = kv_heads * dim
    k, v = (x if x.stride()[1:] == (dim, 1) else x.contiguous() for x in (k, v))
    padded = triton.next_power_of_2(width)
    _write[(tokens,)](k, v, layer[0], layer[1], slots, k.stride(0), v.stride(0), width, padded)

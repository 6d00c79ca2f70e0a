"""Decode attention of one layer, formulation by formulation: what pages cost against keys and values in one piece."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from engine.attention.gather import row_slots
from engine.attention.paged import PATHS, PagedAttention, decode_path
from engine.batch import Batch
from engine.kv_cache import KVCache
from engine.meter import Stopwatch, Times
from simcore.errors import InputError


@dataclass(frozen=True, slots=True)
class Load:
    """One new token for each of `requests` rows with `context` tokens, the new one included."""

    requests: int
    heads: int
    kv_heads: int
    head_dim: int
    context: int
    dtype: torch.dtype
    block_size: int = 16

    @property
    def bytes(self) -> int:
        """Of all keys and values: what a layer must read at least."""
        return 2 * self.requests * self.context * self.kv_heads * self.head_dim * self.dtype.itemsize


LOADS = {
    "cpu": [Load(16, 8, 2, 64, context, torch.float32) for context in (512, 2048, 8192)],
    "cuda": [
        Load(64, 32, 8, 128, 4096, torch.bfloat16),
        Load(64, 32, 8, 128, 512, torch.bfloat16),
        Load(1, 32, 8, 128, 32768, torch.bfloat16),
    ],
}


@dataclass(frozen=True, slots=True)
class Row:
    """What one formulation took for one load."""

    form: str
    load: Load
    times: Times  # of one call
    copied: float  # bytes/s that a copy reads and writes on this device

    @property
    def share(self) -> float:
        """Bytes of keys and values a second, as a share of what a copy reads and writes in one."""
        return self.load.bytes / self.times.median / self.copied


@torch.inference_mode()
def decode_attention_benchmark(
    device: torch.device | str = "cpu", loads: Sequence[Load] | None = None, *, repeats: int = 15
) -> list[Row]:
    """All formulations that run on a device, taking turns; their results must agree, or there is a RuntimeError."""
    device = torch.device(device)
    if device.type not in LOADS:
        raise InputError(f'device = "{device}", but decode attention is measured on cpu and cuda')
    rows: list[Row] = []
    for load in LOADS[device.type] if loads is None else loads:
        rows += _measure(load, device, repeats)
    return rows


def _measure(load: Load, device: torch.device, repeats: int) -> list[Row]:
    forms = _forms(load, device)
    expected = forms["contiguous"]().float()
    allowed = (2e-2 if load.dtype.itemsize == 2 else 1e-4) * expected.norm()
    for name, form in forms.items():
        if name != "copy" and not (form().float() - expected).norm() <= allowed:
            raise RuntimeError(f"{name} gives other results than contiguous keys and values do, for {load}")
    # Launching a kernel takes the host longer than a short one runs: on a device several calls share a measurement.
    calls = 10 if device.type == "cuda" else 1
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(repeats):
        for name, form in forms.items():
            with Stopwatch(device) as watch:
                for _ in range(calls):
                    form()
            seconds[name].append(watch.wall / calls)
    times = {name: Times(tuple(each)) for name, each in seconds.items()}
    copied = 2 * load.bytes / times["copy"].median
    return [Row(name, load, each, copied) for name, each in times.items()]


def _forms(load: Load, device: torch.device) -> dict[str, Callable[[], Tensor]]:
    draw = torch.Generator().manual_seed(0)
    each = -(-load.context // load.block_size)
    count = load.requests * each
    shape = load.kv_heads, load.head_dim
    blocks = torch.randperm(count, generator=draw) + 1
    batch = _batch(load, blocks.view(-1, each), device)
    cache = KVCache(1, count + 1, load.block_size, *shape, load.dtype, device)
    slots, _ = row_slots(batch, range(load.requests), load.context)
    layer = cache.layer(0)
    layer[:, slots.flatten()] = torch.randn(2, slots.numel(), *shape, device=device).to(load.dtype)
    k, v = (x[slots].transpose(1, 2).contiguous() for x in layer)
    q = torch.randn(load.requests, load.heads, load.head_dim, generator=draw).to(device, load.dtype)
    folded = q.view(load.requests, load.kv_heads, -1, load.head_dim)
    new = [x[:, :, -1] for x in (k, v)]
    target = torch.empty(load.bytes, dtype=torch.uint8, device=device)
    source = torch.zeros_like(target)

    def fresh_gather() -> Tensor:
        keys, values = (x[slots].transpose(1, 2) for x in layer)
        return sdpa(folded, keys, values).view(q.shape)

    forms: dict[str, Callable[[], Tensor]] = {
        "copy": lambda: target.copy_(source),
        "contiguous": lambda: sdpa(folded, k, v).view(q.shape),
        "fresh gather": fresh_gather,
    }
    for path in PATHS:
        if path in ("gather", decode_path(cache)):
            forms[f"paged, {path}"] = partial(PagedAttention(cache, batch, path=path), 0, q, *new)
    return forms


def _batch(load: Load, tables: Tensor, device: torch.device) -> Batch:
    rows = load.requests
    return Batch.of(tables.tolist(), [load.context - 1] * rows, [1] * rows, [0] * rows, load.block_size, device)

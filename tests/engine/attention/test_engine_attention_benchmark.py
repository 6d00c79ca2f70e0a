"""The benchmark of decode attention runs, takes turns, and refuses to time wrong results."""

import pytest
import torch

from engine.attention import benchmark
from simcore.errors import InputError

LOAD = benchmark.Load(requests=3, heads=4, kv_heads=2, head_dim=8, context=37, dtype=torch.float32, block_size=16)


def test_bytes_and_shares():
    assert LOAD.bytes == 2 * 3 * 37 * 2 * 8 * 4
    rows = benchmark.decode_attention_benchmark("cpu", [LOAD], repeats=3)
    assert [row.form for row in rows] == ["copy", "contiguous", "fresh gather", "paged, in-place", "paged, gather"]
    assert all(len(row.times.all) == 3 and min(row.times.all) > 0 for row in rows)
    assert rows[0].share == pytest.approx(0.5)  # a copy reads the bytes and writes them too


def test_wrong_results_are_not_timed(monkeypatch):
    monkeypatch.setattr(benchmark.PagedAttention, "__call__", lambda self, layer, q, k, v: q)
    with pytest.raises(RuntimeError, match="paged, in-place gives other results"):
        benchmark.decode_attention_benchmark("cpu", [LOAD], repeats=1)


def test_other_devices():
    with pytest.raises(InputError, match='device = "meta"'):
        benchmark.decode_attention_benchmark("meta")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_pages_cost_little_on_cuda():
    load = benchmark.Load(64, 32, 8, 128, 4096, torch.bfloat16)
    shares = {row.form: row.share for row in benchmark.decode_attention_benchmark("cuda", [load])}
    assert shares["paged, triton"] >= 0.85

"""The Triton kernels alone: on CUDA, or where TRITON_INTERPRET=1 has Triton interpret them on a CPU."""

import os

import numpy as np
import pytest
import torch

from engine.attention import PagedAttention, reference
from engine.batch import Batch
from engine.kv_cache import KVCache

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
if not (torch.cuda.is_available() or INTERPRETED):
    pytest.skip("no CUDA device, and TRITON_INTERPRET is not 1", allow_module_level=True)
pytest.importorskip("triton")
from engine.attention import triton_decode, triton_write  # noqa: E402

DEVICE = "cpu" if INTERPRETED else "cuda"
# Triton interprets no products of bfloat16.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3} | ({} if INTERPRETED else {torch.bfloat16: 2e-2})
# The interpreter is NumPy, and the log of a part without a token is -inf on purpose.
pytestmark = pytest.mark.filterwarnings("ignore:divide by zero encountered in log2")
on_cuda = pytest.mark.skipif(INTERPRETED, reason="only on a CUDA device")


class Rows:
    """A full cache of random rows of some lengths, of which the last token is new."""

    def __init__(self, lens, heads, dim, block_size, dtype, counts=None):
        rng = np.random.default_rng(len(lens))
        draw = torch.Generator().manual_seed(len(lens))
        needs = [-(-n // block_size) for n in lens]
        free = rng.permutation(np.arange(1, sum(needs) + 1)).tolist()
        tables = [[free.pop() for _ in range(need)] for need in needs]
        counts = counts or [1] * len(lens)
        starts = [n - count for n, count in zip(lens, counts, strict=True)]
        self.cache = KVCache(1, sum(needs) + 1, block_size, heads[1], dim, dtype, DEVICE)
        self.k, self.v = torch.randn(2, sum(lens), heads[1], dim, generator=draw).to(dtype)
        whole = Batch.of(tables, [0] * len(lens), lens, [0] * sum(lens), block_size, DEVICE)
        triton_write.write(self.cache.layer(0), whole.slots, self.k.to(DEVICE), self.v.to(DEVICE))
        self.q = torch.randn(sum(counts), heads[0], dim, generator=draw).to(dtype)
        self.batch = Batch.of(tables, starts, counts, [0] * sum(counts), block_size, DEVICE)
        self.lens, self.counts = lens, counts

    def check(self, got, window=0):
        """Rows with one new token are right, others untouched."""
        parts = zip(self.q.split(self.counts), self.k.split(self.lens), self.v.split(self.lens), strict=True)
        for part, out in zip(parts, got.cpu().split(self.counts), strict=True):
            if len(out) != 1:
                assert (out == 7).all()
                continue
            one = (x.double().numpy() for x in part)
            want = reference.sliding_window(*one, window) if window else reference.standard(*one)
            torch.testing.assert_close(out.double(), torch.from_numpy(want), rtol=0, atol=TOLERANCE[out.dtype])

    def decode(self, **options):
        q = self.q.to(DEVICE)
        out = torch.full_like(q, 7)
        triton_decode.decode(self.cache.layer(0), self.batch, q, out, **options)
        return out


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(
    ("heads", "dim", "block_size"), [((4, 4), 16, 16), ((6, 2), 24, 4), ((20, 1), 64, 1), ((4, 2), 80, 3)]
)
@pytest.mark.parametrize("splits", [1, 4])
def test_ragged_rows_beside_a_row_of_prefill(dtype, heads, dim, block_size, splits):
    rows = Rows([1, 17, 5, 140, 64], heads, dim, block_size, dtype, counts=[1, 1, 3, 1, 1])
    rows.check(rows.decode(splits=splits))


@pytest.mark.parametrize("window", [1, 5, 64, 500])
@pytest.mark.parametrize("splits", [1, 2])
def test_windows(window, splits):
    rows = Rows([1, 130, 70, 6], (4, 2), 16, 16, torch.float16)
    rows.check(rows.decode(splits=splits, window=window), window)


@pytest.mark.parametrize("lens", [[1], [300], [16, 16]])
def test_few_rows(lens):
    rows = Rows(lens, (4, 1), 32, 16, torch.float32)
    rows.check(rows.decode(splits=8))


@pytest.mark.parametrize("splits", [1, 4])
def test_padding_sees_nothing_and_is_written_nowhere(splits):
    rows = Rows([9, 20], (4, 2), 16, 4, torch.float32)
    before = rows.cache.data.clone()
    k, v = torch.randn(2, 2, 2, 16, device=DEVICE)
    triton_write.write(rows.cache.layer(0), torch.tensor([-1, -1], device=DEVICE), k, v)
    assert torch.equal(rows.cache.data.nan_to_num(7), before.nan_to_num(7))
    rows.batch.lens[1] = 0
    got = rows.decode(splits=splits)
    assert (got[1] == 0).all()
    assert got[0].abs().min() > 0


def test_keys_and_queries_may_be_slices_of_one_projection():
    rows = Rows([9, 20], (4, 2), 16, 4, torch.float32)
    fused = torch.cat([rows.q.flatten(1), rows.q.flatten(1)], 1).to(DEVICE)
    q, out = fused[:, :64].view(2, 4, 16), torch.empty(2, 4, 16, device=DEVICE)
    triton_decode.decode(rows.cache.layer(0), rows.batch, q, out)
    rows.check(out)
    k, v = fused[:, :32].view(2, 2, 16), fused[:, 32:64].view(2, 2, 16)
    triton_write.write(rows.cache.layer(0), rows.batch.slots, k, v)
    assert torch.equal(rows.cache.layer(0)[:, rows.batch.slots], torch.stack([k, v]))


def test_splits_fill_the_device_but_do_not_become_too_short():
    assert triton_decode.split_count(rows=1, kv_heads=1, longest=100, processors=132) == 1
    assert triton_decode.split_count(rows=1, kv_heads=1, longest=4096, processors=132) == 16
    assert triton_decode.split_count(rows=64, kv_heads=8, longest=4096, processors=132) == 1
    assert triton_decode.split_count(rows=512, kv_heads=8, longest=4096, processors=132) == 1


@on_cuda
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("window", [0, 1000])
def test_long_rows_through_paged_attention(dtype, window):
    rows = Rows([1, 3000, 777, 2048], (32, 8), 128, 16, dtype)
    attend = PagedAttention(rows.cache, rows.batch, window=window)
    assert attend.path == "triton"
    ends = torch.tensor(rows.lens).cumsum(0) - 1
    got = attend(0, rows.q.to(DEVICE), rows.k[ends].to(DEVICE), rows.v[ends].to(DEVICE))
    rows.check(got, window)


@on_cuda
def test_a_captured_step_is_replayed_with_other_rows():
    """Captured for 4 rows of up to 512 tokens, replayed with 2 rows and padding: no result depends on the capture."""
    rows = Rows([130, 37], (8, 2), 64, 16, torch.float16)
    last = torch.tensor([129, 166])
    k, v = (torch.cat([x[last], torch.zeros_like(x[:2])]).to(DEVICE) for x in (rows.k, rows.v))
    q = torch.cat([rows.q, rows.q]).to(DEVICE)
    still = Batch.of([[0] * 32] * 4, [511] * 4, [1] * 4, [0] * 4, 16, DEVICE)
    attend = PagedAttention(rows.cache, still)
    padding = Batch.of([[]] * 4, [-1] * 4, [1] * 4, [0] * 4, 16, DEVICE, width=32)
    still.copy_(padding)
    attend(0, q, k, v)  # compiled before the capture
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = attend(0, q, k, v)
    tables = [row[row > 0].tolist() for row in rows.batch.block_table]
    still.copy_(Batch.of([*tables, [], []], [129, 36, -1, -1], [1] * 4, [0] * 4, 16, DEVICE, width=32))
    rows.cache.data[0].view(2, -1, 2, 64)[:, still.slots[:2]] = float("nan")  # to be written by the replay
    graph.replay()
    rows.check(out[:2])
    assert (out[2:] == 0).all()


@on_cuda
def test_the_cache_on_cuda_does_what_it_does_on_a_cpu():
    draw = torch.Generator().manual_seed(0)
    values = torch.randn(3, 2, 6, 4, 2, 5, generator=draw).to(torch.bfloat16)
    results = []
    for device in ("cpu", "cuda"):
        cache = KVCache(3, 6, 4, 2, 5, torch.bfloat16, device)
        cache.data.copy_(values)
        host = cache.host(3)
        assert host.data.is_pinned() == (device == "cuda")
        cache.swap_out(host, [1, 5], [2, 0])
        cache.poison([1, 5])
        cache.copy([2, 3], [3, 2])
        cache.swap_in(host, [0, 2], [1, 4])
        cache.compact([3, 1], [3, 0], torch.tensor([[1, 2, 6], [0, 1, 7]], device=device).expand(3, -1, -1))
        k, v = values[0, :, 0, :2]
        cache.write(2, torch.tensor([3, 9], device=device), k.to(device), v.to(device))
        results.append(cache.data.cpu())
    torch.testing.assert_close(*results, rtol=0, atol=0, equal_nan=True)

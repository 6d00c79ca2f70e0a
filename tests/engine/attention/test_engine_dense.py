"""Dense forms in torch against the NumPy references."""

import pytest
import torch

from engine.attention import BlockLocalAttention, DenseAttention, StandardAttention, dense, reference

HEADS = [(4, 4), (4, 2), (6, 1)]
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}


def packed(counts, heads=4, kv_heads=2, dim=8, dtype=torch.float64):
    draw = torch.Generator().manual_seed(sum(counts))
    return [
        torch.randn(sum(counts), n, dim, generator=draw, dtype=torch.float64).to(dtype)
        for n in (heads, kv_heads, kv_heads)
    ]


def expected(form, counts, q, k, v):
    """`form` applied to each sequence in double, packed again."""
    parts = zip(*(x.double().split(counts) for x in (q, k, v)), strict=True)
    return torch.cat([torch.from_numpy(form(*(x.numpy() for x in part))) for part in parts])


@pytest.mark.parametrize("attention", [DenseAttention, StandardAttention])
@pytest.mark.parametrize(("heads", "kv_heads"), HEADS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("counts", [[1], [5], [5, 5, 5], [3, 1, 1, 7, 7, 2]])
def test_packed_sequences(attention, heads, kv_heads, dtype, counts):
    q, k, v = packed(counts, heads, kv_heads, dtype=dtype)
    got = attention(counts)(0, q, k, v)
    assert (got.shape, got.dtype) == (q.shape, dtype)
    torch.testing.assert_close(
        got.double(), expected(reference.standard, counts, q, k, v), rtol=0, atol=TOLERANCE[dtype]
    )


@pytest.mark.parametrize("attention", [DenseAttention, StandardAttention])
@pytest.mark.parametrize("window", [1, 3, 8, 100])
def test_windows(attention, window):
    counts = [9, 9, 1, 20]
    q, k, v = packed(counts)
    want = expected(lambda *x: reference.sliding_window(*x, window), counts, q, k, v)
    torch.testing.assert_close(attention(counts, window=window)(0, q, k, v), want, rtol=0, atol=1e-13)


@pytest.mark.parametrize("form", [dense.causal, dense.standard])
@pytest.mark.parametrize("window", [0, 1, 4, 100])
@pytest.mark.parametrize("new", [1, 2, 11])
def test_the_last_tokens_of_a_sequence(form, window, new):
    q, k, v = packed([12])
    got = form(q[None, -new:], k[None], v[None], window=window)[0]
    want = reference.sliding_window(*(x.numpy() for x in (q[-new:], k, v)), window or 12)
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=0, atol=1e-13)


@pytest.mark.parametrize("window", [0, 3])
def test_more_queries_than_share_a_mask(monkeypatch, window):
    monkeypatch.setattr(dense, "CHUNK", 4)
    q, k, v = packed([23])
    got = dense.causal(q[None, 5:], k[None], v[None], window=window)[0]
    want = reference.sliding_window(*(x.numpy() for x in (q[5:], k, v)), window or 23)
    torch.testing.assert_close(got, torch.from_numpy(want), rtol=0, atol=1e-13)


@pytest.mark.parametrize("block_size", [1, 4, 7, 16])
def test_block_local(block_size):
    counts = [16, 3, 9]
    q, k, v = packed(counts)
    want = expected(lambda *x: reference.block_local(*x, block_size), counts, q, k, v)
    got = BlockLocalAttention(counts, block_size)(0, q, k, v)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-13)
    exact = DenseAttention(counts)(0, q, k, v)
    assert torch.allclose(got, exact, rtol=0, atol=1e-13) == (block_size == 16)


@pytest.mark.parametrize("counts", [[6], [6, 6], [4, 6]])
@pytest.mark.parametrize("attention", [DenseAttention, StandardAttention])
def test_gradients_reach_all_inputs(attention, counts):
    inputs = [x.requires_grad_() for x in packed(counts, 4, 2, 3)]
    assert torch.autograd.gradcheck(lambda *x: attention(counts)(0, *x), inputs)


def test_inputs_may_be_slices_of_one_projection():
    counts = [5, 5]
    q, k, v = packed(counts)
    fused = torch.cat([x.flatten(1) for x in (q, k, v)], 1)
    parts = [x.unflatten(1, (-1, 8)) for x in fused.split([32, 16, 16], 1)]
    assert not parts[0].is_contiguous()
    for attention in (DenseAttention, StandardAttention):
        assert torch.equal(attention(counts)(0, *parts), attention(counts)(0, q, k, v))


def test_no_sequences():
    q, k, v = packed([])
    assert DenseAttention([])(0, q, k, v).shape == (0, 4, 8)


@pytest.mark.filterwarnings("ignore:Warning. Profiler clears events")  # torch 2.11 says so of every profile
def test_standard_attention_holds_all_weights_and_fused_attention_does_not():
    heads, tokens = 4, 512
    q, k, v = packed([tokens], heads, heads, dtype=torch.float32)
    largest = {}
    for attention in (DenseAttention, StandardAttention):
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            attention([tokens])(0, q, k, v)
        largest[attention] = max(event.self_cpu_memory_usage for event in profile.key_averages())
    weights = heads * tokens * tokens * 4
    assert largest[StandardAttention] >= weights > 4 * largest[DenseAttention]

"""Pruning policies on arrays of NumPy and of torch: what they look at, what has to stay, and how it is chosen."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simcore import InputError
from simcore.policies.pruning import (
    H2O,
    PRUNING,
    TOVA,
    ChunkKV,
    CurDKV,
    KeyNorm,
    LagKV,
    Pruning,
    RandomTokens,
    SnapKV,
    StreamingLLM,
    View,
    keep_highest,
)
from simcore.policies.pruning.arrays import chunk_sums

HEADS, KV_HEADS, SIZE = 4, 2, 8
SMALL = [policy() for policy in PRUNING.values()] + [
    StreamingLLM(sinks=0),
    H2O(recent=1),
    TOVA(recent=2),
    SnapKV(window=3, kernel=4),
    SnapKV(window=1, kernel=1, pooling="max"),
    ChunkKV(window=2, chunk=3),
    KeyNorm(recent=2),
    LagKV(sinks=1, lag=2),
    LagKV(sinks=0, lag=5),
    CurDKV(sinks=1, chunk=3),
    RandomTokens(seed=(1 << 32) - 1),
]


def some(tokens: int, window: int = 0, keep: int | None = None, seed: int = 0, pruned: bool = False) -> View:
    """A view in NumPy; of tokens with gaps between them where some were dropped before."""
    draw = np.random.default_rng(seed)
    shape = (KV_HEADS, tokens, SIZE)
    positions = np.tile(np.arange(tokens), (KV_HEADS, 1))
    if pruned:
        positions = np.sort([draw.permutation(3 * tokens)[:tokens] for _ in range(KV_HEADS)], -1)
        positions[:, -1] = 3 * tokens - 1
    queries = draw.normal(size=(HEADS, min(window, tokens), SIZE))
    attended = draw.random((KV_HEADS, tokens))
    return View(1, 3, positions, draw.normal(size=shape), draw.normal(size=shape), queries, attended, keep)


def turned(view: View, change: Callable[[np.ndarray], Any]) -> View:
    """The same with other arrays."""
    values = {each.name: getattr(view, each.name) for each in fields(View)}
    return View(**{name: change(each) if isinstance(each, np.ndarray) else each for name, each in values.items()})


scores = st.integers(1, 12).flatmap(
    lambda tokens: st.lists(
        st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0, math.inf]), min_size=tokens, max_size=tokens),
        min_size=1,
        max_size=3,
    )
)


@given(scores, st.data())
def test_the_highest_stay_and_among_equals_the_earlier(rows: list[list[float]], data: st.DataObject) -> None:
    tokens = len(rows[0])
    count = data.draw(st.integers(0, tokens))
    expected = [sorted(sorted(range(tokens), key=lambda place: (-row[place], place))[:count]) for row in rows]
    for array in (np.array(rows), torch.tensor(rows)):
        kept = keep_highest(array, count)
        assert kept.tolist() == expected
        assert tuple(kept.shape) == (len(rows), count)
        assert kept.dtype in (np.int64, torch.int64)


@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "pruned"])
@pytest.mark.parametrize("tokens", [1, 3, 7, 40, 300])
@pytest.mark.parametrize("policy", SMALL, ids=str)
def test_numpy_and_torch_keep_the_same(policy: Pruning, tokens: int, pruned: bool) -> None:
    count = (tokens + 1) // 2
    view = some(tokens, policy.window, count, seed=tokens, pruned=pruned)
    before = turned(view, np.copy)
    ours, theirs = policy.score(view), policy.score(turned(view, torch.from_numpy))
    assert ours.shape == tuple(theirs.shape) == (KV_HEADS, tokens)
    assert isinstance(theirs, torch.Tensor)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9)
    assert not np.isnan(ours).any()
    kept = keep_highest(ours, count)
    np.testing.assert_array_equal(kept, keep_highest(theirs, count).numpy())
    assert (np.diff(kept) > 0).all()
    assert kept.shape == (KV_HEADS, count)
    assert ((kept >= 0) & (kept < tokens)).all()
    stay, stayed = ((each == math.inf).sum(1) for each in (ours, np.take_along_axis(ours, kept, 1)))
    np.testing.assert_array_equal(stayed, np.minimum(stay, count))
    for each in fields(View):
        np.testing.assert_array_equal(getattr(view, each.name), getattr(before, each.name))


@pytest.mark.parametrize("policy", [each for each in SMALL if each.by_position], ids=str)
def test_positions_are_enough_where_a_policy_says_so(policy: Pruning) -> None:
    view = some(40)
    np.testing.assert_array_equal(policy.score(View(1, 3, view.positions)), policy.score(view))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("policy", SMALL, ids=str)
def test_half_formats_are_scored_in_a_wider_one(policy: Pruning, dtype: torch.dtype) -> None:
    view = turned(some(60, policy.window, 30), torch.from_numpy)
    halves = {name: getattr(view, name).to(dtype) for name in ("keys", "values", "queries")}
    half = View(1, 3, view.positions, **halves, attended=view.attended, keep=30)
    wide = View(1, 3, view.positions, **{k: v.float() for k, v in halves.items()}, attended=view.attended, keep=30)
    torch.testing.assert_close(policy.score(half), policy.score(wide))


@pytest.mark.parametrize("policy", SMALL, ids=str)
def test_all_is_computed_where_the_tensors_lie(policy: Pruning) -> None:
    """Tensors of torch's device without numbers, which refuses those of any other."""
    view = turned(some(60, policy.window, 30), lambda x: torch.from_numpy(x).to("meta"))
    kept = keep_highest(policy.score(view), 30)
    assert kept.device.type == "meta"
    assert kept.shape == (KV_HEADS, 30)


@pytest.mark.parametrize("pruned", [False, True], ids=["whole", "pruned"])
def test_weights_are_softmax_attention_to_what_a_query_can_see(pruned: bool) -> None:
    view = some(9, window=4, pruned=pruned)
    weights = view.weights()
    assert weights.shape == (KV_HEADS, HEADS // KV_HEADS, 4, 9)
    for head in range(HEADS):
        shared = head // (HEADS // KV_HEADS)
        for row in range(4):
            asked = view.positions[shared][-1] - 3 + row
            seen = [place for place in range(9) if view.positions[shared][place] <= asked]
            powers = [math.exp(view.queries[head, row] @ view.keys[shared, at] / math.sqrt(SIZE)) for at in seen]
            expected = np.zeros(9)
            expected[seen] = np.array(powers) / sum(powers)
            np.testing.assert_allclose(weights[shared, head % 2, row], expected, atol=1e-12)


@pytest.mark.parametrize(
    ("policy", "stays"),
    [
        (StreamingLLM(sinks=3), [0, 1, 2, 37, 38, 39]),
        (H2O(recent=0.25), [38, 39]),
        (TOVA(recent=2), [38, 39]),
        (SnapKV(window=6), [34, 35, 36, 37, 38, 39]),
        (SnapKV(window=32), [34, 35, 36, 37, 38, 39]),  # no more of the window than has room
        (KeyNorm(recent=1), [39]),
        (LagKV(sinks=2, lag=10), [0, 1, 36, 37, 38, 39]),
        (LagKV(sinks=2, lag=100), [0, 1, 36, 37, 38, 39]),
        (CurDKV(sinks=4), [0, 1, 2, 3]),
    ],
    ids=str,
)
def test_what_has_to_stay_stays(policy: Pruning, stays: list[int]) -> None:
    for seed in range(20):
        view = some(40, policy.window, keep=6, seed=seed)
        kept = keep_highest(policy.score(view), 6)
        assert all(set(stays) <= set(head) for head in kept.tolist())


@pytest.mark.parametrize(("kernel", "pooling"), [(1, "mean"), (4, "mean"), (5, "max"), (50, "mean"), (50, "max")])
def test_snap_kv_pools_what_the_window_pays(kernel: int, pooling: str) -> None:
    view, window = some(20, window=3), 3
    paid = view.weights().mean((1, 2))[:, : 20 - window]
    scores = SnapKV(window=window, kernel=kernel, pooling=pooling).score(view)
    for head in range(KV_HEADS):
        for place in range(20 - window):
            around = range(place - kernel // 2, place - kernel // 2 + kernel)
            values = [paid[head, at] if 0 <= at < 20 - window else 0.0 for at in around]
            expected = max(values) if pooling == "max" else sum(values) / kernel
            assert scores[head, place] == pytest.approx(expected)


@pytest.mark.parametrize("count", [10, 14, 15])
def test_chunks_stay_whole_but_for_the_last_that_fits(count: int) -> None:
    policy = ChunkKV(window=2, chunk=5)
    kept = keep_highest(policy.score(some(38, policy.window, count)), count)
    assert (kept == kept[0]).all()
    chunks = [set(range(first, min(first + 5, 38))) for first in range(0, 38, 5)]
    parts = [chunk & set(kept[0].tolist()) for chunk in chunks]
    assert sum(0 < len(part) < len(chunk) for part, chunk in zip(parts, chunks, strict=True)) <= 1
    assert parts[-1] == chunks[-1], "the window is in it"


def test_lag_kv_passes_over_elements_in_which_the_next_part_is_all_alike() -> None:
    states = np.array([[[0.0, 3, 7], [0.5, 0.5, 9], [0, 0, 5], [1, 1, 5]]])
    scores = LagKV(sinks=0, lag=2).score(View(0, 1, np.arange(4)[None], states, states))
    assert scores.tolist() == [[0.5, 0.0, 3.0, 4.0]]


def test_lag_kv_takes_equally_many_of_each_part() -> None:
    kept = keep_highest(LagKV(sinks=4, lag=10).score(some(57)), 4 + 13 + 4 * 3)  # sinks, the rest, three of each part
    for head in kept:
        assert np.histogram(head, [0, 4, 14, 24, 34, 44, 57])[0].tolist() == [4, 3, 3, 3, 3, 13]


@given(st.integers(1, 30), st.integers(1, 12))
def test_sums_of_chunks(tokens: int, size: int) -> None:
    x = np.random.default_rng(tokens).integers(0, 100, (2, tokens))
    expected = [[sum(row[at // size * size :][:size]) for at in range(tokens)] for row in x.tolist()]
    assert chunk_sums(x, size).tolist() == chunk_sums(torch.from_numpy(x), size).tolist() == expected


class TestRandom:
    def test_each_place_is_as_likely(self) -> None:
        """Of 200 tokens 100 stay, in 2,000 draws: each count within five standard deviations."""
        positions = np.tile(np.arange(200), (2, 1))
        kept = [keep_highest(RandomTokens(seed).score(View(0, 1, positions)), 100) for seed in range(1000)]
        counts = np.bincount(np.ravel(kept), minlength=200)
        assert abs(counts - 1000).max() < 5 * math.sqrt(2000 / 4)

    def test_heads_layers_and_seeds_differ(self) -> None:
        positions = np.tile(np.arange(400), (2, 1))
        drawn = [RandomTokens(seed).score(View(layer, 2, positions)) for seed in range(2) for layer in range(2)]
        for one, other in zip(*np.triu_indices(8, 1), strict=True):
            assert abs(np.corrcoef(np.concatenate(drawn)[[one, other]])[0, 1]) < 0.2

    def test_dropping_twice_is_dropping_once(self) -> None:
        positions = np.tile(np.arange(300), (2, 1))
        once = keep_highest(RandomTokens().score(View(0, 1, positions)), 50)
        first = keep_highest(RandomTokens().score(View(0, 1, positions[:, :200])), 50)
        later = np.concatenate([first, positions[:, 200:]], 1)
        again = keep_highest(RandomTokens().score(View(0, 1, later)), 50)
        np.testing.assert_array_equal(np.take_along_axis(later, again, 1), once)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SnapKV(window=0), "snap-kv: window is 0: "),
        (lambda: SnapKV(pooling="median"), 'snap-kv: pooling is "median": '),
        (lambda: H2O(recent=1.5), "h2o: recent is 1.5: "),
        (lambda: LagKV(lag=1), "lag-kv: lag is 1: "),
        (lambda: RandomTokens(seed=-1), "random: seed is -1: "),
    ],
)
def test_parameters_out_of_range_are_refused(make: Callable[[], Pruning], sentence: str) -> None:
    with pytest.raises(InputError, match=f"^{sentence}"):
        make()

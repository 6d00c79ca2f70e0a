"""The NumPy references against attention written as sums over single numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.attention import reference


def by_hand(q, k, v, looks_at):
    """Softmax attention from its definition; `looks_at(i, j)`: whether token i looks at token j."""
    new, heads, dim = q.shape
    tokens, kv_heads, _ = k.shape
    out = np.zeros(q.shape)
    for row in range(new):
        i = tokens - new + row
        for h in range(heads):
            shared = h * kv_heads // heads
            seen = [j for j in range(tokens) if looks_at(i, j)]
            dots = [sum(q[row, h, d] * k[j, shared, d] for d in range(dim)) / math.sqrt(dim) for j in seen]
            weights = [math.exp(dot) for dot in dots]
            for d in range(dim):
                out[row, h, d] = sum(w * v[j, shared, d] for w, j in zip(weights, seen, strict=True)) / sum(weights)
    return out


def some(seed, new, tokens, heads=4, kv_heads=2, dim=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(new, heads, dim)), *rng.normal(size=(2, tokens, kv_heads, dim))


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize(("new", "tokens"), [(1, 1), (1, 7), (3, 7), (7, 7)])
def test_standard_is_what_its_definition_says(kv_heads, new, tokens):
    q, k, v = some(0, new, tokens, kv_heads=kv_heads)
    np.testing.assert_allclose(reference.standard(q, k, v), by_hand(q, k, v, lambda i, j: j <= i), atol=1e-12)


@pytest.mark.parametrize("size", [1, 3, 9])
@pytest.mark.parametrize(("new", "tokens"), [(1, 1), (1, 7), (3, 7), (7, 7)])
def test_windows_and_blocks_are_what_their_definitions_say(size, new, tokens):
    q, k, v = some(0, new, tokens)
    got = reference.sliding_window(q, k, v, size)
    np.testing.assert_allclose(got, by_hand(q, k, v, lambda i, j: i - size < j <= i), atol=1e-12)
    got = reference.block_local(q, k, v, size)
    np.testing.assert_allclose(got, by_hand(q, k, v, lambda i, j: j <= i and i // size == j // size), atol=1e-12)


@given(st.data())
def test_pages_give_what_the_whole_gives_and_nothing_unwritten_is_read(data):
    length = data.draw(st.integers(1, 20))
    new = data.draw(st.integers(1, length))
    block_size = data.draw(st.integers(1, 6))
    q, k, v = some(length, new, length)
    pages = -(-length // block_size)
    table = data.draw(st.permutations(range(pages + 2)))[:pages]
    keys, values = np.full((2, pages + 2, block_size, 2, 3), np.nan)
    for place in range(length):
        block, offset = table[place // block_size], place % block_size
        keys[block, offset], values[block, offset] = k[place], v[place]
    got = reference.paged(q, keys, values, table, length)
    np.testing.assert_allclose(got, reference.standard(q, k, v), atol=1e-12)


def test_scores_too_large_for_a_plain_exponential():
    q, k, v = some(1, 2, 9)
    got = reference.paged(1000 * q, k.reshape(3, 3, 2, 3), v.reshape(3, 3, 2, 3), [0, 1, 2], 9)
    np.testing.assert_allclose(got, reference.standard(1000 * q, k, v), atol=1e-12)
    assert np.isfinite(got).all()


def test_block_local_is_another_function_unless_one_block_holds_all():
    q, k, v = some(2, 8, 8)
    whole = reference.standard(q, k, v)
    np.testing.assert_allclose(reference.block_local(q, k, v, 8), whole, atol=1e-12)
    np.testing.assert_allclose(reference.block_local(q, k, v, 4)[:4], whole[:4], atol=1e-12)
    assert np.abs(reference.block_local(q, k, v, 4)[4:] - whole[4:]).min(axis=(1, 2)).max() > 1e-3


def test_half_precision_is_computed_in_double():
    q, k, v = (x.astype(np.float16) for x in some(3, 5, 5))
    got = reference.standard(q, k, v)
    assert got.dtype == np.float64
    np.testing.assert_array_equal(got, reference.standard(*(x.astype(np.float64) for x in (q, k, v))))

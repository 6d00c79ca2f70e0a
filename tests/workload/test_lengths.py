"""Length distributions: what is drawn has the moments that are asked for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from simcore.errors import InputError
from simcore.scenario.distributions import Lengths
from simcore.workload.columns import Ints
from simcore.workload.lengths import draw_lengths

COUNT = 200_000


def both(prompt: dict[str, Any], output: dict[str, Any], count: int = COUNT, seed: int = 0) -> tuple[Ints, Ints]:
    """Prompt and output lengths."""
    lengths = TypeAdapter(Lengths).validate_python
    streams = np.random.default_rng(seed).spawn(2)
    return draw_lengths(lengths(prompt), lengths(output), count, *streams)


def drawn(count: int = COUNT, seed: int = 0, **lengths: Any) -> Ints:
    """Prompt lengths."""
    return both(lengths, {"distribution": "fixed"}, count, seed)[0]


@pytest.mark.parametrize(
    ("lengths", "mean", "cv"),
    [
        ({"distribution": "fixed", "tokens": 77}, 77.0, 0.0),
        ({"distribution": "uniform", "min": 1, "max": 6}, 3.5, np.sqrt(35 / 12) / 3.5),
        ({"distribution": "lognormal", "mean": 161.0, "cv": 0.876}, 161.0, 0.876),
        ({"distribution": "lognormal", "mean": 2000.0, "cv": 0.0}, 2000.0, 0.0),
        ({"distribution": "exponential", "mean": 1000.0}, 1000.0, np.sqrt(1 - 1e-3)),
        ({"distribution": "exponential", "mean": 2.5}, 2.5, np.sqrt(0.6)),
        ({"distribution": "exponential", "mean": 1.0}, 1.0, 0.0),
        ({"distribution": "pareto-mixture", "mean": 100.0, "cv": 0.5, "tail": 0.0}, 100.0, 0.5),
    ],
)
def test_lengths_have_the_mean_and_the_cv(lengths: dict[str, Any], mean: float, cv: float) -> None:
    sample = drawn(**lengths)
    assert sample.mean() == pytest.approx(mean, abs=3 * mean * cv / np.sqrt(COUNT))
    assert sample.std() == pytest.approx(mean * cv, rel=0.02)


def test_exponential_is_memoryless() -> None:
    sample = drawn(distribution="exponential", mean=50.0)
    tails = [np.mean(sample > length) for length in (50, 100, 150)]
    assert tails == pytest.approx([0.98**50, 0.98**100, 0.98**150], rel=0.03)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5])
def test_zipf_frequencies(exponent: float) -> None:
    sample = drawn(distribution="zipf", exponent=exponent, min=2, max=9)
    weight = np.arange(2.0, 10.0) ** -exponent
    expected = COUNT * weight / weight.sum()
    assert np.all(np.abs(np.bincount(sample, minlength=10)[2:] - expected) < 4 * np.sqrt(expected))


def test_pareto_mixture_has_the_body_and_the_tail() -> None:
    sample = drawn(
        distribution="pareto-mixture", mean=100.0, cv=0.5, tail=0.2, tail_start=1000.0, tail_index=2.5, max=10**7
    )
    above = [np.mean(sample > length) for length in (999, 2000, 4000)]
    assert above == pytest.approx([0.2, 0.2 * 2**-2.5, 0.2 * 4**-2.5], rel=0.06)
    assert sample.mean() == pytest.approx(0.8 * 100 + 0.2 * 1000 * 2.5 / 1.5, rel=0.02)


@pytest.mark.parametrize("distribution", ["lognormal", "exponential", "pareto-mixture"])
def test_limits_cut(distribution: str) -> None:
    free, cut = drawn(distribution=distribution), drawn(distribution=distribution, min=100, max=300)
    assert cut.tolist() == np.clip(free, 100, 300).tolist()
    assert (cut.min(), cut.max()) == (100, 300)


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Lengths that tell which request of the trace they are from; one has no output."""
    path = tmp_path / "lengths.csv"
    rows = "".join(f"{i},{1000 + i},{i % 5}\n" for i in range(1, 5))
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,1000,0\n" + rows, encoding="utf-8")
    return path


def test_lengths_of_a_trace_are_drawn_together(trace: Path) -> None:
    empirical = {"distribution": "empirical", "trace": str(trace)}
    prompt, output = both(empirical, empirical, 4000)
    assert (prompt - 1000).tolist() == output.tolist()
    assert np.all(np.abs(np.bincount(output)[1:] - 1000) < 4 * np.sqrt(750))


def test_lengths_of_a_trace_are_drawn_apart(trace: Path) -> None:
    empirical = {"distribution": "empirical", "trace": str(trace)}
    prompt, output = both(empirical, empirical | {"joint": False}, 4000)
    assert abs(np.corrcoef(prompt, output)[0, 1]) < 0.05
    assert set(prompt.tolist()) == {1001, 1002, 1003, 1004}
    assert set(output.tolist()) == {1, 2, 3, 4}


def test_limits_of_a_trace_s_lengths(trace: Path) -> None:
    empirical = {"distribution": "empirical", "trace": str(trace), "max": 1002}
    prompt, output = both(empirical, {"distribution": "fixed", "tokens": 9}, 1000)
    assert set(prompt.tolist()) == {1001, 1002}
    assert set(output.tolist()) == {9}


def test_a_trace_without_lengths(tmp_path: Path) -> None:
    path = tmp_path / "empty.csv"
    path.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,10,0\n", encoding="utf-8")
    with pytest.raises(InputError, match=r'empty\.csv" has no request with a prompt and an output'):
        drawn(distribution="empirical", trace=str(path))


TOKENS = st.integers(1, 10_000_000)
MEANS = st.floats(1, 1e7)
RANGES = st.tuples(TOKENS, TOKENS).map(sorted).map(lambda ends: {"min": ends[0], "max": ends[1]})
LENGTHS = st.one_of(
    st.fixed_dictionaries({"distribution": st.just("uniform")}),
    st.fixed_dictionaries({"distribution": st.just("lognormal"), "mean": MEANS, "cv": st.floats(0, 100)}),
    st.fixed_dictionaries({"distribution": st.just("exponential"), "mean": MEANS}),
    st.fixed_dictionaries(
        {
            "distribution": st.just("pareto-mixture"),
            "mean": MEANS,
            "cv": st.floats(0, 100),
            "tail": st.floats(0, 1),
            "tail_start": MEANS,
            "tail_index": st.floats(1.001, 100),
        }
    ),
)


@given(LENGTHS, RANGES, st.integers(1, 300), st.integers(0, 2**64))
def test_any_length_is_whole_and_in_range(
    lengths: dict[str, Any], limits: dict[str, int], count: int, seed: int
) -> None:
    sample = drawn(count, seed, **lengths, **limits)
    assert sample.shape == (count,)
    assert sample.dtype == np.int64
    assert sample.min() >= limits["min"]
    assert sample.max() <= limits["max"]
    assert sample.tolist() == drawn(count, seed, **lengths, **limits).tolist()


@given(st.integers(1, 5000), st.integers(0, 5000), st.floats(0, 10))
def test_any_zipf_is_in_range(low: int, more: int, exponent: float) -> None:
    sample = drawn(100, distribution="zipf", min=low, max=low + more, exponent=exponent)
    assert sample.min() >= low
    assert sample.max() <= low + more

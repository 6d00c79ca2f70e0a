"""Arrival processes: their rates, their CVs and what else is known of them in closed form."""

from hashlib import sha256
from math import gamma
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from simcore.scenario.arrivals import Arrivals
from simcore.scenario.distributions import Times
from simcore.workload.arrivals import arrive, draw_times, weibull_shape
from simcore.workload.columns import OPEN, Floats

COUNT = 200_000


def times(count: int = COUNT, seed: int = 0, **process: Any) -> Floats:
    """The arrivals of an open process."""
    arrival, after = arrive(TypeAdapter(Arrivals).validate_python(process), count, np.random.default_rng(seed))
    assert after is None
    return arrival


@pytest.mark.parametrize(
    ("process", "cv"),
    [
        ({"process": "poisson"}, 1.0),
        ({"process": "gamma", "cv": 0.3}, 0.3),
        ({"process": "gamma", "cv": 3.0}, 3.0),
        ({"process": "weibull", "cv": 0.5}, 0.5),
        ({"process": "weibull", "cv": 2.5}, 2.5),
    ],
)
@pytest.mark.parametrize("rate", [0.01, 2.0, 300.0])
def test_independent_gaps_have_the_rate_and_the_cv(process: dict[str, Any], cv: float, rate: float) -> None:
    gaps = np.diff(times(rate=rate, **process), prepend=0.0)
    error = cv / np.sqrt(COUNT)
    assert gaps.mean() * rate == pytest.approx(1, abs=3 * error)
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 3 / np.sqrt(COUNT)


def test_constant_arrivals_begin_at_zero() -> None:
    assert times(5, process="constant", rate=4.0).tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert times(3, process="constant", rate=3.0).tolist() == pytest.approx([0, 1 / 3, 2 / 3], abs=2**-21)


def test_all_at_once() -> None:
    assert times(3, process="all-at-once").tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("cv", "shape"),
    [(1.0, 1.0), (np.sqrt(5), 0.5), (np.sqrt(4 / np.pi - 1), 2.0), (np.sqrt(19), 1 / 3)],
)
def test_weibull_shape_of_known_cvs(cv: float, shape: float) -> None:
    assert weibull_shape(cv) == pytest.approx(shape, rel=1e-9)


@pytest.mark.parametrize("cv", [0.01, 100.0])
def test_weibull_shape_at_the_ends_of_the_range(cv: float) -> None:
    shape = weibull_shape(cv)
    assert gamma(1 + 2 / shape) / gamma(1 + 1 / shape) ** 2 - 1 == pytest.approx(cv**2, rel=1e-6)


@pytest.mark.parametrize(("base", "burst"), [(1.0, 10.0), (0.0, 20.0), (5.0, 0.5)])
def test_bursts_have_the_mean_rate_and_the_dispersion_of_the_modulated_process(base: float, burst: float) -> None:
    """Fischer and Meier-Hellstern, The MMPP cookbook, 1993: limits of the mean and the variance of the counts."""
    to_burst, to_base = 1 / 6.0, 1 / 2.0
    arrival = times(
        process="bursts", base_rate=base, burst_rate=burst, base_duration=1 / to_burst, burst_duration=1 / to_base
    )
    switching = to_burst + to_base
    rate = (base * to_base + burst * to_burst) / switching
    dispersion = 1 + 2 * (base - burst) ** 2 * to_burst * to_base / (switching**2 * (base * to_base + burst * to_burst))
    assert COUNT / arrival[-1] == pytest.approx(rate, rel=3 * np.sqrt(dispersion / COUNT))
    window = 100.0
    counts = np.bincount((arrival // window).astype(int))[:-1]
    error = 3 * np.sqrt(2 / len(counts)) + 1 / (switching * window)
    assert counts.var() / counts.mean() == pytest.approx(dispersion, rel=error)


def test_daily_rate_follows_the_cosine() -> None:
    arrival = times(process="daily", rate=10.0, peak_to_trough=5.0, period=240.0)
    days = int(arrival[-1] // 240)
    counts = np.bincount((arrival[arrival < days * 240] % 240 // 10).astype(int), minlength=24)
    swing, edges = 2 / 3, np.arange(25) / 24
    expected = 2400 * days * np.diff(edges - swing / (2 * np.pi) * np.sin(2 * np.pi * edges))
    assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected))
    assert counts[11:13].mean() / counts[[0, 23]].mean() == pytest.approx(5.0, rel=0.05)


def test_daily_without_a_swing_is_poisson() -> None:
    gaps = np.diff(times(process="daily", rate=2.0, peak_to_trough=1.0, period=100.0))
    assert gaps.mean() == pytest.approx(0.5, rel=3 / np.sqrt(COUNT))
    assert gaps.std() == pytest.approx(0.5, rel=0.02)


def test_users_of_a_closed_loop_take_turns() -> None:
    process = {"process": "closed-loop", "users": 3, "think": {"distribution": "uniform", "min": 1.0, "max": 2.0}}
    arrival, after = arrive(TypeAdapter(Arrivals).validate_python(process), 8, np.random.default_rng(0))
    assert after is not None
    assert after.tolist() == [OPEN, OPEN, OPEN, 0, 1, 2, 3, 4]
    assert arrival[0] <= arrival[1] <= arrival[2]
    assert np.all((arrival >= 1) & (arrival <= 2))


def test_more_users_than_requests() -> None:
    arrival, after = arrive(
        TypeAdapter(Arrivals).validate_python({"process": "closed-loop", "users": 10}), 4, np.random.default_rng(0)
    )
    assert after is not None
    assert after.tolist() == [OPEN] * 4
    assert np.all(np.diff(arrival) >= 0)


@pytest.mark.parametrize(
    ("think", "mean", "cv"),
    [
        ({"distribution": "fixed", "seconds": 2.5}, 2.5, 0.0),
        ({"distribution": "uniform", "min": 1.0, "max": 4.0}, 2.5, np.sqrt(0.75) / 2.5),
        ({"distribution": "exponential", "mean": 7.0}, 7.0, 1.0),
        ({"distribution": "exponential", "mean": 0.0}, 0.0, 0.0),
        ({"distribution": "lognormal", "mean": 3.0, "cv": 1.5}, 3.0, 1.5),
    ],
)
def test_times_have_the_mean_and_the_cv(think: dict[str, Any], mean: float, cv: float) -> None:
    drawn = draw_times(TypeAdapter(Times).validate_python(think), COUNT, np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(mean, abs=1e-6 + 3 * mean * cv / np.sqrt(COUNT))
    assert drawn.std() == pytest.approx(mean * cv, rel=0.05)


RATES = st.floats(1e-6, 1e5)
CVS = st.floats(0.01, 100)
PROCESSES = st.one_of(
    st.fixed_dictionaries({"process": st.sampled_from(["constant", "poisson"]), "rate": RATES}),
    st.fixed_dictionaries({"process": st.sampled_from(["gamma", "weibull"]), "rate": RATES, "cv": CVS}),
    st.fixed_dictionaries(
        {
            "process": st.just("bursts"),
            "base_rate": st.floats(0, 100),
            "burst_rate": st.floats(1, 1e5),
            "base_duration": st.floats(1e-3, 1e6),
            "burst_duration": st.floats(1, 1e6),
        }
    ),
    st.fixed_dictionaries(
        {
            "process": st.just("daily"),
            "rate": RATES,
            "peak_to_trough": st.floats(1, 1e6),
            "period": st.floats(1, 1e7),
        }
    ),
    st.just({"process": "all-at-once"}),
)


@given(PROCESSES, st.integers(1, 500), st.integers(0, 2**64))
def test_any_open_process_is_sorted_on_the_grid_and_repeatable(process: dict[str, Any], count: int, seed: int) -> None:
    arrival = times(count, seed, **process)
    assert arrival.shape == (count,)
    assert arrival.dtype == np.float64
    assert arrival[0] >= 0
    assert np.all(np.isfinite(arrival))
    assert np.all(np.diff(arrival) >= 0)
    assert np.all(arrival[arrival < 2**32] * 2**20 % 1 == 0)
    assert arrival.tobytes() == times(count, seed, **process).tobytes()


@given(PROCESSES, st.integers(2, 300))
def test_fewer_requests_are_the_first_ones(process: dict[str, Any], count: int) -> None:
    whole = times(count, **process)
    assert times(count - 1, **process).tolist() == whole[:-1].tolist()


@pytest.mark.parametrize(
    ("process", "digest"),
    [
        ({"process": "poisson"}, "a7f711c4f27d6f79"),
        ({"process": "gamma"}, "77883ee023a2aa9a"),
        ({"process": "weibull"}, "5886fd33bd126851"),
        ({"process": "bursts"}, "93f46572bf35410c"),
        ({"process": "daily"}, "4800e6d71770c1b2"),
    ],
)
def test_same_bits_on_every_platform(process: dict[str, Any], digest: str) -> None:
    arrival = times(10_000, seed=1, **process)
    assert sha256(arrival.astype("<f8").tobytes()).hexdigest()[:16] == digest

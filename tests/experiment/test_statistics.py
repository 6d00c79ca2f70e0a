"""What is said of replications holds as often as it claims to. All seeds are fixed, and printed with what they gave."""

import math

import numpy as np
import pytest
from scipy import stats

from simcore import Scenario, compare
from simcore.experiment import Experiment, Factor
from simcore.experiment.comparison import TOO_FEW
from simcore.experiment.statistics import (
    MOST_NEEDED,
    Pool,
    holm,
    mser5,
    replications_needed,
    sketch,
    t_interval,
    t_test,
)
from tests.experiment.waiting import compared, expected_wait, mm1

REPETITIONS = 500


def test_waits_are_the_simulators() -> None:
    """What the other tests compute for thousands of runs is what a run gives, but for the rounding to ticks."""
    experiment = Experiment(mm1(200, 0.4), (Factor("seed", (0, 1)),), replications=3)
    simulated = compare(experiment.scenario, {"seed": [0, 1]}, replications=3, jobs=1)
    assert simulated.runs["key"].to_list() == compared(experiment).runs["key"].to_list()
    ours = compared(experiment).runs["queue.mean"].to_list()
    assert simulated.runs["queue.mean"].to_list() == pytest.approx(ours, rel=1e-8)


def test_an_interval_holds_the_truth() -> None:
    """M/M/1, 2000 requests, 10 replications: the 95 % interval holds the expected wait 465 to 485 times in 500."""
    seeds = tuple(range(REPETITIONS))
    intervals = compared(Experiment(mm1(2000, 0.4), (Factor("seed", seeds),), 10)).intervals("queue.mean")
    truth = expected_wait(2000, 0.4)
    assert truth == pytest.approx(0.4 / 0.6, rel=0.002), "nearly the textbook's, of a queue that began long ago"
    held = int(((intervals["low"] <= truth) & (truth <= intervals["high"])).sum())
    print(f"M/M/1, seeds 0 to {REPETITIONS - 1}: {held} of {REPETITIONS} intervals hold {truth:.4f} s")
    assert 465 <= held <= 485


def test_equal_policies_are_not_told_apart() -> None:
    """Random eviction under two seeds that share no stream: at most 37 verdicts in 500, through the whole simulator."""
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": 100, "eviction": "random"},
            "scheduler": {"max_model_len": 1024},
            "timing": {"model": "constant", "step": 0.02},
            "workload": {
                "requests": 20,
                "arrivals": {"process": "poisson", "rate": 20.0},
                "prompt": {"distribution": "fixed", "tokens": 64},
                "output": {"distribution": "fixed", "tokens": 2},
                "conversations": {
                    "system_tokens": 64,
                    "system_prompts": 10,
                    "think": {"distribution": "exponential", "mean": 0.2},
                },
            },
        }
    )
    told = 0
    for first in range(0, 2 * REPETITIONS, 2):
        paired = compare(scenario, {"seed": [first, first + 1]}, replications=4, jobs=1).paired("hits.hit_share")
        told += paired["verdict"].item() != TOO_FEW
    print(f"A/A, seeds 0 to {2 * REPETITIONS - 1}: {told} of {REPETITIONS} pairs were told apart")
    assert 10 <= told <= 37


def test_a_real_difference_is_found() -> None:
    """A true difference of four standard errors, of two rates on common random numbers, is found 450 times in 500."""
    requests, rates, replications = 76, (0.4, 0.42), 10
    true = expected_wait(requests, rates[1]) - expected_wait(requests, rates[0])
    found, differences = 0, []
    for seed in range(REPETITIONS):
        experiment = Experiment(mm1(requests, rates[0], seed), (Factor("workload.arrivals.rate", rates),), replications)
        comparison = compared(experiment)
        found += comparison.paired("queue.mean")["verdict"].item() == "higher"
        low, high = (list(comparison.values(setting, "queue.mean").values()) for setting in experiment.settings)
        differences += [more - less for less, more in zip(low, high, strict=True)]
    errors = true / (float(np.std(differences)) / math.sqrt(replications))
    print(
        f"rates, seeds 0 to {REPETITIONS - 1}: {found} of {REPETITIONS} differences of {errors:.2f} errors were found"
    )
    assert errors == pytest.approx(4, abs=0.1)
    assert found >= 450


def test_t_intervals_and_tests_are_scipys() -> None:
    values = np.random.default_rng(5).normal(0.3, 1, 12).tolist()
    found = t_interval(values, 0.9)
    expected = stats.t.interval(0.9, 11, np.mean(values), stats.sem(values))
    assert (found.low, found.high) == pytest.approx(expected)
    assert t_test(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_too_few_values_have_no_interval() -> None:
    assert (t_interval([], 0.95).mean, t_interval([2.0], 0.95).mean) == (None, 2.0)
    assert t_interval([2.0], 0.95).low is None
    assert t_test([2.0]) is None


def test_equal_differences_leave_nothing_to_chance() -> None:
    assert (t_test([1.0, 1.0]), t_test([0.0, 0.0])) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    """4 x 0.01, 3 x 0.02, 2 x 0.03 (which the one before it exceeds not), 1 x 0.2; None has no part in it."""
    assert holm([0.03, None, 0.01, 0.2, 0.02]) == pytest.approx([0.06, None, 0.04, 0.2, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


@pytest.mark.parametrize("ratio", [0.3, 1.0, 3.0])
def test_the_replications_that_are_needed_find_it_four_times_in_five(ratio: float) -> None:
    """The exact power of the test, by the noncentral t distribution, for a mean of so many standard deviations."""
    n = replications_needed(ratio, 1.0, 0.05)
    power = stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, ratio * math.sqrt(n))
    assert power > 0.75
    assert n < 1.3 * (2.8 / ratio) ** 2 + 4
    assert replications_needed(0.0, 1.0, 0.05) == MOST_NEEDED


def test_mser5_finds_where_a_transient_ends() -> None:
    draws = np.random.default_rng(0)
    transient = draws.normal(size=1000) + 10 * np.exp(-np.arange(1000) / 50)
    first, steady = mser5(transient)
    assert steady
    assert 100 <= first <= 250
    assert mser5(draws.normal(size=1000)) == (0, True)


def test_mser5_minimizes_by_definition() -> None:
    series = np.random.default_rng(1).exponential(size=203) + np.linspace(3, 0, 203)
    means = series[:200].reshape(40, 5).mean(axis=1)
    scores = [((means[d:] - means[d:].mean()) ** 2).sum() / (40 - d) ** 2 for d in range(21)]
    assert mser5(series)[0] == 5 * int(np.argmin(scores))


def test_mser5_says_that_a_series_never_settles() -> None:
    assert mser5(np.arange(1000.0)) == (500, False)
    assert mser5(np.zeros(3)) == (0, False)


def test_few_values_are_pooled_exactly() -> None:
    draws = np.random.default_rng(2)
    runs = [draws.exponential(size=300) for _ in range(4)]
    pool = Pool.of([sketch(run) for run in runs])
    shares = np.array([0.0, 0.25, 0.5, 0.99, 1.0])
    assert pool.quantiles(shares) == pytest.approx(np.quantile(np.concatenate(runs), shares))


def test_a_sketch_of_many_values_is_close() -> None:
    """One run of 20,000 and one of 5000: each weighs as much as it has values."""
    draws = np.random.default_rng(3)
    runs = [draws.exponential(size=20_000), draws.exponential(3.0, size=5000)]
    pool = Pool.of([sketch(run) for run in runs])
    assert pool.quantiles(np.array([0.5, 0.9, 0.99])) == pytest.approx(
        np.quantile(np.concatenate(runs), [0.5, 0.9, 0.99]), rel=0.03
    )


def test_values_that_occur_often_are_sketched_as_if_listed() -> None:
    values, times = np.array([3.0, 1.0, 2.0]), np.array([700, 200, 300])
    assert sketch(values, times) == sketch(np.repeat(values, times))
    assert sketch(values, times // 100) == (12, [1.0] * 2 + [2.0] * 3 + [3.0] * 7)


def test_a_bootstrap_draws_whole_runs() -> None:
    """Equal runs have nothing to vary; of different ones the interval spans them."""
    assert Pool.of([(2, [1.0, 2.0])] * 5).bootstrap(0.5, 0.95) == (1.5, 1.5)
    low, high = Pool.of([(2, [float(i), float(i)]) for i in range(20)]).bootstrap(0.5, 0.95) or (0, 0)
    assert 3 < low < 9.5 < high < 16
    assert Pool.of([(1, [1.0])]).bootstrap(0.5, 0.95) is None

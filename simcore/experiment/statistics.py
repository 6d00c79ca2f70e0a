"""What may be said of a few replications: intervals, paired tests, and how long a warm-up lasts."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

BATCH = 5
"""Observations of a batch of MSER-5."""
POWER = 0.8
"""The chance to tell a difference that the number of replications is recommended for."""
MOST_NEEDED = 1_000_000
"""No more replications than this are ever recommended."""
GRID = np.linspace(0.0, 1.0, 401)
"""The quantiles that stand for a distribution of more values than these."""
RESAMPLES = 1000


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and how far it is known. Without two values there are no bounds."""

    n: int
    mean: float | None
    sd: float | None
    low: float | None
    high: float | None


def t_interval(values: Sequence[float], confidence: float) -> Interval:
    """Student's interval for the mean of independent replications."""
    n = len(values)
    if n < 2:
        return Interval(n, float(values[0]) if n else None, None, None, None)
    if min(values) == max(values):  # of which numpy's mean may be off in the last digit
        return Interval(n, float(values[0]), 0.0, float(values[0]), float(values[0]))
    mean, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    half = _t_quantile(0.5 + confidence / 2, n - 1) * sd / n**0.5
    return Interval(n, mean, sd, mean - half, mean + half)


def t_test(differences: Sequence[float]) -> float | None:
    """The two-sided p-value of a mean of 0; None with fewer than two differences.

    Differences that are all equal leave nothing to chance: 0, or 1 where they are 0.
    """
    n = len(differences)
    if n < 2:
        return None
    if min(differences) == max(differences):
        return float(differences[0] == 0)
    mean, sd = float(np.mean(differences)), float(np.std(differences, ddof=1))
    from scipy.special import stdtr

    return float(2 * stdtr(n - 1, -abs(mean) / (sd / n**0.5)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p-values for all comparisons together (Holm 1979, https://www.jstor.org/stable/4615733); None stays None."""
    places = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(places):
        highest = max(highest, min(1.0, (len(places) - rank) * p))
        adjusted[place] = highest
    return adjusted


def replications_needed(mean: float, sd: float, level: float) -> int:
    """How many replications tell a difference like this from 0 at a level, with a chance of 80 %; 2 or more."""
    if mean == 0:
        return MOST_NEEDED
    low, high = 2, MOST_NEEDED
    while low < high:
        n = (low + high) // 2
        if (_t_quantile(1 - level / 2, n - 1) + _t_quantile(POWER, n - 1)) * sd / n**0.5 <= abs(mean):
            high = n
        else:
            low = n + 1
    return low


def mser5(series: Floats) -> tuple[int, bool]:
    """How many observations to leave out at the beginning, by MSER-5, and whether what is left is steady.

    The remainder is chosen, in batches of 5, that has the least variance over its squared length (White 1997,
    https://doi.org/10.1177/003754979706900601). At most half is left out: a minimum in the second half means that the
    series is too short, or never steady.
    """
    batches = len(series) // BATCH
    if batches < 2:
        return 0, False
    means = series[: batches * BATCH].reshape(batches, BATCH).mean(axis=1)
    means = means - means.mean()  # large common parts cost digits
    left = np.arange(batches, 0, -1)
    total, squares = np.cumsum(means[::-1])[::-1], np.cumsum(means[::-1] ** 2)[::-1]
    score = np.maximum(squares - total**2 / left, 0.0) / left.astype(float) ** 2
    half = batches // 2 + 1
    best = int(np.argmin(score[:half]))
    later = score[half : batches - BATCH + 1]  # a few batches are alike by chance
    return best * BATCH, bool(later.min(initial=np.inf) >= score[best])


def sketch(values: Floats, times: NDArray[np.int64] | None = None) -> tuple[int, list[float]]:
    """How many values there are, and themselves in order, or 401 quantiles of them if they are more.

    `times`: how often each occurs.
    """
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    upto = np.arange(1, len(values) + 1) if times is None else np.cumsum(times[order])
    count = int(upto[-1]) if len(upto) else 0
    if count <= len(GRID):
        return count, (ordered if times is None else np.repeat(ordered, times[order])).tolist()
    place = GRID * (count - 1)
    low, high = (ordered[np.searchsorted(upto, ends, side="right")] for ends in (np.floor(place), np.ceil(place)))
    return count, (low + (place - np.floor(place)) * (high - low)).tolist()


@dataclass(frozen=True)
class Pool:
    """The distributions of several runs, together: each run's sketch weighs as much as it has values."""

    values: Floats
    """sorted"""
    weights: Floats
    run: NDArray[np.int64]
    """which run a value is of"""

    @classmethod
    def of(cls, sketches: Sequence[tuple[int, Sequence[float]]]) -> "Pool":
        """Runs without a value do not count."""
        kept = [(count, values) for count, values in sketches if values]
        if not kept:
            return cls(np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
        values = np.concatenate([np.asarray(values, float) for _, values in kept])
        weights = np.concatenate([_weights(count, len(values)) for count, values in kept])
        run = np.repeat(np.arange(len(kept)), [len(values) for _, values in kept])
        order = np.argsort(values, kind="stable")
        return cls(values[order], weights[order], run[order])

    def quantiles(self, shares: Floats) -> Floats:
        """Quantiles, by linear interpolation between the middles of the weights."""
        return self._quantiles(self.weights, shares)

    def bootstrap(self, share: float, confidence: float, seed: int = 0) -> tuple[float, float] | None:
        """The percentile interval of a quantile; whole runs are drawn again, as requests of one run depend on another.

        None: fewer than two runs. Efron and Tibshirani 1993, chapter 13.
        """
        runs = int(self.run.max(initial=-1)) + 1
        if runs < 2:
            return None
        drawn = np.random.default_rng(seed).multinomial(runs, np.full(runs, 1 / runs), RESAMPLES)
        wanted = np.array([share])
        found = [self._quantiles(self.weights * times[self.run], wanted)[0] for times in drawn]
        low, high = np.quantile(found, [0.5 - confidence / 2, 0.5 + confidence / 2])
        return float(low), float(high)

    def _quantiles(self, weights: Floats, shares: Floats) -> Floats:
        there = weights > 0
        values, weights = self.values[there], weights[there]
        upto = np.cumsum(weights)
        middle = upto - weights / 2
        span = middle[-1] - middle[0]
        if span <= 0:
            return np.full(len(shares), values[0])
        found: Floats = np.interp(middle[0] + shares * span, middle, values)
        return found


def _weights(count: int, kept: int) -> Floats:
    """What each of a sketch's values stands for; the least and the greatest of a grid have neighbors on one side."""
    if count == kept:
        return np.ones(kept)
    weights = np.full(kept, count / (kept - 1))
    weights[[0, -1]] /= 2
    return weights


def _t_quantile(share: float, freedom: int) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, share))

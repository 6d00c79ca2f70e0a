"""The highest rate of arrivals that keeps an objective, by bisection: points of a goodput curve."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isclose, sqrt
from pathlib import Path
from typing import TYPE_CHECKING

from simcore.errors import InputError
from simcore.experiment.asked import Condition
from simcore.experiment.comparison import Comparison, do, gather
from simcore.experiment.design import Experiment, Factor, Run, Setting
from simcore.experiment.progress import Watcher
from simcore.experiment.statistics import t_interval
from simcore.experiment.store import Store
from simcore.experiment.workers import Workers
from simcore.scenario import Scenario

if TYPE_CHECKING:
    import polars as pl

LOWEST, HIGHEST = 1e-6, 1e5
"""Requests per second, or times as fast, between which a rate is searched."""
FIRST_STEP = 2.0
"""Up and down from the scenario's own rate, until one rate keeps the objective and one does not."""
FEW_STEPS = 3
"""So many steps up that all keep it; then the highest rate tells whether there is one that does not."""
NEAR = 4.0
"""So many times the rate that was found, and one part of it, are tried for a sure verdict."""
TRACE_KEY, DRAWN_KEY = "workload.rate_scale", "workload.arrivals.rate"


@dataclass(frozen=True)
class Goodput:
    """What was found for one setting. Rates are in requests/s, or times a trace's own speed."""

    setting: Setting
    rate: float | None
    """the highest rate tried at which the means over the replications keep every limit; None: not even the lowest"""
    sure: float | None
    """the highest rate tried up to which the whole intervals keep every limit; None: at none"""
    broken: float | None
    """the lowest rate tried from which on the interval of a metric lies beyond its limit; None: at none"""
    tried: "pl.DataFrame"
    """each rate tried: rate, runs (done), verdict (kept, broken, too close to tell), and for each metric its mean, low
    and high"""


def rate_key(scenario: Scenario) -> str:
    """The key of the rate. Raises InputError where the workload has none."""
    if scenario.workload.trace is not None and scenario.workload.arrivals is None:
        return TRACE_KEY
    if getattr(scenario.workload.arrivals, "rate", None) is None:
        process = getattr(scenario.workload.arrivals, "process", "none")
        raise InputError(f"workload.arrivals: {process} has no rate that could be searched")
    return DRAWN_KEY


def highest_rates(
    experiment: Experiment,
    conditions: Sequence[Condition],
    *,
    tolerance: float = 0.02,
    jobs: int | None = None,
    cluster: str | None = None,
    store: str | Path | Store | None = None,
    progress: Watcher | None = None,
) -> list[Goodput]:
    """For each setting, the highest rate that keeps all conditions, known to a share `tolerance` of it.

    Every rate is run with all replications, which meet the same random numbers at each rate. It is assumed that what
    is kept at one rate is kept at every lower one. Raises InputError.
    """
    if not conditions:
        raise InputError("a search for the highest rate needs a condition, as in e2e.p99 < 2s")
    searches = [_Search(setting, conditions, experiment, tolerance) for setting in experiment.settings]
    with Workers(jobs, cluster) as workers:
        while asked := [search for search in searches if search.next is not None]:
            runs = {search.setting.index: search.runs() for search in asked}
            wanted = [run for each in runs.values() for run in each]
            found = do(wanted, workers, experiment.policies, store=store, progress=progress)
            for search in asked:
                search.learn(gather(search.trial, runs[search.setting.index], found))
    return [search.result() for search in searches]


class _Search:
    """Doubles or halves the rate until it is bracketed, then takes the geometric middle."""

    def __init__(
        self, setting: Setting, conditions: Sequence[Condition], experiment: Experiment, tolerance: float
    ) -> None:
        self.setting = setting
        self._conditions = conditions
        self._experiment = experiment
        self._tolerance = tolerance
        self._key = rate_key(setting.scenario)
        section = setting.scenario.workload
        own = section.rate_scale if self._key == TRACE_KEY else getattr(section.arrivals, "rate", None)
        self.next: float | None = _short(float(own or 1.0))
        self._kept: float | None = None
        self._broken: float | None = None
        self._rows: list[dict[str, float | str | int | None]] = []

    def runs(self) -> list[Run]:
        """Of the rate that is tried next."""
        assert self.next is not None
        factor = Factor(self._key, (self.next,))
        self.trial = replace(self._experiment, scenario=self.setting.scenario, factors=(factor,), baseline=None)
        return list(self.trial.runs())

    def learn(self, comparison: Comparison) -> None:
        """Take in what came of it, and choose the next rate."""
        rate = self.next
        assert rate is not None
        kept = self._judge(rate, comparison)
        if kept:
            self._kept = max(rate, self._kept or rate)
        else:
            self._broken = min(rate, self._broken or rate)
        self.next = self._choose()

    def _choose(self) -> float | None:
        kept, broken = self._kept, self._broken
        if kept is None:
            assert broken is not None
            ended = broken <= LOWEST or self._idles()
            return None if ended else _short(max(broken / FIRST_STEP, LOWEST))
        above = _short(min(kept * FIRST_STEP, HIGHEST))
        if broken is None:
            if kept >= HIGHEST:
                return None
            return above if len(self._rows) <= FEW_STEPS else HIGHEST
        if broken >= HIGHEST > above:  # that all at once breaks it says little of where it breaks
            return above
        middle = _short(sqrt(kept * broken))
        if broken <= kept * (1 + self._tolerance) or not kept < middle < broken:
            return self._bound(kept)
        return middle

    def _bound(self, found: float) -> float | None:
        """When the rate is found: one on either side of it whose verdict is sure, if there is one near."""
        verdicts = {float(row["rate"] or 0): row["verdict"] for row in self._rows if row["rate"] != HIGHEST}
        highest, lowest = max(verdicts), min(verdicts)
        if verdicts[highest] != "broken" and highest < min(found * NEAR, HIGHEST / FIRST_STEP):
            return _short(highest * FIRST_STEP)
        if verdicts[lowest] != "kept" and lowest > max(found / NEAR, LOWEST * FIRST_STEP):
            return _short(lowest / FIRST_STEP)
        return None

    def _idles(self) -> bool:
        """Whether a lower rate changes nothing any more: so rarely do requests meet."""
        means = [[row[c.metric.name] for c in self._conditions] for row in self._rows[-3:]]
        return len(means) == 3 and all(
            x is not None and y is not None and isclose(float(x), float(y), rel_tol=1e-3)
            for others in means[:2]
            for x, y in zip(others, means[2], strict=True)
        )

    def _judge(self, rate: float, comparison: Comparison) -> bool:
        """Whether the means keep every limit. A run that stalls keeps none."""
        (setting,) = comparison.experiment.settings
        done = int((comparison.runs["status"] == "done").sum())
        failed = comparison.runs.filter(comparison.runs["status"] == "failed")
        if len(failed):
            raise InputError(f"{self.setting.label}, at a rate of {rate:g}: {failed['error'][0]}")
        kept, sure, beyond = done == len(comparison.runs), done == len(comparison.runs), done < len(comparison.runs)
        row: dict[str, float | str | int | None] = {"rate": rate, "runs": done}
        for condition in self._conditions:
            found = t_interval(list(comparison.values(setting, condition.metric).values()), self._experiment.confidence)
            row |= {f"{condition.metric.name}": found.mean}
            row |= {f"{condition.metric.name}.low": found.low, f"{condition.metric.name}.high": found.high}
            kept &= found.mean is not None and condition.holds(found.mean)
            ends = [end for end in (found.low, found.high) if end is not None]
            sure &= bool(ends) and all(map(condition.holds, ends))
            beyond |= bool(ends) and not any(map(condition.holds, ends))
        verdict = "kept" if sure and kept else "broken" if beyond else "too close to tell"
        self._rows.append(row | {"verdict": verdict})
        return kept

    def result(self) -> Goodput:
        """When nothing is left to try."""
        import polars as pl

        rows = sorted(self._rows, key=lambda row: float(row["rate"] or 0))
        names = [f"{c.metric.name}{end}" for c in self._conditions for end in ("", ".low", ".high")]
        schema = {"rate": pl.Float64, "runs": pl.Int64, "verdict": pl.String} | dict.fromkeys(names, pl.Float64)
        tried = pl.DataFrame(rows, schema)
        unsure = [float(row["rate"] or 0) for row in rows if row["verdict"] != "kept"]
        fine = [float(row["rate"] or 0) for row in rows if row["verdict"] != "broken"]
        sure = [float(row["rate"] or 0) for row in rows if float(row["rate"] or 0) < min(unsure, default=float("inf"))]
        broken = [float(row["rate"] or 0) for row in rows if float(row["rate"] or 0) > max(fine, default=0.0)]
        return Goodput(self.setting, self._kept, max(sure, default=None), min(broken, default=None), tried)


def _short(rate: float) -> float:
    """A rate as a person writes it, so that it can be asked for again."""
    return float(f"{rate:.5g}")

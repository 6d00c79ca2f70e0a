"""An experiment that has been run, and what it says."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore.errors import InputError
from simcore.experiment.design import Experiment, Factor, Run, Setting, level_label
from simcore.experiment.measures import BY_NAME, LATENCIES, METRICS, PERCENTILES, Metric
from simcore.experiment.play import DONE, Outcome, PolicyFile, Task
from simcore.experiment.progress import Watcher
from simcore.experiment.statistics import (
    MOST_NEEDED,
    Pool,
    holm,
    replications_needed,
    t_interval,
    t_test,
)
from simcore.experiment.store import Store
from simcore.experiment.workers import Workers
from simcore.scenario import Scenario
from simcore.scenario.policies import load_policy

if TYPE_CHECKING:
    import polars as pl

SAME, TOO_FEW = "same", "too few replications to tell"
SHARES = np.linspace(0.0, 1.0, 101)


def _no_frame() -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame()


@dataclass(frozen=True)
class Comparison:
    """The runs of an experiment. Only runs that are done count in what is said of them."""

    experiment: Experiment
    runs: "pl.DataFrame"
    """one row a run: setting, label, a column for each factor, replication, seed, with windows their start and end (s
    of the trace), key, status (done, stalled or failed, with a sentence in error), warmup (s), and a column for each
    metric; null: it does not exist there"""
    samples: "pl.DataFrame"
    """setting, metric (ttft, tpot, e2e, queue, itl), q (0, 0.01, ... 1), value (s): quantiles over all replications"""
    latencies: "pl.DataFrame" = field(default_factory=_no_frame)
    """setting, replication, metric, count, values: of each run a sketch of its latencies (s), for `pooled`"""

    def metrics(self) -> list[Metric]:
        """Those that have a value in a run that is done."""
        done = self._done
        return [metric for metric in METRICS if metric.name in done.columns and done[metric.name].count()]

    @cached_property
    def _done(self) -> "pl.DataFrame":
        return self.runs.filter(self.runs["status"] == DONE)

    def values(self, setting: Setting, metric: str | Metric) -> dict[int, float]:
        """The value of each replication that is done and has one."""
        name = _name(metric)
        rows = self._done.filter(self._done["setting"] == setting.index)
        pairs = zip(rows["replication"].to_list(), rows[name].to_list(), strict=True)
        return {replication: value for replication, value in pairs if value is not None}

    def intervals(self, metric: str | Metric) -> "pl.DataFrame":
        """Of each setting: setting, label, n, mean, sd, low, high, steady.

        Student's interval over the replications, at the confidence of the experiment. `steady` is false with fewer
        than two replications: there is no interval.
        """
        import polars as pl

        rows = []
        for setting in self.experiment.settings:
            values = list(self.values(setting, metric).values())
            found = t_interval(values, self.experiment.confidence)
            rows.append(
                (setting.index, setting.label, found.n, found.mean, found.sd, found.low, found.high, found.n > 1)
            )
        schema = {"setting": pl.Int64, "label": pl.String, "n": pl.Int64}
        schema |= dict.fromkeys(("mean", "sd", "low", "high"), pl.Float64) | {"steady": pl.Boolean}
        return pl.DataFrame(rows, schema, orient="row")

    def paired(self, metric: str | Metric) -> "pl.DataFrame":
        """Each setting against its baseline, replication by replication: both met the same random numbers.

        Columns: setting, label, baseline_label, n, difference (setting minus baseline), low, high (Student's interval
        of this difference alone), p, p_adjusted (Holm over the settings), verdict, needed. The verdict is `lower` or
        `higher` where p_adjusted is small enough for the confidence, `same` where all differences are 0, and otherwise
        `too few replications to tell`; then `needed` replications would tell a difference of this size with a chance
        of 80 %, if it is one.
        """
        import polars as pl

        level = 1 - self.experiment.confidence
        pairs, differences = [], []
        for setting in self.experiment.settings:
            baseline = self.experiment.baseline_of(setting)
            if baseline.index == setting.index:
                continue
            ours, theirs = self.values(setting, metric), self.values(baseline, metric)
            pairs.append((setting, baseline))
            differences.append([ours[each] - theirs[each] for each in ours if each in theirs])
        p_values = [t_test(values) for values in differences]
        rows = []
        for (setting, baseline), values, p, adjusted in zip(pairs, differences, p_values, holm(p_values), strict=True):
            found, needed = t_interval(values, self.experiment.confidence), None
            if p is None or adjusted is None or found.mean is None or found.sd is None:
                verdict = TOO_FEW
            elif not any(values):
                verdict = SAME
            elif adjusted < level:
                verdict = "lower" if found.mean < 0 else "higher"
            else:
                verdict = TOO_FEW
                times = adjusted / p if p else 1.0
                needed = max(replications_needed(found.mean, found.sd, level / max(times, 1.0)), found.n + 1)
                needed = min(needed, MOST_NEEDED)
            said = found.n, found.mean, found.low, found.high, p, adjusted, verdict, needed
            rows.append((setting.index, setting.label, baseline.label, *said))
        schema = {"setting": pl.Int64, "label": pl.String, "baseline_label": pl.String, "n": pl.Int64}
        schema |= dict.fromkeys(("difference", "low", "high", "p", "p_adjusted"), pl.Float64)
        return pl.DataFrame(rows, schema | {"verdict": pl.String, "needed": pl.Int64}, orient="row")

    def percentiles(self) -> list[Metric]:
        """The metrics that `pooled` answers for."""
        return [each for each in self.metrics() if each.name in PERCENTILES]

    def pooled(self, metric: str | Metric) -> "pl.DataFrame":
        """A percentile over the requests of all replications: setting, label, n (requests), value, low, high (s).

        `metric` is one of a latency's percentiles, as `ttft.p99`. The interval is a bootstrap's over whole
        replications, so it needs many of them; without two there is none. Raises ValueError for another metric.
        """
        import polars as pl

        if _name(metric) not in PERCENTILES:
            raise ValueError(f"{_name(metric)} is no percentile of a latency")
        latency, share = PERCENTILES[_name(metric)]
        rows: list[tuple[int, str, int, float | None, float | None, float | None]] = []
        for setting in self.experiment.settings:
            sketches = _sketches(self.latencies, setting.index, latency)
            pool = Pool.of(sketches)
            if not len(pool.values):
                rows.append((setting.index, setting.label, 0, None, None, None))
                continue
            value = float(pool.quantiles(np.array([share]))[0])
            low, high = pool.bootstrap(share, self.experiment.confidence) or (None, None)
            rows.append((setting.index, setting.label, sum(count for count, _ in sketches), value, low, high))
        schema = {"setting": pl.Int64, "label": pl.String, "n": pl.Int64}
        return pl.DataFrame(rows, schema | dict.fromkeys(("value", "low", "high"), pl.Float64), orient="row")

    def save(self, directory: str | Path, *, force: bool = False) -> Path:
        """Write tables, charts and a report into a folder; see `simcore.export.report.write`."""
        from simcore.export.report import write

        return write(self, directory, force=force)

    @classmethod
    def load(cls, directory: str | Path, policies: Sequence[str | Path] = ()) -> "Comparison":
        """Read back what `save` wrote; `policies`: Python files of policies that it names. Raises InputError."""
        from simcore.experiment.saved import load

        return load(directory, policies)


def compare(
    scenario: Scenario,
    vary: Mapping[str, Sequence[Any]] | None = None,
    replications: int = 10,
    baseline: Mapping[str, Any] | None = None,
    warmup: float | str | None = None,
    jobs: int | None = None,
    cluster: str | None = None,
    store: str | Path | None = None,
    progress: Watcher | None = None,
    *,
    confidence: float = 0.95,
    policies: Sequence[str | Path] = (),
    windows: bool = False,
) -> Comparison:
    """Run every combination of the levels in `vary`, each several times on common random numbers.

    jobs: processes, by default one for each core; cluster: the address of a Dask scheduler instead; store: a folder
    where runs are kept and found again, none by default; policies: Python files of policies that levels may name;
    windows: replications play windows of the trace. See `Experiment` for the rest. Raises InputError.

    >>> from simcore import Scenario, compare
    >>> comparison = compare(Scenario.preset("default"), {"memory.blocks": [500, 1000]}, replications=2, jobs=1)
    >>> comparison.paired("ttft.mean")["n"].to_list()
    [2]
    """
    for file in policies:
        load_policy(file)
    factors = tuple(Factor(key, tuple(values)) for key, values in (vary or {}).items())
    files = tuple(map(Path, policies))
    experiment = Experiment(scenario, factors, replications, baseline, warmup, confidence, files, windows=windows)
    return run(experiment, jobs=jobs, cluster=cluster, store=store, progress=progress)


def run(
    experiment: Experiment,
    *,
    jobs: int | None = None,
    cluster: str | None = None,
    store: str | Path | Store | None = None,
    progress: Watcher | None = None,
) -> Comparison:
    """Run an experiment. See `compare`. Ended early, as by Ctrl+C, it has kept the runs that were finished."""
    _refuse_hopeless(experiment)
    runs = list(experiment.runs())
    with Workers(jobs, cluster) as workers:
        found = do(runs, workers, experiment.policies, store=store, progress=progress)
    return gather(experiment, runs, found)


def _refuse_hopeless(experiment: Experiment) -> None:
    """Raises InputError where no setting says how large its pool is, or all say what cannot be: no run would begin."""
    from simcore.geometry import pool_size

    refused: InputError | None = None
    for setting in experiment.settings:
        try:
            pool_size(setting.scenario)
        except InputError as error:
            refused = refused or error
        else:
            return
    if refused is not None:
        raise refused


def do(
    runs: Sequence[Run],
    workers: Workers,
    policies: Sequence[Path] = (),
    *,
    store: str | Path | Store | None = None,
    progress: Watcher | None = None,
) -> dict[str, Outcome]:
    """What came of the runs, by their keys; runs of one key are done once."""
    kept = store if store is None or isinstance(store, Store) else Store(store)
    wanted = {run.key: run for run in runs}
    found = {key: outcome for key in wanted if kept is not None and (outcome := kept.get(key)) is not None}
    if progress is not None:
        progress.planned(len(wanted), len(found))
    files = [PolicyFile.read(path) for path in policies]
    tasks = [Task.of(run, files) for key, run in wanted.items() if key not in found]
    if not tasks:
        return found
    done = workers.outcomes(tasks, progress)
    try:
        for outcome in done:
            found[outcome.key] = outcome
            if kept is not None:
                kept.put(outcome)
            if progress is not None:
                progress.finished(outcome.worker, outcome.cpu_s)
    finally:
        if hasattr(done, "close"):
            done.close()
    return found


def gather(experiment: Experiment, runs: Iterable[Run], found: Mapping[str, Outcome]) -> Comparison:
    """The tables of an experiment's runs, in the order of settings and replications."""
    import polars as pl

    rows, sketches = [], []
    for run in sorted(runs, key=lambda run: (run.setting.index, run.replication)):
        outcome, setting = found[run.key], run.setting
        rows.append(
            {"setting": setting.index, "label": setting.label}
            | {key: _cell(level) for key, level in setting.levels.items()}
            | {"replication": run.replication, "seed": run.scenario.seed}
            | ({"start": run.scenario.workload.start, "end": run.scenario.workload.end} if experiment.windows else {})
            | {"key": run.key}
            | {"status": outcome.status, "error": outcome.error, "warmup": outcome.warmup}
            | {metric.name: outcome.metrics.get(metric.name) for metric in METRICS}
        )
        if outcome.status == DONE:
            sketches += [
                {
                    "setting": setting.index,
                    "replication": run.replication,
                    "metric": name,
                    "count": count,
                    "values": values,
                }
                for name, (count, values) in outcome.latencies.items()
            ]
    schema: dict[str, Any] = {"setting": pl.Int64, "label": pl.String}
    schema |= {factor.key: _type(factor.values) for factor in experiment.factors}
    schema |= {"replication": pl.Int64, "seed": pl.Int64}
    schema |= dict.fromkeys(("start", "end") if experiment.windows else (), pl.Float64)
    schema |= {"key": pl.String, "status": pl.String, "error": pl.String, "warmup": pl.Float64}
    schema |= {metric.name: pl.Float64 for metric in METRICS}
    kinds = {"setting": pl.Int64, "replication": pl.Int64, "metric": pl.String, "count": pl.Int64}
    for factor in experiment.factors:
        if schema[factor.key] == pl.String:
            for row in rows:
                row[factor.key] = str(row[factor.key])
    latencies = pl.DataFrame(sketches, kinds | {"values": pl.List(pl.Float64)})
    frame = pl.DataFrame(rows, schema, strict=False)
    return Comparison(experiment, frame, _samples(experiment, latencies), latencies)


def _samples(experiment: Experiment, latencies: "pl.DataFrame") -> "pl.DataFrame":
    import polars as pl

    parts = []
    for setting in experiment.settings:
        for name in LATENCIES:
            pool = Pool.of(_sketches(latencies, setting.index, name))
            if len(pool.values):
                values = pool.quantiles(SHARES)
                parts.append(pl.DataFrame({"q": SHARES, "value": values}).select(
                    pl.lit(setting.index, pl.Int64).alias("setting"), pl.lit(name).alias("metric"), "q", "value"
                ))  # fmt: skip
    schema = {"setting": pl.Int64, "metric": pl.String, "q": pl.Float64, "value": pl.Float64}
    return pl.concat(parts) if parts else pl.DataFrame(schema=schema)


def _sketches(latencies: "pl.DataFrame", setting: int, metric: str) -> list[tuple[int, list[float]]]:
    if latencies.is_empty():
        return []
    rows = latencies.filter((latencies["setting"] == setting) & (latencies["metric"] == metric))
    return list(zip(rows["count"].to_list(), rows["values"].to_list(), strict=True))


def _cell(level: Any) -> Any:
    return level if isinstance(level, int | float) and not isinstance(level, bool) else level_label(level)


def _type(levels: Sequence[Any]) -> Any:
    """Numbers where all levels are, and text otherwise."""
    import polars as pl

    cells = [_cell(level) for level in levels]
    if all(isinstance(cell, int) for cell in cells):
        return pl.Int64
    return pl.Float64 if all(isinstance(cell, int | float) for cell in cells) else pl.String


def _name(metric: str | Metric) -> str:
    """Raises ValueError for a metric that does not exist."""
    name = metric.name if isinstance(metric, Metric) else metric
    if name not in BY_NAME:
        raise ValueError(f"there is no metric {name!r}; there are {', '.join(BY_NAME)}")
    return name

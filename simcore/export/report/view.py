"""A comparison as its report looks at it: what is worth a chart, and the charts."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from simcore.export.report import charts
from simcore.export.report.blocks import block_map
from simcore.export.report.charts import Chart, file_name, named
from simcore.export.report.numbers import within
from simcore.export.report.verdicts import best_of, kind_of

if TYPE_CHECKING:
    import polars as pl

    from simcore.experiment import Comparison, Experiment, Metric

HEADLINE = (
    "ttft.p50", "ttft.p99", "tpot.mean", "tpot.p99", "e2e.p50", "e2e.p99", "goodput.requests_per_s",
    "throughput.output_tokens_per_s", "hits.hit_share", "preemptions", "memory.used_mean",
)  # fmt: skip
"""What a reader asks first; each has its charts where it is not the same in all runs."""
MEMORY, LATENCY = ("memory.used_mean", "memory.used_peak"), ("e2e.p99", "ttft.p99", "e2e.mean", "ttft.mean")
CURVES = ("goodput.requests_per_s", "throughput.requests_per_s", "ttft.p99")
DISTRIBUTIONS = {
    "ttft": "Time from arrival to the first token",
    "queue": "Time from arrival to the beginning of the step that first scheduled it",
    "tpot": "Time per output token after the first, a mean for each request",
    "e2e": "Time from arrival to the last token",
}
SHARES = ("stored", "internal", "reserved", "external")
SIDE_BY_SIDE = 6
"""Settings that a table has room for side by side."""
MOST_POOLED = 40
"""Settings whose percentiles over all requests are found."""
MOST_MAPS = 6
"""Settings whose pools are shown block by block."""
MAP_STEPS = 40_000
"""Steps of a run that are played again for that."""


class View:
    """A comparison, and what is asked of it again and again."""

    def __init__(self, comparison: "Comparison", shown: Sequence[str] = ()) -> None:
        """`shown`: names of the metrics to show; none: those of HEADLINE that there are."""
        self.comparison = comparison
        self.experiment = comparison.experiment
        self._shown = tuple(shown)
        self.metrics: list[Metric] = list(comparison.metrics())
        self.by_name = {metric.name: metric for metric in self.metrics}
        self.intervals: dict[str, pl.DataFrame] = {each.name: comparison.intervals(each.name) for each in self.metrics}
        self.paired: dict[str, pl.DataFrame] = {each.name: comparison.paired(each.name) for each in self.metrics}

    @cached_property
    def labels(self) -> list[str]:
        """Of the settings, in their order."""
        return [setting.label for setting in self.experiment.settings]

    @cached_property
    def baseline(self) -> int | None:
        """The setting that all others are compared with; None if there are several, or nothing to compare."""
        against = {label for frame in self.paired.values() for label in frame["baseline_label"].to_list()}
        return self.labels.index(against.pop()) if len(against) == 1 else None

    @cached_property
    def headline(self) -> "list[Metric]":
        """Metrics that differ among the runs, the most asked for first; all that do if none of those does."""
        if self._shown:
            return [self.by_name[name] for name in self._shown if name in self.by_name]
        chosen = [self.by_name[name] for name in HEADLINE if name in self.by_name]
        return [metric for metric in chosen if self.varies(metric)] or [m for m in self.metrics if self.varies(m)][:6]

    @cached_property
    def constant(self) -> "list[Metric]":
        """Metrics that a reader may look for, and that are the same in all runs."""
        asked = [] if self._shown else [self.by_name[name] for name in HEADLINE if name in self.by_name]
        return [metric for metric in asked if not self.varies(metric)]

    def varies(self, metric: "Metric") -> bool:
        """Whether a metric has two different values in the runs."""
        return self.comparison.runs[metric.name].drop_nulls().n_unique() > 1

    @cached_property
    def equal(self) -> bool:
        """Whether all replications of a setting are equal: nothing is drawn, as of a trace under most policies."""
        deviations = [self.intervals[metric.name]["sd"].drop_nulls() for metric in self.metrics]
        return any(map(len, deviations)) and not any((each > 0).any() for each in deviations)

    @cached_property
    def pooled(self) -> "dict[str, pl.DataFrame]":
        """Of the percentiles that are shown, those of all requests together; none of very many settings.

        The bootstrap of one takes a twentieth of a second for each setting.
        """
        if len(self.labels) > MOST_POOLED:
            return {}
        percentiles = self.comparison.percentiles()
        return {metric.name: self.comparison.pooled(metric) for metric in self.headline if metric in percentiles}

    @cached_property
    def scenario_files(self) -> list[str]:
        """Of each setting, relative to the folder; no two differ in case alone."""
        names: list[str] = []
        for setting in self.experiment.settings:
            name = file_name(setting.label)[:80]
            taken = {each.lower() for each in names}
            names.append(name if name.lower() not in taken else f"{name}-{setting.index}")
        return [f"scenarios/{name}.toml" for name in names]

    def headline_table(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows of what a paper prints: a mean and its interval in each cell.

        A few settings stand side by side; many are rows.
        """
        names = [named(metric) for metric in self.headline]
        cells = [
            [within(row["mean"], row["low"], row["high"]) for row in self.intervals[m.name].iter_rows(named=True)]
            for m in self.headline
        ]
        if len(self.labels) <= SIDE_BY_SIDE:
            return ["metric", *self.labels], [[name, *row] for name, row in zip(names, cells, strict=True)]
        rows = zip(self.labels, zip(*cells, strict=True), strict=True)
        return ["setting", *names], [[label, *values] for label, values in rows]

    def is_best(self, metric: "Metric", setting: int) -> bool:
        """Whether the setting has the best mean."""
        return setting in best_of(metric, self.intervals[metric.name])

    def verdict_kinds(self, metric: "Metric") -> dict[int, str]:
        """Of each setting but the baseline: good, bad, other, unsure or same."""
        return {r["setting"]: kind_of(metric, r["verdict"]) for r in self.paired[metric.name].iter_rows(named=True)}

    def metric_charts(self, metric: "Metric") -> Iterator[Chart]:
        """Means, and differences from the baseline if there are any."""
        intervals, paired = self.intervals[metric.name], self.paired[metric.name]
        yield charts.bars(metric, intervals, self.baseline, self.experiment.confidence)
        if len(paired):
            own = None if self.baseline is None else intervals.filter(setting=self.baseline)["mean"]
            base = own[0] if own is not None and len(own) else None
            yield charts.forest(metric, paired, self.experiment.confidence, base)

    def trade_off(self) -> Iterator[Chart]:
        """Memory against latency, where there are two settings or more and both are known."""
        x, y = ([self.by_name[name] for name in names if name in self.by_name] for names in (MEMORY, LATENCY))
        if not x or not y or len(self.labels) < 2:
            return
        pick = ("setting", "label", "mean", "low", "high")
        left, right = (self.intervals[each[0].name].select(pick) for each in (x, y))
        points = left.rename({"mean": "x", "low": "x_low", "high": "x_high"}).join(
            right.drop("label").rename({"mean": "y", "low": "y_low", "high": "y_high"}), on="setting"
        )
        if points["x"].count() and points["y"].count():
            yield charts.pareto(x[0], y[0], points.sort("setting"))

    def curves(self) -> Iterator[Chart]:
        """Goodput, or what there is of it, and latency over each factor that has three numbers or more."""
        import polars as pl

        settings = self.experiment.settings
        for factor in self.experiment.factors:
            levels = [setting.levels[factor.key] for setting in settings]
            if not all(_is_number(level) for level in levels) or len(set(levels)) < 3:
                continue
            found = [self.by_name[name] for name in CURVES if name in self.by_name]
            for metric in [*found[:1], *(each for each in found[1:] if each.name == CURVES[-1])]:
                frame = self.intervals[metric.name].filter(pl.col("mean").is_not_null())
                lines: dict[str, list[tuple[Any, ...]]] = {}
                for row in frame.iter_rows(named=True):
                    own = settings[row["setting"]].levels
                    others = ", ".join(_text(level) for key, level in own.items() if key != factor.key)
                    lines.setdefault(others, []).append((float(own[factor.key]), row["mean"], row["low"], row["high"]))
                schema = dict.fromkeys(("level", "mean", "low", "high"), pl.Float64)
                if lines:
                    name = f"curve-{file_name(metric.name)}-{file_name(factor.key)}"
                    drawn = {key: pl.DataFrame(rows, schema, orient="row").sort("level") for key, rows in lines.items()}
                    yield charts.curves(metric, factor.key, drawn, name)

    def distributions(self) -> Iterator[Chart]:
        """Of ttft, tpot and e2e, over the requests of all replications."""
        samples = self.comparison.samples
        for name, words in DISTRIBUTIONS.items():
            own = samples.filter(metric=name).drop_nulls("value")
            frames = {
                setting.index: (setting.label, frame.sort("q"))
                for setting in self.experiment.settings
                if len(frame := own.filter(setting=setting.index))
            }
            if frames:
                yield charts.cdf(
                    name, frames, f"{words}; the requests of all replications together.", "samples.parquet"
                )

    def waste(self) -> Iterator[Chart]:
        """What the pool's slots were used for."""
        known = [f"memory.{name}_share" for name in SHARES]
        if any(name not in self.by_name for name in known):
            return
        shares = []
        for setting in self.experiment.settings:
            own = [self.intervals[name].filter(setting=setting.index)["mean"] for name in known]
            if all(len(mean) and mean[0] is not None for mean in own):
                parts = dict(zip(SHARES, (mean[0] for mean in own), strict=True))
                shares.append((setting.label, {**parts, "free": max(0.0, 1 - sum(parts.values()))}))
        if shares:
            yield charts.waste(shares, "intervals.csv")

    def block_maps(self) -> Iterator[Chart]:
        """Replication 0 of the baseline and the next settings, played again with a journal."""
        from simcore import simulate

        maps = []
        wanted = sorted(self.experiment.settings, key=lambda setting: (setting.index != self.baseline, setting.index))
        runs = self.comparison.runs.filter(replication=0)
        for setting in sorted(wanted[:MOST_MAPS], key=lambda setting: setting.index):
            seeds = runs.filter(setting=setting.index, status="done")["seed"].to_list()
            if not seeds:
                continue
            scheduler = setting.scenario.scheduler
            limit = min(scheduler.max_steps or MAP_STEPS, MAP_STEPS)
            changes = {"seed": seeds[0], "scheduler": scheduler.model_copy(update={"max_steps": limit})}
            if self.experiment.windows:
                window = runs.filter(setting=setting.index).select("start", "end").row(0, named=True)
                changes["workload"] = setting.scenario.workload.model_copy(update=window)
            results = simulate(setting.scenario.model_copy(update=changes), journal=True)
            end = results.summary["end_time"]
            if end:
                usable = results.blocks_in_pool - 1
                maps.append(block_map(setting.label, results.blocks, usable, end, whole=not results.stalled))
        if maps:
            yield charts.heatmap(maps)


def policy_options(experiment: "Experiment") -> list[str]:
    """Words of a command, in the folder of a report, that load the policies that a person brought."""
    return [word for name in policy_files(experiment) for word in ("--policy", name)]


def policy_files(experiment: "Experiment") -> list[str]:
    """Where the folder of a report has copies of them, one after the other."""
    names = [path.name for path in experiment.policies]
    return [f"policies/{f'{i}-' if names.count(name) > 1 else ''}{name}" for i, name in enumerate(names)]


def _is_number(level: Any) -> bool:
    return isinstance(level, int | float) and not isinstance(level, bool)


def _text(level: Any) -> str:
    if isinstance(level, dict):
        return " ".join(str(value) for value in level.values())
    return str(level)

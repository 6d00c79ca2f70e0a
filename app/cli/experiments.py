"""What the commands of experiments have in common: options, progress, and tables."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import mention, print_json
from app.cli.paths import path_of
from app.cli.policies import load_policies
from app.cli.progress import bars
from app.cli.report import report_comparison, report_folder
from app.cli.simulate import load_scenario
from app.cli.tables import print_whole
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.experiment import Comparison, Experiment, Factor, Metric
    from simcore.scenario import Scenario

INCOMPLETE = 3
"""The exit code where some runs have no result; as of a simulation that could not go on."""
MOST_NAMED = 6
"""So many settings are named in a warning."""
USUAL = (
    "throughput.output_tokens_per_s",
    "goodput.requests_per_s",
    "ttft.mean",
    "ttft.p99",
    "tpot.mean",
    "e2e.p99",
    "hits.hit_share",
)
"""The metrics that are shown where none are asked for."""

Replications = Annotated[int, typer.Option(min=1, max=100_000, help="Runs of each setting.")]
Baseline = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=VALUE", help="What the others are compared with; without it the first setting."),
]
Warmup = Annotated[
    str | None,
    typer.Option(metavar="SECONDS|mser5", help="Leave out what arrives before; mser5 finds it for each run."),
]
Windows = Annotated[
    bool, typer.Option("--windows", help="Replications play equal windows of the trace, one each, and not all of it.")
]
Metrics = Annotated[
    list[str] | None,
    typer.Option("--metric", help="Show these, by their names in summary.json: ttft.p99,e2e.p99; all: every one."),
]
Confidence = Annotated[
    float | None, typer.Option(min=0.5, max=0.9999, help="Of the intervals and verdicts; without it 0.95.")
]
CONFIDENCE = 0.95
Jobs = Annotated[
    int | None, typer.Option(min=1, max=1024, help="Processes that share the work; without it one for each core.")
]
Cluster = Annotated[
    str | None, typer.Option(metavar="tcp://HOST:8786", help="Do the runs on the Dask cluster of this scheduler.")
]
StoreFolder = Annotated[
    Path | None,
    typer.Option("--store", parser=path_of, help="Folder where runs are kept, and found again by the next command."),
]
NoStore = Annotated[bool, typer.Option("--no-store", help="Neither use nor keep runs.")]
Out = Annotated[Path | None, typer.Option(parser=path_of, help="Folder for tables, charts and the report.")]


def scenario_of(
    name: str, overrides: list[str], trace: Path | None, policies: list[Path] | None, varied: Sequence[str]
) -> "Scenario":
    """The scenario that everything is done to; a policy from a file is chosen unless its key is varied."""
    said = [f"{key}=varied" for key in varied]
    chosen = load_policies(policies, [*overrides, *said])[: -len(said) or None]
    if trace is not None:
        chosen.append(f"workload.trace={json.dumps(str(trace))}")
    return load_scenario(name, chosen)


def experiment_of(
    scenario: str,
    factors: "tuple[Factor, ...]",
    overrides: list[str] | None,
    trace: Path | None,
    policies: list[Path] | None,
    *,
    replications: int,
    baseline: list[str] | None,
    warmup: str | None,
    confidence: float,
    windows: bool,
) -> "Experiment":
    """The experiment that the options describe."""
    from simcore.experiment import Experiment
    from simcore.experiment.asked import levels_of

    return Experiment(
        scenario_of(scenario, overrides or [], trace, policies, [factor.key for factor in factors]),
        factors,
        replications,
        levels_of(baseline) if baseline else None,
        warmup_of(warmup),
        confidence,
        tuple(policies or ()),
        source="--vary",
        windows=windows,
    )


def warmup_of(text: str | None) -> float | str | None:
    """Seconds, or what finds them."""
    try:
        return float(text) if text is not None else None
    except ValueError:
        return text


def store_of(folder: Path | None, without: bool) -> Path | None:
    """Where runs are kept."""
    from simcore.experiment import default_store

    if without and folder is not None:
        raise InputError("--store and --no-store exclude each other")
    return None if without else folder or default_store()


def metrics_of(texts: Sequence[str] | None) -> "list[Metric] | None":
    """The metrics that were asked for; None: the usual ones, empty: all."""
    from simcore.experiment.asked import metric_of

    names = [name.strip() for text in texts or () for name in text.split(",")]
    return [] if names == ["all"] else [metric_of(name, "--metric: ") for name in names] or None


def shown_metrics(comparison: "Comparison", asked: "list[Metric] | None") -> "list[Metric]":
    """Those that have values, as they were asked for."""
    there = comparison.metrics()
    if asked is None:
        return [metric for metric in there if metric.name in USUAL]
    for metric in asked:
        if metric not in there and not comparison.runs.is_empty():
            mention(f"warning: no run has a value of {metric.name}", err=True)
    return [metric for metric in asked if metric in there] if asked else there


class Progress:
    """Bars on a terminal, one for all runs and a line for each worker; silence in a pipe."""

    def __init__(self, *, quiet: bool, kept: bool) -> None:
        self._quiet = quiet
        self._kept = kept
        self._wanted = self._there = self._stored = 0
        self._cpu_s = 0.0
        self._begun = time.monotonic()
        self._lines: dict[str, Any] = {}

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While the runs are done. Of what is ended early it says what remains."""
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
        )
        with bars(*columns, quiet=self._quiet) as self._bar:
            self._all = self._bar.add_task("runs", total=None, note="")
            try:
                yield
            except KeyboardInterrupt:
                if self._kept and self._wanted:
                    mention(
                        f"{self._there} of {self._wanted} runs are done and kept; the same command goes on from there",
                        err=True,
                    )
                raise

    def planned(self, total: int, kept: int) -> None:
        """See `Watcher`."""
        self._wanted += total
        self._there += kept
        self._stored += kept
        note = f"{self._there:,} from the store" if kept == self._there and kept else ""
        self._bar.update(self._all, total=self._wanted, completed=self._there, note=note)

    def finished(self, worker: str, cpu_s: float) -> None:
        """See `Watcher`."""
        self._there += 1
        self._cpu_s += cpu_s
        self._bar.advance(self._all)
        if worker not in self._lines:
            self._lines[worker] = [self._bar.add_task(worker, total=None, note=""), 0, 0.0]
        line = self._lines[worker]
        line[1:] = line[1] + 1, line[2] + cpu_s
        self._bar.update(line[0], completed=line[1], note=f"{line[2]:.1f} CPU s")

    def mention_speed(self) -> None:
        """Say how many runs were done how quickly, the start of the workers included."""
        done, wall_s = self._there - self._stored, time.monotonic() - self._begun
        stored = f"{counted_runs(self._stored)} from the store" if self._stored else ""
        busy = f"{self._cpu_s:.1f} CPU s of work: {self._cpu_s / wall_s:.1f} at a time"
        work = f"{counted_runs(done)} in {wall_s:.1f} s, {busy}" if done else ""
        mention(", ".join(text for text in (stored, work) if text))

    def retried(self, runs: int) -> None:
        """See `Watcher`."""
        mention(f"warning: a worker died; {runs} of its runs are done again", err=True)


def counted_runs(count: int) -> str:
    """1 run, 2 runs."""
    return f"{count:,} run" + ("s" if count != 1 else "")


def carry_out(
    experiment: "Experiment",
    asked: "list[Metric] | None",
    *,
    paired: bool,
    jobs: int | None,
    cluster: str | None,
    store: Path | None,
    out: Path | None,
    force: bool,
    as_json: bool,
) -> int:
    """Run an experiment, say what came of it, write its report, and return the exit code."""
    from simcore.experiment.comparison import run

    progress = Progress(quiet=as_json, kept=store is not None)
    with report_folder(out, experiment.scenario.name, force=force) as folder:
        with progress.shown():
            comparison = run(experiment, jobs=jobs, cluster=cluster, store=store, progress=progress)
        shown = shown_metrics(comparison, asked)
        if as_json:
            print_json(document(comparison))
        else:
            print_comparison(comparison, shown, paired=paired)
            mention_constants(comparison, shown)
            progress.mention_speed()
        report_comparison(folder, comparison, asked, quiet=as_json)
    return INCOMPLETE if print_troubles(comparison) else 0


def document(comparison: "Comparison") -> dict[str, Any]:
    """All that a comparison says, as JSON."""
    experiment = comparison.experiment
    return {
        **describe(experiment),
        "metrics": {
            metric.name: {
                "unit": metric.unit,
                "better": metric.better,
                "intervals": comparison.intervals(metric).to_dicts(),
                "paired": comparison.paired(metric).to_dicts(),
            }
            for metric in comparison.metrics()
        },
        "runs": comparison.runs.to_dicts(),
    }


def describe(experiment: "Experiment") -> dict[str, Any]:
    """The design of an experiment, as JSON."""
    return {
        "scenario": experiment.scenario.name,
        "replications": experiment.replications,
        "confidence": experiment.confidence,
        "baseline": None if experiment.baseline is None else dict(experiment.baseline),
        "settings": [
            {"setting": each.index, "label": each.label, "levels": each.levels} for each in experiment.settings
        ],
    }


def print_comparison(comparison: "Comparison", metrics: "list[Metric]", *, paired: bool) -> None:
    """A table for each metric; where there are several baselines, each stands with those that are compared with it."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    console = Console()
    experiment = comparison.experiment
    groups: dict[int, list[int]] = {}
    for setting in experiment.settings:
        groups.setdefault(experiment.baseline_of(setting).index if paired else 0, []).append(setting.index)
    for metric in metrics:
        unit = "" if metric.unit == "1" else f" ({metric.unit})"
        better = f"; {metric.better} is better" if metric.better else ""
        # a title of the table would be broken to the table's width, in the middle of a word
        title = Text(f"{metric.name}{unit}: {metric.help.removesuffix('.').lower()}{better}", style="italic")
        console.print(title, soft_wrap=True)
        names = ("runs", "mean", "difference")[: 3 if paired else 2]
        table = Table(
            "setting",
            *(Column(name, justify="right", no_wrap=True) for name in names),
            box=SIMPLE_HEAD,
            padding=(0, 1, 0, 0),
        )
        if paired:
            table.add_column("verdict")
            table.add_column("needed", justify="right", no_wrap=True)
        differences = {row["setting"]: row for row in comparison.paired(metric).to_dicts()} if paired else {}
        intervals = comparison.intervals(metric).to_dicts()
        for group in groups.values():
            for row in (intervals[index] for index in group):
                cells: list[Text | str] = [Text(row["label"]), str(row["n"]), with_bounds(row["mean"], row["high"])]
                if found := differences.get(row["setting"]):
                    said = found["verdict"] if found["n"] else "no runs to compare"
                    cells += [with_bounds(found["difference"], found["high"], sign="+"), said, needed(found)]
                elif paired:
                    cells += ["", "baseline"]
                table.add_row(*cells)
            table.add_section()
        print_whole(table)


def print_troubles(comparison: "Comparison") -> bool:
    """Say which runs have no result, or one to beware of; returns whether some have none."""
    runs, incomplete = comparison.runs, False
    told: dict[tuple[str, str], list[str]] = {}
    for row in runs.filter(runs["error"].is_not_null()).iter_rows(named=True):
        told.setdefault((row["status"], row["error"]), []).append(row["label"])
    for (status, error), labels in told.items():
        incomplete |= status != "done"
        settings = list(dict.fromkeys(labels))
        named = "; ".join(settings[:MOST_NAMED])
        more = f" and {len(settings) - MOST_NAMED} more settings" if len(settings) > MOST_NAMED else ""
        said = f"{len(labels)} of {len(runs)} runs" + ("" if status == "done" else f" {status} and are left out")
        mention(f"warning: {named}{more}: {said}: {error}", err=True)
    return incomplete


def mention_constants(comparison: "Comparison", metrics: "list[Metric]") -> None:
    """Replications that are all equal do not say what another workload would."""
    deviations = [comparison.intervals(metric)["sd"].drop_nulls() for metric in metrics]
    if any(len(each) for each in deviations) and not any((each > 0).any() for each in deviations):
        hint = "" if comparison.experiment.scenario.workload.trace is None else "; --windows plays parts of the trace"
        mention(f"All replications are equal: nothing is drawn, so differences hold for this load only{hint}.")


def with_bounds(mean: float | None, high: float | None, sign: str = "") -> str:
    """Mean and half-width, to the digits that the half-width leaves."""
    if mean is None:
        return "-"
    if high is None:
        return f"{mean:{sign},.4g}"
    half = high - mean
    if half <= 0:
        return f"{mean:{sign},.4g}"
    digits = decimals(half)
    return f"{mean:{sign},.{digits}f} ± {half:,.{digits}f}"


def decimals(value: float) -> int:
    """So many that two digits of a value are seen."""
    from math import floor, log10

    return 0 if not value else max(0, 1 - floor(log10(abs(value)))) if abs(value) > 1e-12 else 12


def needed(row: dict[str, Any]) -> str:
    """How many replications would tell a difference of this size."""
    if row["needed"] is None:
        return ""
    return "> a million" if row["needed"] >= 1_000_000 else f"{row['needed']:,}"

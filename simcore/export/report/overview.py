"""The page of a comparison."""

import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError
from simcore.export.report.charts import Chart, named
from simcore.export.report.numbers import TIMES, chance, short, signed, span, within
from simcore.export.report.page import Cell, Page, command, facts, number, table
from simcore.export.report.verdicts import MOST_NAMED, in_all, kind_of, verdict
from simcore.export.report.view import SIDE_BY_SIDE, policy_options
from simcore.geometry import pool_size
from simcore.policies.families import FAMILIES, discover
from simcore.scenario.describe import toml_value

if TYPE_CHECKING:
    from simcore.experiment import Metric
    from simcore.export.report.view import View
    from simcore.policies.base import Policy
    from simcore.scenario import Scenario

EQUAL = (
    "All replications are equal: nothing in these runs is drawn. Each difference is exact for this one load, and there "
    "is nothing to estimate: no interval, no p value and no verdict says what another load would do."
)
MOST_ERRORS = 3
"""Reasons why runs failed that are told; results.csv has all."""
MOST_RUNS = 400
"""Rows of the table of runs in the page; results.csv has all."""


def overview(view: "View", draw: Callable[[Chart], str], about: dict[str, Any], *, block_maps: bool = True) -> Page:
    """All of the report of a comparison; `draw` writes a chart's files and returns it for the page."""
    experiment = view.experiment
    name = experiment.scenario.name
    factors = " and ".join(factor.key for factor in experiment.factors)
    page = Page(f"{factors} on {name}" if factors else name)
    page.meta = escape(
        f"KVScope {about['packages'].get('kvscope') or ''} · {about['written'][:10]} · "
        f"{len(view.labels)} settings {TIMES} {experiment.replications} replications"
    )
    page.lead = f'<p class="lead">{_question(view)}</p>'

    page.section("verdicts", "In short")
    _warn(page, view)
    summary = in_all(view.headline, view.paired)
    if summary:
        against = "the baseline" if view.baseline is None else escape(view.labels[view.baseline])
        page.add(f"<p>Against {against}, of {len(view.headline)} metrics: {summary}.</p>")
    page.add('<ul class="verdicts">')
    for metric in view.headline:
        page.add(verdict(metric, view.intervals[metric.name], view.paired[metric.name]))
    page.add("</ul>")
    if view.constant:
        equal = ", ".join(f"`{metric.name}`" for metric in view.constant)
        page.text(f"The same in all runs, and not shown below: {equal}.")
    page.text(EXACT if view.equal else _how_to_read(view))

    page.section("table", "Main results", "Results")
    _headline(page, view)

    page.section("setting", "How it was done", "Method")
    _method(page, view, about)

    page.section("charts", "Metric by metric", "Metrics")
    for metric in view.headline:
        page.add(f"<h3><code>{escape(metric.name)}</code> · {escape(metric.help.rstrip('.'))}</h3>")
        _figures(page, view.metric_charts(metric), draw, pair=True)

    maps = view.block_maps() if block_maps else ()
    for id, title, link, charts, words in (
        ("curves", "Over a range", "Curves", view.curves(), ""),
        ("trade-off", "Memory against latency", "Pareto", view.trade_off(), ""),
        ("distributions", "Distributions", "Distributions", view.distributions(), ""),
        ("memory", "Where the memory went", "Memory", view.waste(), ""),
        ("blocks-shown", "Block by block", "Blocks", maps, "Replication 0 of each setting, played again."),
    ):
        try:
            drawn = list(charts)
        except InputError as error:  # a trace may be gone, or a policy not loaded, when runs are played again
            page.section(id, title, link)
            page.text(f"Cannot be shown: {error}.")
            continue
        if drawn:
            page.section(id, title, link)
            if words:
                page.text(words)
            _figures(page, drawn, draw, pair=len(drawn) > 1)
            if id == "distributions":
                _pooled(page, view)

    page.section("all", "All metrics", "All")
    _all_metrics(page, view)
    page.section("runs", "All runs", "Runs")
    _runs(page, view)
    page.section("files", "Where each number is from", "Files")
    _files(page, about)
    return page


def _question(view: "View") -> str:
    parts = []
    for factor in view.experiment.factors:
        levels = ", ".join(f"<b>{escape(_text(value))}</b>" for value in factor.values[:12])
        more = f" and {len(factor.values) - 12} more" if len(factor.values) > 12 else ""
        parts.append(f"<code>{escape(factor.key)}</code> is {levels}{more}")
    what = "; ".join(parts)
    base = ""
    if view.baseline is not None:
        own = escape(view.labels[view.baseline])
        base = f" Each is compared with the baseline, <b>{own}</b>, on the same requests."
    elif view.experiment.baseline:
        own = escape(", ".join(_text(level) for level in view.experiment.baseline.values()))
        base = f" Each is compared with <b>{own}</b> where all else is its own, on the same requests."
    return f"What changes on <code>{escape(view.experiment.scenario.name)}</code> when {what}?{base}"


EXACT = "Better and worse are said of every difference, however small, since each is exact for this load."


def _how_to_read(view: "View") -> str:
    confidence = view.experiment.confidence
    return (
        f"Better and worse are said only where the paired difference is told apart from zero at {1 - confidence:.2g}, "
        "after Holm's correction over the settings of one metric; ± is half the width of the "
        f"{confidence:.0%} interval. There is no correction over metrics: decide beforehand which one counts."
    )


def _warn(page: Page, view: "View") -> None:
    runs = view.comparison.runs
    for status, words in (("failed", "failed and are left out"), ("stalled", "could not end and are left out")):
        by_error: dict[str, list[str]] = {}
        for row in runs.filter(status=status).iter_rows(named=True):
            by_error.setdefault(row["error"] or "", []).append(row["label"])
        for error, labels in list(by_error.items())[:MOST_ERRORS]:
            settings = list(dict.fromkeys(labels))
            more = f" and {len(settings) - MOST_NAMED} more settings" if len(settings) > MOST_NAMED else ""
            said = f"{'; '.join(settings[:MOST_NAMED])}{more}: {error or 'no reason is known'}"
            page.add(f'<p class="warn">{len(labels)} of {len(runs)} runs {words}: {escape(said)}.</p>')
        if len(by_error) > MOST_ERRORS:
            page.add(f'<p class="warn">{len(by_error) - MOST_ERRORS} other reasons are in results.csv.</p>')
    if view.experiment.replications < 2:
        page.add('<p class="warn">One replication: there are no intervals, and nothing can be told apart.</p>')
    if view.equal:
        page.add(f'<p class="warn">{EQUAL}</p>')
    oracles = [f"<b>{escape(name)}</b>" for name, policy in _policies(view) if getattr(policy, "foresees", False)]
    if oracles:
        page.add(
            f'<p class="warn">{" and ".join(oracles)}: an oracle that knows the future, as no server does: a bound '
            "for the others, and no choice.</p>"
        )


def _headline(page: Page, view: "View") -> None:
    cells = {(metric.name, setting): _mean(view, metric, setting) for metric in view.headline for setting in _all(view)}
    names = [f"{label} (baseline)" if place == view.baseline else label for place, label in enumerate(view.labels)]
    if len(names) <= SIDE_BY_SIDE:
        columns = ["metric", *names]
        rows = [[_metric(m), *(cells[m.name, setting] for setting in _all(view))] for m in view.headline]
    else:
        columns = ["setting", *(named(metric) for metric in view.headline)]
        rows = [[Cell(names[setting]), *(cells[m.name, setting] for m in view.headline)] for setting in _all(view)]
    page.add(
        table(
            columns,
            rows,
            caption="Mean ± half its interval. Bold: the best mean. ✓ better and ✗ worse than the baseline, ≠ neither "
            "but told apart. From `intervals.csv` and `paired.csv`; for a paper in `tables.md` and `tables.tex`.",
            sortable=len(names) > SIDE_BY_SIDE,
        )
    )


def _pooled(page: Page, view: "View") -> None:
    """Percentiles of all requests together."""
    if not view.pooled:
        return
    page.add("<h3>Percentiles of all requests together</h3>")
    page.text(
        "Requests of all replications as one sample, in which long and busy runs weigh more; the tables above have the "
        "mean of each run's own percentile instead. Below is the percentile bootstrap's "
        f"{view.experiment.confidence:.0%} interval, which draws whole replications again: requests of one run depend "
        "on another."
    )
    if 1 < view.experiment.replications < 10:
        page.text("With fewer than ten replications such an interval is too narrow.")
    metrics = [view.by_name[name] for name in view.pooled]
    rows = [[_interval(row) for row in frame.iter_rows(named=True)] for frame in view.pooled.values()]
    if len(view.labels) <= SIDE_BY_SIDE:
        columns, firsts = ["metric", *view.labels], [_metric(metric) for metric in metrics]
    else:
        columns, firsts = ["setting", *map(named, metrics)], [Cell(label) for label in view.labels]
        rows = [list(row) for row in zip(*rows, strict=True)]
    page.add(
        table(columns, [[first, *row] for first, row in zip(firsts, rows, strict=True)], caption="From `pooled.csv`.")
    )


def _interval(row: dict[str, Any]) -> Cell:
    """A value, and below it its interval if that has any width."""
    low, high = row["low"], row["high"]
    around = span(low, high, sign=False) if low is not None and low < high else ""
    return replace(number(row["value"]), note=around)


def _all(view: "View") -> range:
    return range(len(view.labels))


def _metric(metric: "Metric") -> Cell:
    return Cell(named(metric), code=True, note=metric.help.rstrip("."))


def _mean(view: "View", metric: "Metric", setting: int) -> Cell:
    """A cell of a table of means."""
    found = list(view.intervals[metric.name].filter(setting=setting).iter_rows(named=True))
    if not found or found[0]["mean"] is None:
        return number(None)
    kind = view.verdict_kinds(metric).get(setting, "")
    mark = {"good": " ✓", "bad": " ✗", "other": " ≠"}.get(kind, "")
    kinds = ("best" if view.is_best(metric, setting) else "", kind if mark else "")
    text = within(found[0]["mean"], found[0]["low"], found[0]["high"])
    return number(found[0]["mean"], text + mark, " ".join(filter(None, kinds)))


def _method(page: Page, view: "View", about: dict[str, Any]) -> None:
    experiment, runs = view.experiment, view.comparison.runs
    scenario = experiment.scenario
    model, hardware = scenario.model.resolve(), scenario.hardware.resolve()
    seeds = runs["seed"].unique(maintain_order=True).to_list()
    shown = ", ".join(f"`{seed}`" for seed in seeds[:10]) + (f" and {len(seeds) - 10} more" if len(seeds) > 10 else "")
    warmups = sorted(runs["warmup"].drop_nulls().to_list()) or [0.0]
    least, most = short(warmups[0]), short(warmups[-1])
    cut = f"{least} s" if least == most else f"{least} to {most} s"
    how = {None: "as the scenario says", "mser5": "found for each run by MSER-5 (White 1997)"}
    warmup = how.get(experiment.warmup, "given") if isinstance(experiment.warmup, str | None) else "given"
    done = len(runs.filter(status="done"))
    page.add(
        facts(
            [
                ("Scenario", f"`{scenario.name}`: {model.name} on {hardware.count} {TIMES} {hardware.name}"),
                ("Workload", _workload(scenario)),
                ("Pool", _pool(view)),
                ("Time", f"timing model `{_text(scenario.timing.model)}`"),
                *(
                    ("Factor", f"`{factor.key}`: {', '.join(_text(value) for value in factor.values)}")
                    for factor in experiment.factors
                ),
                *((name, policy.summary()) for name, policy in _policies(view)),
                *(("Objective", text) for text in _objective(view)),
                ("Replications", f"{experiment.replications} of each setting; {done} of {len(runs)} runs ended well"),
                *(("Windows", text) for text in _windows(view)),
                ("Random numbers", "common: replication r has the same seed, and so the same requests, everywhere"),
                ("Seeds", f"{shown}; all follow from the scenario's seed, `{scenario.seed}`"),
                ("Warm-up", f"{cut} left out, {warmup}"),
                ("Intervals", f"Student's t over the replications' values, {experiment.confidence:.0%}"),
                ("Comparison", "paired by replication, t test, Holm's correction over the settings of a metric"),
                ("Made", f"{about['written']}, {about['platform']}, {about['cores']} cores"),
                ("Versions", ", ".join(f"{name} {it}" for name, it in about["packages"].items() if it)),
            ]
        )
    )
    page.add("<h3>To repeat it</h3>")
    page.add(command(about["command"]))
    page.text("The same report from the stored runs, without running them again:")
    page.add(command(_again(view)))
    page.add("<h3>What is assumed</h3>")
    page.add(
        "<ul>"
        f"<li>{_replications(view)}</li>"
        "<li>A metric such as <code>ttft.p99</code> is computed within each run; its interval is that of the mean over "
        "runs, taken to be about normal. It is no percentile of all requests together: that stands with the "
        "distributions.</li>"
        "<li>Steps last as long as the timing model says. What it leaves out, such as the network and tokenization, "
        "is in no number here.</li>"
        "<li>Two runs of one scenario, seed and version give the same numbers on any machine.</li>"
        "</ul>"
    )


def _workload(scenario: "Scenario") -> str:
    section = scenario.workload
    if section.trace is None:
        turns = ", turns of conversations" if section.conversations else ""
        rate = getattr(section.arrivals, "rate", None)
        often = "" if rate is None else f", {short(rate)} {'conversations' if turns else 'requests'} a second"
        return f"{section.requests:,} requests, drawn{turns}{often}"
    speed = "" if section.rate_scale in (None, 1) else f", played {section.rate_scale:g} times as fast"
    return f"`{section.trace.name}`{speed}"


def _pool(view: "View") -> str:
    """How many blocks, of how many tokens: one amount, or from the smallest to the largest of the settings."""
    found = []
    for setting in view.experiment.settings:
        try:
            found.append((pool_size(setting.scenario).blocks, setting.scenario.memory.block_size))
        except InputError:  # a setting that cannot be run; its runs have failed, and say why
            continue
    if not found:
        return "no setting has room for one"
    blocks, sizes = (sorted({each[place] for each in found}) for place in (0, 1))
    amounts = [
        f"{short(each[0])} to {short(each[-1])}" if len(each) > 1 else short(each[0]) for each in (blocks, sizes)
    ]
    how = (
        "as given" if view.experiment.scenario.memory.blocks is not None else "what the hardware's memory has room for"
    )
    return f"{amounts[0]} blocks of {amounts[1]} tokens: {how}"


def _policies(view: "View") -> Iterator[tuple[str, "type[Policy]"]]:
    """The policies that are compared, by the labels of their levels."""
    discover()
    for factor in view.experiment.factors:
        for level in factor.values:
            name = level.get("policy") if isinstance(level, dict) else level
            policy = FAMILIES[factor.key].get(name) if factor.key in FAMILIES and isinstance(name, str) else None
            if policy is not None:
                yield _text(level), policy


def _objective(view: "View") -> Iterator[str]:
    """What goodput counts, where there is any."""
    if "goodput.requests_per_s" in view.by_name:
        slo = view.experiment.scenario.metrics.slo.model_dump(exclude_none=True)
        limits = " and ".join(f"{name} at most {limit:g} s" for name, limit in slo.items())
        yield f"{limits}; goodput counts the requests that keep it"


def _windows(view: "View") -> Iterator[str]:
    if view.experiment.windows:
        spans = view.comparison.runs.filter(setting=0).sort("replication")
        first, last = spans["start"].to_list(), spans["end"].to_list()
        yield (
            f"replication r plays the r-th of {len(first)} equal windows of the trace, {short(last[0] - first[0])} s "
            f"of its time each, from {short(first[0])} to {short(last[-1])} s, and begins with an empty cache"
        )


def _replications(view: "View") -> str:
    """What a replication is a draw of, and so what the intervals speak of."""
    if view.experiment.scenario.workload.trace is None:
        return "Replications are independent draws of the workload and of what policies draw."
    if view.experiment.windows:
        return (
            "Replications are windows of one trace, taken as independent draws of its load: intervals say how much the "
            "differences vary over the time of this trace, and nothing about other traces. Load that rises or falls "
            "through the trace makes windows less alike than such draws. Each window begins with an empty cache, which "
            "makes policies more alike than they are in a long run, unless a warm-up leaves the filling out. The "
            "replications that would tell are more windows of this length: of a longer trace."
        )
    return (
        "The trace gives the requests. Replications differ in what policies draw, if they draw anything, and intervals "
        "say nothing about other requests."
    )


def _again(view: "View") -> str:
    """What makes the report again, in its folder."""
    return shlex.join(["kvscope", "report", ".", *policy_options(view.experiment)])


def _figures(page: Page, charts: Iterable[Chart], draw: Callable[[Chart], str], *, pair: bool) -> None:
    inner = [page.figure(chart, draw(chart)) for chart in charts]
    page.add(f'<div class="pair">{"".join(inner)}</div>' if pair and len(inner) > 1 else "".join(inner))


def _all_metrics(page: Page, view: "View") -> None:
    if len(view.labels) <= SIDE_BY_SIDE:
        rows = [[_metric(m), *(_mean(view, m, setting) for setting in _all(view))] for m in view.metrics]
        page.add(table(["metric", *view.labels], rows, caption="Marked as above. From `intervals.csv`."))
    else:
        page.text(f"Means and intervals of all {len(view.metrics)} metrics are in `intervals.csv`.")
    rows = []
    for metric in view.metrics:
        for row in view.paired[metric.name].iter_rows(named=True):
            if row["verdict"] != "same" and row["difference"] is not None:
                rows.append(_difference(metric, row))
    page.add("<details><summary>All paired differences</summary>")
    columns = ["metric", "setting", "baseline", "n", "difference", "interval", "p", "p (Holm)", "verdict", "needed"]
    page.add(table(columns, rows[: 10 * MOST_RUNS], caption="From `paired.csv`; those that are 0 throughout left out."))
    page.add("</details>")


def _difference(metric: "Metric", row: dict[str, Any]) -> list[Cell]:
    kind = kind_of(metric, row["verdict"])
    words = row["verdict"] + {"good": ", better", "bad": ", worse"}.get(kind, "")
    return [
        Cell(metric.name, code=True),
        Cell(row["label"]),
        Cell(row["baseline_label"]),
        number(row["n"]),
        number(row["difference"], signed(row["difference"], row["low"], row["high"])),
        Cell(span(row["low"], row["high"])),
        number(row["p"], chance(row, "p")),
        number(row["p_adjusted"], chance(row, "p_adjusted")),
        Cell(words, kind=kind),
        number(row["needed"]),
    ]


def _runs(page: Page, view: "View") -> None:
    page.text(
        "The command in a row repeats that run alone, from the folder of this report; `summary.json` in its results "
        "has the numbers of the row in `results.csv`."
    )
    rows = [
        [
            Cell(row["label"]),
            number(row["replication"]),
            number(row["seed"], str(row["seed"])),
            Cell(row["status"], kind="" if row["status"] == "done" else "bad"),
            number(row["warmup"]),
            Cell(str(row["key"])[:12], code=True),
            Cell(run_command(view, row), code=True),
        ]
        for row in view.comparison.runs.head(MOST_RUNS).iter_rows(named=True)
    ]
    left = len(view.comparison.runs) - len(rows)
    page.add(
        table(
            ["setting", "replication", "seed", "status", "warm-up (s)", "key", "to repeat it"],
            rows,
            caption=f"From `results.csv`{f', which has {left:,} more' if left else ''}.",
        )
    )


def run_command(view: "View", row: dict[str, Any]) -> str:
    """What repeats one run, in the folder of the report."""
    setting = view.experiment.settings[row["setting"]]
    words = ["kvscope", "simulate", view.scenario_files[row["setting"]], "--set", f"seed={row['seed']}"]
    if view.experiment.windows:
        words += ["--set", f"workload.start={row['start']!r}", "--set", f"workload.end={row['end']!r}"]
    if row["warmup"] is not None and row["warmup"] != setting.scenario.metrics.warmup:
        words += ["--set", f"metrics.warmup={row['warmup']!r}"]
    if view.experiment.policies:
        words += policy_options(view.experiment)
        words += [word for key, level in setting.levels.items() for word in ("--set", f"{key}={toml_value(level)}")]
    return shlex.join(words)


def _files(page: Page, about: dict[str, Any]) -> None:
    again = "kvscope report ."
    again += "".join(f" --policy {shlex.quote(name)}" for name in about["policies"])
    rows = [
        ("each run: factors, seed, all metrics", "results.csv, results.parquet", "its row above"),
        ("what the metrics are, and their units", "metrics.csv", again),
        ("means and intervals; bars, curves, Pareto front, waste", "intervals.csv", again),
        ("differences, p values, verdicts", "paired.csv", again),
        ("percentiles of all requests together", "pooled.csv", again),
        ("distributions; quantiles of each run", "samples.parquet, latencies.parquet", about["command"]),
        ("the pool block by block", "charts/blocks.csv", again),
        ("each chart: its numbers and pictures", "charts/NAME.csv, .svg, .png, .pdf", again),
        ("each setting as a complete scenario", "scenarios/", about["command"]),
        ("the experiment: scenario, factors, replications", "experiment.toml, scenario.toml", about["command"]),
        ("date, versions, machine, command, list of files", "run.json", about["command"]),
        ("tables for a paper", "tables.md, tables.tex", again),
    ]
    cells = [[Cell(what), Cell(file, code=True), Cell(line, code="kvscope" in line)] for what, file, line in rows]
    page.add(table(["what", "file", "made again by"], cells, sortable=False))


def _text(level: Any) -> str:
    if isinstance(level, dict):
        return " ".join(str(value) for value in level.values())
    if hasattr(level, "model_dump"):
        return _text(level.model_dump())
    return str(level)

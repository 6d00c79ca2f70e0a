"""The page of one run."""

import shlex
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore.errors import InputError
from simcore.export.charts import picture
from simcore.export.report import charts
from simcore.export.report.blocks import block_map
from simcore.export.report.charts import Chart
from simcore.export.report.numbers import NONE, TIMES, short
from simcore.export.report.page import Cell, Page, cards, command, facts, inline_svg, number, table
from simcore.export.report.stored import read_frame, read_json
from simcore.export.report.view import DISTRIBUTIONS, SHARES

if TYPE_CHECKING:
    import polars as pl

    from simcore.record.results import Results
    from simcore.scenario import Scenario

POINTS = 400
"""Of the pool over time."""
LATENCIES = {
    "queue": "from arrival to the first step",
    "ttft": "from arrival to the first token",
    "itl": "between two tokens",
    "tpot": "per output token after the first",
    "e2e": "from arrival to the last token",
}
SPREAD = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True)
class OneRun:
    """A run as its folder of results has it; see docs/results.md."""

    scenario: "Scenario"
    summary: dict[str, Any]
    requests: "pl.DataFrame"
    timeline: "pl.DataFrame"
    blocks: "pl.DataFrame | None"
    about: dict[str, Any]
    """the contents of run.json"""

    @classmethod
    def of(cls, results: "Results", about: dict[str, Any]) -> "OneRun":
        """A run that has just ended."""
        blocks = None if results.journal is None else results.blocks
        return cls(results.scenario, results.summary, results.requests, results.timeline, blocks, about)

    @classmethod
    def load(cls, directory: Path) -> "OneRun":
        """A run from its folder. Raises InputError where something is missing or broken."""
        from simcore.scenario import Scenario

        about, summary = (read_json(directory / name) for name in ("run.json", "summary.json"))
        scenario = Scenario.load(directory / "scenario.toml")
        requests, timeline = (read_frame(directory / name) for name in ("requests.parquet", "timeline.parquet"))
        blocks = directory / "blocks.parquet"
        return cls(scenario, summary, requests, timeline, read_frame(blocks) if blocks.exists() else None, about)


def run_page(run: OneRun) -> str:
    """The report of one run, as HTML. Raises InputError for tables that are not those of a run."""
    import polars as pl

    try:
        return _page(run).html()
    except (KeyError, TypeError, pl.exceptions.PolarsError) as error:
        raise InputError(f"these are no complete results of a run: {error!r} is not as it should be") from None


def _page(run: OneRun) -> Page:
    import polars as pl

    scenario, summary, about = run.scenario, run.summary, run.about
    requests = summary["requests"]
    page = Page(f"{scenario.name}: one run")
    versions = about.get("packages") or {}
    page.meta = escape(
        f"KVScope {versions.get('kvscope') or ''} · {str(about.get('written', ''))[:10]} · seed {scenario.seed}"
    )
    page.lead = (
        f'<p class="lead">{requests["finished"]:,} of {requests["total"]:,} requests were served in '
        f"{short(summary['end_time'])} s of simulated time.</p>"
    )
    page.section("short", "In short")
    for state, words in (
        ("interrupted", "The run was interrupted; everything here is up to then."),
        ("stalled", "The run could not end: some requests could not be served. Everything here is up to then."),
    ):
        if about.get(state):
            page.add(f'<p class="warn">{words}</p>')
    page.add(cards(_cards(summary)))
    page.text("One run says nothing about chance: to tell two settings apart, compare them over several replications.")

    page.section("latency", "Latencies", "Latencies")
    rows = [
        [Cell(key, code=True, note=words), *(number(summary[key][name]) for name in SPREAD)]
        for key, words in LATENCIES.items()
    ]
    page.add(table(["seconds", *SPREAD], rows, caption="From `summary.json`.", sortable=False))
    late = run.requests.filter(pl.col("arrival") >= scenario.metrics.warmup)
    found = [
        charts.cdf(name, {0: (name, frame)}, f"{words}.", "requests.parquet")
        for name, words in DISTRIBUTIONS.items()
        if len(frame := _quantiles(late[name]))
    ]
    page.add(f'<div class="pair">{"".join(_figure(page, chart) for chart in found)}</div>')

    page.section("memory", "The memory over time", "Memory")
    if len(run.timeline):
        page.add(_figure(page, _timeline(run)))
    memory = summary["memory"]
    parts = {name: memory[f"{name}_share"] for name in SHARES}
    if None not in parts.values():
        shares = {**parts, "free": max(0.0, 1 - sum(parts.values()))}
        page.add(_figure(page, charts.waste([("pool", shares)], "summary.json")))
    if run.blocks is not None and summary["end_time"]:
        page.section("blocks-shown", "Block by block", "Blocks")
        shown = block_map(scenario.name, run.blocks, memory["blocks"] - 1, summary["end_time"])
        page.add(_figure(page, replace(charts.heatmap([shown]), source="blocks.parquet")))

    page.section("all", "All numbers", "All")
    numbers = [[Cell(name, code=True), number(value)] for name, value in _leaves(summary)]
    page.add(table(["key", "value"], numbers, caption="From `summary.json`; docs/results.md says what each is."))
    page.section("setting", "How it was done", "Method")
    _method(page, run)
    return page


def _cards(summary: dict[str, Any]) -> list[tuple[str, str]]:
    hits, memory, rates = (summary[name] for name in ("hits", "memory", "throughput"))
    share = hits["hit_tokens"] / hits["query_tokens"] if hits["query_tokens"] else None
    used = None if memory["used_mean"] is None else memory["used_mean"] / (memory["blocks"] - 1)
    found = [
        ("requests finished", f"{summary['requests']['finished']:,}"),
        ("output tokens/s", short(rates["output_tokens_per_s"], 3)),
        ("first token, median (s)", short(summary["ttft"]["p50"], 3)),
        ("first token, 99th percentile (s)", short(summary["ttft"]["p99"], 3)),
        ("per output token, mean (s)", short(summary["tpot"]["mean"], 3)),
        ("whole request, 99th percentile (s)", short(summary["e2e"]["p99"], 3)),
        ("of the tokens looked up were hit", _percent(share)),
        ("of the blocks held, on average", _percent(used)),
        ("blocks held at most", f"{memory['used_peak']:,} of {memory['blocks'] - 1:,}"),
        ("cached blocks evicted", f"{summary['evictions']:,}"),
        ("preemptions", f"{summary['preemptions']:,}"),
    ]
    if "goodput" in summary:
        found.append(("of the requests kept every limit", _percent(summary["goodput"]["share"])))
    return found


def _percent(share: float | None) -> str:
    return NONE if share is None else f"{share:.1%}"


def _figure(page: Page, chart: Chart) -> str:
    return page.figure(chart, inline_svg(picture(chart.figure, "svg", chart.name), chart), files="")


def _quantiles(column: "pl.Series") -> "pl.DataFrame":
    import polars as pl

    values = column.drop_nulls().to_numpy()
    if not len(values):
        return pl.DataFrame()
    q = np.linspace(0, 1, 101)
    return pl.DataFrame({"q": q, "value": np.quantile(values, q)})


def _timeline(run: OneRun) -> Chart:
    """Means over equal shares of the time, idle time included."""
    steps, size = run.timeline, run.scenario.memory.block_size
    begin, lasted = (steps[name].to_numpy() for name in ("t", "dt"))
    total = run.summary["memory"]["blocks"] - 1
    ends = np.stack((begin, begin + lasted), axis=1).ravel()
    edges = np.linspace(0, ends[-1] or 1.0, POINTS + 1)
    width = edges[1] - edges[0]

    def mean(values: Any) -> Any:
        """[POINTS] of a level that is 0 between steps: how its integral grows."""
        grown = np.cumsum(values * lasted)
        at = np.stack((grown - values * lasted, grown), axis=1).ravel()
        return np.diff(np.interp(edges, ends, at, left=0.0)) / width

    used = mean(steps["blocks_used"].to_numpy())
    tokens = np.minimum(mean(steps["tokens_stored"].to_numpy() / size), used)
    if steps["blocks_cached"].max():  # blocks without content become fewer as the run goes on; between steps they stay
        at = np.searchsorted(begin, (edges[:-1] + edges[1:]) / 2, side="right") - 1
        free = np.where(at < 0, total, steps["blocks_free"].to_numpy()[at])
        free = np.minimum(free, total - used)
    else:
        free = total - used
    cached = (total - used - free).clip(0)
    parts = {"tokens": tokens, "unused": used - tokens, "cached": cached, "free": free}
    middles = ((edges[:-1] + edges[1:]) / 2).tolist()
    waiting = mean(steps["waiting"].to_numpy()).tolist()
    return charts.timeline(middles, {name: part.tolist() for name, part in parts.items()}, total, waiting)


def _leaves(summary: dict[str, Any], prefix: str = "") -> list[tuple[str, float | None]]:
    found: list[tuple[str, float | None]] = []
    for name, value in summary.items():
        if isinstance(value, dict):
            found += _leaves(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for place, each in enumerate(value):
                found += _leaves(each, f"{prefix}{name}[{each.get('name', place)}].")
        elif not isinstance(value, str):
            found.append((f"{prefix}{name}", value))
    return found


def _method(page: Page, run: OneRun) -> None:
    scenario, about = run.scenario, run.about
    trace = scenario.workload.trace
    words = about.get("command") or []
    line = words if isinstance(words, str) else shlex.join(["kvscope", *map(str, words)])
    limits = scenario.metrics.slo.model_dump(exclude_none=True)
    page.add(
        facts(
            [
                ("Model", f"{scenario.model.resolve().name} on {_hardware(scenario)}"),
                ("Workload", f"{scenario.workload.requests:,} requests, drawn" if trace is None else f"`{trace.name}`"),
                ("Pool", f"{run.summary['memory']['blocks']:,} blocks of {scenario.memory.block_size} tokens"),
                ("Eviction", f"`{' '.join(map(str, scenario.memory.eviction.model_dump().values()))}`"),
                ("Time", f"timing model `{' '.join(map(str, _values(scenario.timing.model)))}`"),
                ("Limits", ", ".join(f"{name} at most {short(value)} s" for name, value in limits.items()) or "none"),
                ("Warm-up", f"{short(scenario.metrics.warmup)} s left out of latencies, rates and memory"),
                ("Seed", f"`{scenario.seed}`"),
                ("Made", f"{about.get('written', NONE)}, {about.get('platform', NONE)}"),
                ("Versions", ", ".join(f"{name} {it}" for name, it in (about.get("packages") or {}).items() if it)),
                ("Command", f"`{line}`"),
            ]
        )
    )
    page.add("<h3>To repeat it</h3>")
    page.text("From the folder of this report; `scenario.toml` is complete.")
    page.add(command("kvscope simulate scenario.toml"))


def _hardware(scenario: "Scenario") -> str:
    hardware = scenario.hardware.resolve()
    return f"{hardware.count} {TIMES} {hardware.name}"


def _values(value: Any) -> list[Any]:
    return list(value.model_dump().values()) if hasattr(value, "model_dump") else [value]

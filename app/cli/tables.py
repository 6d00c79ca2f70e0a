"""Results as tables for people."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.measure import Measurement
from rich.table import Column, Table

from simcore import Results

if TYPE_CHECKING:
    from simcore.experiment.measured import Difference

LATENCIES = {
    "queue": "waiting",
    "ttft": "first token (TTFT)",
    "itl": "between tokens (ITL)",
    "tpot": "per output token (TPOT)",
    "e2e": "whole request (E2E)",
}
SPREAD = ("mean", "p50", "p90", "p99")
WIDEST = 10_000
NOT_FINISHED = ("rejected", "unfinished", "dropped", "skipped")


def print_summary(results: Results) -> None:
    """What a run amounts to: latencies, and then what happened to the memory."""
    summary = results.summary
    latencies = Table(
        Column("seconds"), *(Column(name, justify="right") for name in SPREAD), box=SIMPLE_HEAD, padding=(0, 2, 0, 0)
    )
    for key, label in LATENCIES.items():
        latencies.add_row(label, *(_number(value, ".4f") for value in (summary[key][name] for name in SPREAD)))
    facts = Table.grid(padding=(0, 2))
    for label, text in _facts(summary):
        facts.add_row(f"[bold]{label}[/]", text)
    console = Console()
    console.print(latencies)
    console.print(facts)


def _facts(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    requests, hits, memory, rates = (summary[key] for key in ("requests", "hits", "memory", "throughput"))
    others = [f"{requests[key]:,} {key}" for key in NOT_FINISHED if requests[key]]
    yield "requests", ", ".join([f"{requests['finished']:,} of {requests['total']:,} finished", *others])
    yield "simulated", f"{summary['end_time']:,.3f} s in {summary['steps']:,} steps"
    per_second, tokens = _number(rates["requests_per_s"], ",.2f"), _number(rates["output_tokens_per_s"], ",.0f")
    yield "throughput", f"{per_second} requests/s, {tokens} output tokens/s"
    if "goodput" in summary:
        good = summary["goodput"]
        yield (
            "goodput",
            f"{_number(good['requests_per_s'], ',.2f')} requests/s, {_share(good['share'])} of the requests",
        )
    hit = _share(hits["hit_tokens"] / hits["query_tokens"] if hits["query_tokens"] else None)
    yield "prefix cache", f"{hit} of the tokens looked up were hit, {summary['evictions']:,} blocks evicted"
    for tier in summary.get("tiers", ()):
        busy = _share(tier["fetch_busy_share"])
        yield (
            f"tier {tier['name']}",
            f"{tier['hits']:,} blocks hit, {tier['offloaded']:,} written, {tier['evicted']:,} evicted, of "
            f"{tier['blocks']:,}; {busy} of the time something was fetched",
        )
    moves = summary["moves"]
    swapped = f", {moves['swaps_out']:,} blocks swapped out and {moves['swaps_in']:,} in" if moves["swaps_out"] else ""
    yield "preemptions", f"{summary['preemptions']:,}{swapped}"
    if pruned := summary["pruning"]["tokens"]:
        yield "pruning", f"{pruned:,} tokens dropped, in {summary['pruning']['times']:,} times"
    if moves["copies"]:
        yield "samples", f"{moves['copies']:,} blocks copied before a sample wrote into its own"
    if memory["saved_share"]:
        yield "sharing", f"saves {_share(memory['saved_share'])} of the blocks that all would hold by themselves"
    mean, peak = _number(memory["used_mean"], ",.1f"), f"{memory['used_peak']:,}"
    yield "blocks used", f"{mean} on average, {peak} at most, of {memory['blocks'] - 1:,}"
    stored, reserved, internal, external = (
        _share(memory[f"{name}_share"]) for name in ("stored", "reserved", "internal", "external")
    )
    between = f", {external} between pieces" if memory["external_share"] else ""
    yield (
        "pool",
        f"{stored} holds tokens, {reserved} is reserved, {internal} is lost inside blocks{between}, on average",
    )


def print_differences(title: str, rows: "Sequence[Difference]") -> None:
    """A server's numbers beside a simulation's."""
    numbers = (Column(name, justify="right") for name in ("measured", "simulated", "difference"))
    table = Table(Column(""), Column("unit"), *numbers, box=SIMPLE_HEAD, padding=(0, 2, 0, 0), title=title)
    table.title_justify = "left"
    for row in rows:
        difference = "-" if row.share is None else f"{row.share:+.1%}"
        table.add_row(row.name, row.unit, f"{row.measured:,.4g}", f"{row.simulated:,.4g}", difference)
    print_whole(table)


def print_whole(table: Table) -> None:
    """A table that may be wider than a terminal: then the terminal breaks its lines, but no cell is cut.

    Where there is no terminal a line is as long as it has to be.
    """
    console, wide = Console(), Console(width=WIDEST)
    for column in table.columns:
        column.overflow = "fold"
        if column.no_wrap:  # to rich it could do with the width of its longest word
            cells = (column.header, *column.cells)
            column.min_width = max(Measurement.get(wide, wide.options, cell).maximum for cell in cells)
    needed = Measurement.get(wide, wide.options, table)
    width = max(console.width, needed.minimum) if console.is_terminal else needed.maximum
    Console(width=width).print(table, crop=False)


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"

"""`kvscope hits`: how often eviction policies find what they are asked for."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import AsJson, Sessions, SkipBadLines
from app.cli.output import print_json
from app.cli.paths import path_of
from app.cli.policies import named
from app.cli.studies import Chart, Format, Order, Trace, capacities_of, counted, orders_of
from app.cli.tables import print_whole
from simcore.export.charts import Line, chart_files, line_chart

if TYPE_CHECKING:
    from simcore.study import Hits, Stream

OBJECTS, PREFIXES = "object hits", "usable prefix hits"
COLUMNS = ("policy", "capacity", "order", "requests", "accesses", "object_hits", "prefix_hits")


def hits(
    trace: Trace,
    capacity: Annotated[str, typer.Option(help="Blocks of the trace's own size, or ids: 1000,5000.")],
    policy: Annotated[
        str,
        typer.Option(
            help="Eviction policies: lru,fifo; all; my_policy.py; parameters as in s3-fifo:small=0.2:ghost=0.5."
        ),
    ] = "lru",
    order: Order = None,
    admission: Annotated[
        str, typer.Option(help="Which blocks enter the cache that prefix hits are counted in.")
    ] = "everything",
    format: Format = "auto",
    sessions: Sessions = "sequential",
    skip_bad_lines: SkipBadLines = False,
    seed: Annotated[int, typer.Option(min=0, help="Of what a policy draws at random.")] = 0,
    jobs: Annotated[int, typer.Option(min=1, max=256, help="Processes that share the work.")] = 1,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE.csv", help="Write the counts as CSV.")
    ] = None,
    chart: Chart = None,
    as_json: AsJson = False,
) -> None:
    """Count object hits and usable prefix hits of eviction policies on a trace, without a server."""
    from simcore.errors import InputError
    from simcore.policies.admission import ADMISSION
    from simcore.policies.eviction import EVICTION
    from simcore.study import choose, read_stream, study

    policy, admission = named("memory.eviction", policy), named("memory.admission", admission)
    policies, sizes, orders = choose(EVICTION, policy), capacities_of(capacity), orders_of(order)
    refusers = choose(ADMISSION, admission)
    if len(refusers) > 1:
        raise InputError("--admission takes one policy")
    with chart_files(chart, out, [trace]) as files:
        stream = read_stream(trace, format, sessions=sessions, skip_bad_lines=skip_bad_lines)
        tasks = study(stream, policies, sizes, orders, admission=refusers[0], seed=seed, jobs=jobs)
        rows: list[Hits] = []
        with counted(len(policies) * len(set(sizes)) * len(stream.orders(orders)), "studies") as done:
            for row in tasks:
                rows.append(row)
                done()
        files.write(COLUMNS, ([getattr(row, name) for name in COLUMNS] for row in rows))
        if chart is not None:
            files.draw(line_chart(_panels(rows), x=_unit(stream), y="hit ratio", title=trace.name))
    if as_json:
        print_json([{name: getattr(row, name) for name in COLUMNS} for row in rows])
    else:
        _print(rows, stream)


def _unit(stream: "Stream") -> str:
    return "capacity (ids)" if stream.block is None else f"capacity (blocks of {stream.block} tokens)"


def _panels(rows: "Iterable[Hits]") -> dict[str, list[Line]]:
    """Usable hits first, where there are any; a color a policy, a dash an order."""
    lines: dict[tuple[str, str], list[Hits]] = {}
    for row in rows:
        lines.setdefault((row.policy, row.order), []).append(row)
    panels: dict[str, list[Line]] = {PREFIXES: [], OBJECTS: []}
    several = len({order for _, order in lines}) > 1
    for (policy, order), found in lines.items():
        found.sort(key=lambda row: row.capacity)
        name = f"{policy}, {order}" if several else policy
        for panel, count in ((PREFIXES, "prefix_hits"), (OBJECTS, "object_hits")):
            shares = [getattr(row, count) / row.accesses for row in found if getattr(row, count) is not None]
            if shares:
                capacities = [row.capacity for row in found]
                panels[panel].append(Line(name, capacities, shares, several and order == "tail-first", policy))
    return {name: panel for name, panel in panels.items() if panel}


def _print(rows: "list[Hits]", stream: "Stream") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    what = "ids" if stream.block is None else f"blocks of {stream.block} tokens"
    typer.echo(f"{stream.requests:,} requests, {len(stream.names):,} {what}, {stream.names.max():,} of them distinct")
    names = ("capacity", "objects", "", "usable", "", "accesses/\nCPU s")
    numbers = [Column(name, justify="right") for name in names]
    table = Table(Column("policy"), Column("order"), *numbers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        counts = [cell for count in (row.object_hits, row.prefix_hits) for cell in _count(count, row.accesses)]
        speed = f"{row.accesses / row.cpu_s / 1e6:.2f} M" if row.cpu_s else "-"
        table.add_row(row.policy, row.order, f"{row.capacity:,}", *counts, speed)
    print_whole(table)


def _count(hits: int | None, accesses: int) -> tuple[str, str]:
    return ("-", "") if hits is None else (f"{hits:,}", f"{hits / accesses:.2%}")

"""`kvscope curve`: the miss-ratio curve of LRU, at all capacities."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import Sessions, SkipBadLines
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from app.cli.studies import Chart, Format, Order, Trace, counted, orders_of
from app.cli.tables import print_whole
from simcore.export.charts import Line, chart_files, line_chart

if TYPE_CHECKING:
    from simcore.study import Curve

OBJECTS, PREFIXES = "objects missed", "usable prefixes missed"
COLUMNS = ("order", "capacity", "object_hits", "prefix_hits", "object_miss_ratio", "prefix_miss_ratio")


def curve(
    trace: Trace,
    sampled: Annotated[
        float | None,
        typer.Option(metavar="RATE", help="Estimate it from this share of the contents: for long traces (SHARDS)."),
    ] = None,
    order: Order = None,
    format: Format = "auto",
    sessions: Sessions = "sequential",
    skip_bad_lines: SkipBadLines = False,
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of the sample.")] = 0,
    table: Annotated[
        Path | None,
        typer.Option("--csv", parser=path_of, metavar="FILE", help="Write every capacity at which hits change."),
    ] = None,
    chart: Chart = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print every capacity at which hits change as JSON.")] = False,
) -> None:
    """Compute the hits of LRU at all capacities in one pass: of objects, and usable ones of prompts."""
    from simcore.study import lru_curve, read_stream, sampled_curve

    with chart_files(chart, table, [trace]) as files:
        stream = read_stream(trace, format, sessions=sessions, skip_bad_lines=skip_bad_lines)
        curves = []
        asked = stream.orders(orders_of(order))
        with counted(len(asked), "curves") as done:
            for each in asked:
                found = lru_curve(stream, each) if sampled is None else sampled_curve(stream, sampled, each, seed)
                curves.append(found)
                done()
        files.write(COLUMNS, (row.values() for row in _rows(curves)))
        if chart is not None:
            unit = "ids" if stream.block is None else f"blocks of {stream.block} tokens"
            files.draw(
                line_chart(_panels(curves), x=f"capacity ({unit})", y="miss ratio", title=trace.name, steps=True)
            )
    if as_json:
        print_json(list(_rows(curves)))
    else:
        _print(curves)


def _rows(curves: "list[Curve]") -> "Any":
    for found in curves:
        prefixes = [None] * len(found.capacity) if found.prefix_hits is None else found.prefix_hits.tolist()
        columns = zip(found.capacity.tolist(), found.object_hits.tolist(), prefixes, strict=True)
        for capacity, objects, usable in columns:
            ratios = [None if hits is None else 1 - hits / found.accesses for hits in (objects, usable)]
            yield dict(zip(COLUMNS, (found.order, capacity, objects, usable, *ratios), strict=True))


def _panels(curves: "list[Curve]") -> dict[str, list[Line]]:
    panels: dict[str, list[Line]] = {PREFIXES: [], OBJECTS: []}
    for found in curves:
        capacities = [*found.capacity.tolist(), max(found.distinct, 2)]
        for panel, hits in ((PREFIXES, found.prefix_hits), (OBJECTS, found.object_hits)):
            if hits is not None:
                misses = (1 - hits / found.accesses).tolist()
                dashed = found.order == "tail-first"
                panels[panel].append(Line(f"lru, {found.order}", capacities, [*misses, misses[-1]], dashed))
    return {name: panel for name, panel in panels.items() if panel}


def _print(curves: "list[Curve]") -> None:
    import numpy as np
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    some = curves[0]
    typer.echo(f"{some.requests:,} requests, {some.accesses:,} accesses, {some.distinct:,} contents")
    if some.sampled < 1:
        mention(f"estimated from a share of {some.sampled:g} of the contents; usable hits cannot be sampled")
    numbers = [Column(name, justify="right") for name in ("capacity", OBJECTS, PREFIXES)]
    table = Table(Column("order"), *numbers, box=SIMPLE_HEAD, padding=(0, 2, 0, 0))
    sizes = [digit * 10**power for power in range(len(str(some.distinct))) for digit in (1, 2, 5)]
    sizes = [size for size in sizes if size < some.distinct] + [some.distinct]
    for found in curves:
        objects, usable = found.at(np.array(sizes))
        for place, size in enumerate(sizes):
            shares = [None if hits is None else 1 - int(hits[place]) / found.accesses for hits in (objects, usable)]
            table.add_row(found.order, f"{size:,}", *("-" if share is None else f"{share:.2%}" for share in shares))
    print_whole(table)

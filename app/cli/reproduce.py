"""`kvscope reproduce`: published numbers beside ours."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import AsJson
from app.cli.output import print_json
from app.cli.paths import path_of
from app.cli.studies import counted

if TYPE_CHECKING:
    from rich.table import Table

    from simcore.experiment.published import Row

DISAGREES = 1
WIDE = 140
"""Columns of a table that goes to a file or another program."""
LIST = "list"


def reproduce(
    name: Annotated[str, typer.Argument(metavar="LIST|NAME", help="What to reproduce; list: what there is.")],
    trace: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE", help="The trace that mooncake-hit-ratio plays.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, max=256, help="Processes that share the work; as many as there are cores.")
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Play what others have published, and print their numbers, ours, the differences and what had to be assumed."""
    from simcore.errors import InputError
    from simcore.experiment.published import NAMES, agree, table

    if name == LIST:
        if trace is not None:
            raise InputError("list plays no trace: --trace is for mooncake-hit-ratio")
        _list(NAMES, as_json)
        return 0
    played = table(name, trace)
    with counted(len(played.runs), "runs") as done:
        rows = played.play(jobs or _cores(), done)
    agreed = agree(rows)
    if as_json:
        print_json([row.to_json() for row in rows])
    else:
        _print(played.title, rows, agreed)
    return 0 if agreed else DISAGREES


def _cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _list(names: dict[str, str], as_json: bool) -> None:
    if as_json:
        print_json([{"name": name, "what": what} for name, what in names.items()])
        return
    width = max(map(len, names))
    for name, what in names.items():
        typer.echo(f"{name:{width}}  {what}")


def _print(title: str, rows: "list[Row]", agreed: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Column, Table

    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    replicated = any(row.interval is not None for row in rows)
    names = ("published", "ours", *(["95 %"] if replicated else []), "unit", "difference", "bound")
    columns = [Column(name, justify="left" if name == "unit" else "right", no_wrap=True) for name in names]
    table = Table(Column(""), Column("number"), *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        mark = {True: "[green]ok[/]", False: "[red]no[/]", None: "[dim]shown[/]"}[row.ok]
        published = _number(row.published, row)
        if row.published_to is not None:
            published += f" to {_number(row.published_to, row)}"
        interval = [f"± {_number(row.interval or 0.0, row)}"] if replicated else []
        unit = "" if row.unit == "share" else row.unit
        apart = [_apart(row.difference, row, "+"), "-" if row.bound is None else _apart(row.bound, row)]
        table.add_row(mark, row.name, published, _number(row.ours, row), *interval, unit, *apart)
    console.print(title, style="bold")
    console.print(table)
    if moved := _moved(rows):
        console.print(moved)
    console.print("assumptions:")
    for assumption in dict.fromkeys(text for row in rows for text in row.assumptions):
        whose = [row.name for row in rows if assumption in row.assumptions]
        only = f" ({'; '.join(whose)})" if len(whose) < len(rows) else ""
        console.print(f"- {assumption}{only}", soft_wrap=True, markup=False)
    decided = [row for row in rows if row.ok is not None]
    within = sum(row.ok is True for row in decided)
    verdict = f"{within} of {len(decided)} numbers are within their bounds"
    if shown := len(rows) - len(decided):
        verdict += f"; {shown} more are only shown"
    console.print(f"verdict: {'yes' if agreed else 'no'}, {verdict}", soft_wrap=True)


def _moved(rows: "list[Row]") -> "Table | None":
    """What each number does when an assumption is 10 % larger."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    keys = list(dict.fromkeys(key for row in rows for key in row.moved))
    if not keys:
        return None
    names = [key.partition(".")[2].replace(".", "\n").replace("_", "\n") for key in keys]
    columns = [Column(name, justify="right", no_wrap=True) for name in names]
    table = Table(Column("ours, with this 10 % larger"), *columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(row.name, *("0" if abs(row.moved[key]) < 0.0005 else f"{row.moved[key]:+.1%}" for key in keys))
    return table


def _number(value: float, row: "Row", sign: str = "") -> str:
    if row.unit == "share":
        return f"{value:{sign}.2%}"
    return f"{value:{sign},.6g}" if isinstance(row.published, int) else f"{value:{sign},.2f}"


def _apart(value: float, row: "Row", sign: str = "") -> str:
    """A difference, or a bound."""
    if not value:
        return "0"
    if row.relative and row.unit != "times":
        return f"{value / row.published:{sign}.1%}"
    if row.unit == "share":
        return f"{100 * value:{sign}.2f} points"
    return _number(value, row, sign)

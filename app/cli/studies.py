"""What the commands of cache studies have in common."""

from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.paths import path_of
from app.cli.progress import bars
from simcore.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

Trace = Annotated[
    Path,
    typer.Argument(parser=path_of, help="A trace with block hashes, or ids: text, one a line, or .npy; plain or .gz."),
]
Format = Annotated[str, typer.Option(help="ids, or the trace's format; auto: told by its content.")]
Chart = Annotated[
    Path | None,
    typer.Option(parser=path_of, metavar="FILE", help="Draw hit ratios by capacity: .svg or .png, and a .csv beside."),
]
Order = Annotated[
    str | None,
    typer.Option(help="How requests touch their blocks: forward, tail-first, or both with a comma; both without it."),
]


def orders_of(text: str | None) -> list[str] | None:
    """The orders that were asked for; None: all."""
    return None if text is None else [order.strip() for order in text.split(",")]


def capacities_of(text: str) -> list[int]:
    """Whole numbers, separated by commas; 1_000 is one."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(f'--capacity must be whole numbers of blocks with commas between them, not "{text}"') from None


@contextmanager
def counted(total: int, what: str) -> "Iterator[Callable[[], None]]":
    """A bar on a terminal, silence in a pipe; to call when one more is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    with bars(BarColumn(), MofNCompleteColumn(), TextColumn(what), TimeRemainingColumn()) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.advance(task)

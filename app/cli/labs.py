"""What the commands of the labs have in common."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

from app.cli.progress import bars

if TYPE_CHECKING:
    from engine.labs.progress import Progress


def print_table(names: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = (0,)) -> None:
    """A table whose columns are numbers, but for `words`."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    sides: list[Literal["left", "right"]] = ["left" if each in words else "right" for each in range(len(names))]
    columns = [Column(name, justify=side) for name, side in zip(names, sides, strict=True)]
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in rows:
        table.add_row(*map(escape, row))
    Console().print(table)


@contextmanager
def shown(what: str) -> "Iterator[Progress]":
    """A bar on a terminal, silence in a pipe."""
    from rich.progress import BarColumn, TextColumn

    columns = (BarColumn(), TextColumn("{task.percentage:>3.0f} %"), TextColumn("{task.description}"))
    with bars(*columns) as bar:
        task = bar.add_task(what, total=1.0)
        yield lambda share, following: bar.update(task, completed=share, description=following)

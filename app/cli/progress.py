"""Progress bars on a terminal, silence in a pipe."""

import sys
from collections.abc import Iterator
from collections.abc import Sequence as Several
from contextlib import contextmanager
from typing import TYPE_CHECKING

from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence, served
from simcore.serving.world import Observer
from simcore.ticks import Tick

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import ProgressColumn

EVERY = 256
"""Steps between two looks at the clock."""


def bars(*columns: "ProgressColumn", quiet: bool = False) -> "Bars":
    """Bars on standard error, of these columns; none where that is no terminal, or where it shall be quiet."""
    from rich.console import Console
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    return Bars(*columns, console=console, transient=True, disable=quiet or not console.is_terminal)


class Progress:
    """Watches requests end, and shows how many, how quickly, and for how long it will still take."""

    def __init__(self, *, quiet: bool) -> None:
        self.observers: Several[Observer] = [self] if sys.stderr and sys.stderr.isatty() and not quiet else []
        self._ended = 0

    @contextmanager
    def shown(self, requests: int) -> Iterator[None]:
        """The bar, while a run lasts."""
        if not self.observers:
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("requests"), TextColumn("{task.fields[rate]}"))
        with bars(*columns, TimeRemainingColumn()) as self._bar:
            self._task = self._bar.add_task("", total=requests, rate="")
            yield

    def arrived(self, request: Request, accepted: bool) -> None:
        self._ended += not accepted

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        if plan.index % EVERY == 0:
            speed = self._bar.tasks[0].speed
            self._bar.update(self._task, completed=self._ended, rate=f"{speed:,.0f}/s" if speed else "")

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        self._ended += len(served(ended))

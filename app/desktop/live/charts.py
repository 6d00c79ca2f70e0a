"""What a run has done so far: its memory, its queue, its latencies over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QSplitter,
)

from app.desktop.charts import Chart
from app.desktop.live.numbers import MEASURED
from app.desktop.session import LiveSession
from simcore.ticks import TICKS_PER_SECOND

COLUMNS = 900
"""Points that a chart is given at most."""


class LiveCharts(QSplitter):
    """Three charts on one clock, in which a range of time can be selected."""

    region_changed = Signal(object)
    """(start, end) of the range that is selected in one of them, in s, or None"""

    def __init__(self) -> None:
        super().__init__(Qt.Orientation.Horizontal)
        self.memory = Chart("Memory", "time", "tokens", x_unit="s", about="What the slots of the pool are used for.")
        self.stack = self.memory.stack(
            ("stored", "reserved", "internal", "cached", "free"), ("stored", "reserved", "internal", "cached", "free")
        )
        self.memory_other = self.memory.line("stored, beside", "text")
        self.memory_other.name = ""
        self.load = Chart("Requests", "time", "requests", x_unit="s", about="In the batch, and in the queue.")
        self.running = self.load.line("running", step=True)
        self.waiting = self.load.line("waiting", step=True)
        self.latency = Chart("Time to first token", "time", "s", x_unit="s", about="Of the requests lately.")
        self.p50, self.p99 = self.latency.line("median"), self.latency.line("99th percentile")
        self.setChildrenCollapsible(False)
        self.charts = (self.memory, self.load, self.latency)
        for chart in self.charts:
            chart.selectable()
            chart.axes["bottom"].showLabel(False)  # time, as the unit behind its numbers says
            chart.axes["bottom"].suffix = " s"
            chart.region_changed.connect(self.region_changed)
            self.addWidget(chart)
        self.setSizes([500, 330, 330])

    def begin(self, names: Sequence[str]) -> None:
        """Of a run, and of one beside it, that are called so."""
        self.memory_other.name = f"stored: {names[1]}" if len(names) > 1 else ""
        self.memory_other.set([], [])
        self.memory.key.refresh()

    def unselect(self) -> None:
        """No range, and nobody is told."""
        for chart in self.charts:
            if chart.region is not None:
                chart.blockSignals(True)
                chart.unselect()
                chart.blockSignals(False)

    def show_all(self) -> None:
        """Follow what is drawn."""
        for chart in self.charts:
            chart.plot.getViewBox().enableAutoRange()

    def dress(self) -> None:
        """Take the colours of the current theme."""
        for item in self.stack.items:
            item.setPen(None)  # edges of so many columns would hide the areas

    def fill(self, session: LiveSession, chosen: tuple[int, int] | None) -> None:
        """All of the run so far, or the steps of a range that is `chosen`."""
        history = session.history
        if history is None:
            return
        last = session.newest
        first = 0
        if chosen is not None:
            first, last = chosen
        rows = np.unique(np.linspace(first, last, min(COLUMNS, last - first + 1)).astype(np.int64))
        steps = {name: history.steps[name][rows] for name in MEASURED}
        x = history.steps["t"][rows] / TICKS_PER_SECOND
        size = history.facts.block_size
        heights = np.stack(
            [
                steps["tokens_stored"],
                steps["tokens_reserved"],
                steps["tokens_internal"],
                steps["blocks_cached"] * size,
                steps["blocks_free"] * size,
            ]
        )
        self.stack.set(x, heights)
        self.running.set(x, steps["running"])
        self.waiting.set(x, steps["waiting"])
        if len(session.histories) > 1 and len(session.histories[1]):
            other = session.histories[1]
            end = other.step_at(history.seconds(last))
            places = np.unique(np.linspace(0, end, min(COLUMNS, end + 1)).astype(np.int64))
            self.memory_other.set(other.steps["t"][places] / TICKS_PER_SECOND, other.steps["tokens_stored"][places])
        known = history.latencies(last, "ttft")
        if chosen is not None:
            known = known[known[:, 0] >= history.seconds(first)]
        at, median, late = _percentiles(known)
        self.p50.set(at, median)
        self.p99.set(at, late)
        for chart in self.charts:
            if not session.following and chosen is None:
                chart.cross.setPos(session.now)
                chart.cross.show()
            else:
                chart.cross.hide()


def _percentiles(known: Any, bins: int = 60) -> tuple[Any, Any, Any]:
    """[bins] when, median and 99th percentile of the requests of each stretch of time that has any."""
    if not len(known):
        return [], [], []
    known = known[np.argsort(known[:, 0], kind="stable")]
    edges = np.linspace(known[0, 0], known[-1, 0] + 1e-9, min(bins, max(len(known) // 8, 2)) + 1)
    cuts = np.searchsorted(known[:, 0], edges)
    at, median, late = [], [], []
    for begin, end, when in zip(cuts[:-1], cuts[1:], edges[1:], strict=True):
        if end > begin:
            low, high = np.percentile(known[begin:end, 1], (50, 99))
            at.append(when)
            median.append(low)
            late.append(high)
    return at, median, late

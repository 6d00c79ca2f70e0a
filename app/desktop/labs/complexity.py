"""How cost grows."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QVBoxLayout,
)

from app.desktop.charts import Chart
from app.desktop.labs.lab import Lab
from app.desktop.pages.base import Context
from app.desktop.sheet import Sheet
from app.jobs import labs
from simcore.geometry import MIB


class ComplexityLab(Lab):
    """Exponents, measured beside a lecture's symbols."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Measure")
        words = QLabel("Training and generation of a small transformer, by tokens N and layers L.")
        words.setProperty("role", "muted")
        self.top.addWidget(words)
        self.close_top()
        self.table = Sheet(
            ("way", "quantity", "a lecture says", "N", "last", "L", "last", ""), "Exponents", right=range(3, 7)
        )
        for column, tip in (
            (2, "The symbol in a lecture's table"),
            (3, "The exponent of N through all points, and its standard error"),
            (4, "The exponent of N between the last two points"),
            (5, "The exponent of L through all points, and its standard error"),
            (6, "The exponent of L between the last two points"),
        ):
            self.table.explain(column, tip)
        self.table.itemSelectionChanged.connect(self._draw)
        self.chart = Chart("Measured", "N or L", "", about="Both axes in powers: a power law is a straight line.",
                           empty="Press Measure: it takes a minute or two. Each row's points are drawn here, and the "
                           "line whose slope is the exponent.")  # fmt: skip
        self.chart.logarithmic(x=True, y=True)
        self.points = {axis: self.chart.scatter("", hue) for axis, hue in (("N", "stored"), ("L", "internal"))}
        self.fits = {axis: self.chart.line(axis, hue) for axis, hue in (("N", "stored"), ("L", "internal"))}
        self.why = QLabel("Where an exponent differs from the symbol, the reason stands here.")
        self.why.setWordWrap(True)
        self.why.setMinimumHeight(96)
        self.why.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.why.setAccessibleName("Why it differs")
        right = QVBoxLayout()
        right.setSpacing(10)
        right.addWidget(self.chart, 1)
        right.addWidget(self.why)
        row = QHBoxLayout()
        row.setSpacing(14)
        row.addWidget(self.table, 4)
        row.addLayout(right, 3)
        self.box.addLayout(row, 1)
        self.cells: list[labs.ComplexityCell] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return labs.complexity, ()

    def found(self, result: tuple[str, list[labs.ComplexityCell]]) -> None:
        machine, self.cells = result
        self.note.setText(machine)
        self.table.setRowCount(len(self.cells))
        for place, cell in enumerate(self.cells):
            exponents = []
            for axis in ("N", "L"):
                slope, error, last = (round(each, 2) + 0.0 for each in cell.fits[axis])  # no -0.00
                exponents += [f"{slope:.2f} ± {error:.2f}", f"{last:.2f}"]
            again = place > 0 and self.cells[place - 1].way == cell.way
            for column, text in enumerate((cell.way, cell.quantity, cell.symbol, *exponents)):
                self.table.put(place, column, text, "muted" if again and not column else "", " ".join(cell.why))
            self.table.put(place, 7, "differs" if cell.why else "", "warn", " ".join(cell.why))
        self.table.selectRow(0)

    def _draw(self) -> None:
        place = self.table.currentRow()
        if not 0 <= place < len(self.cells):
            return
        cell = self.cells[place]
        self.why.setText(" ".join(cell.why) or f"As the lecture has it: {cell.symbol}.")
        unit, scale = (
            ("MiB at most, besides weights and gradients", MIB) if cell.quantity == "memory" else (cell.unit, 1)
        )
        self.chart.label(y=unit)
        for axis, points in cell.points.items():
            x, y = points.T
            there = y > 0
            x, y = x[there], y[there] / scale
            self.points[axis].set(x, y)
            slope = cell.fits[axis][0]
            middle = np.exp(np.log(y).mean() - slope * np.log(x).mean()) if there.any() else 0.0
            self.fits[axis].name = f"{axis}: slope {slope:.2f}"
            self.fits[axis].set(x, middle * x**slope)
        self.chart.key.refresh()
        self.chart.rename(f"{cell.way}: {cell.quantity}")

"""Forms of attention against each other."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PySide6.QtWidgets import (
    QComboBox,
    QGridLayout,
    QLabel,
)

from app.desktop.charts import Chart
from app.desktop.labs.lab import Lab, block_lines, spin
from app.desktop.pages.base import Context
from app.jobs import labs
from simcore.geometry import KIB

COLOURS = {"standard": "traditional", "paged": "paged", "block-local": "shared"}


class AttentionLab(Lab):
    """Standard, paged and block-local attention."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Measure")
        self.tokens = self.ask("Tokens", spin(2, 4096, 128), "Length of the sequence")
        self.dim = self.ask("Width", spin(1, 1024, 64), "Numbers in a key, as in a query and a value")
        self.block = self.ask("Block", spin(1, 4096, 32), "Tokens in a block, or page")
        self.backend = self.ask("Computed with", QComboBox(), "Both give the same; their times differ")
        self.backend.addItems(["numpy", "torch"])
        self.close_top()
        self.time = Chart("Time", "", "ms", about="Median, and between which half of the runs lie.",
                          empty="Press Measure: three forms of attention compute the same sequence.")  # fmt: skip
        self.peak = Chart("Peak memory", "", "KiB", about="Allocated at most, besides q, k and v.",
                          empty="What each form allocates at most.")  # fmt: skip
        self.blocks = Chart("Memory of each block", "block of queries", "KiB",
                            about="Allocated while one block of queries is answered.",
                            empty="What one block of queries takes.", from_zero=True)  # fmt: skip
        self.blocks.whole("bottom")
        self.error = Chart("Not the same function", "tokens seen beside the block", "relative error",
                           about="By how far a block-local token looks beyond its block.",
                           empty="How far off block-local attention is.")  # fmt: skip
        self.pattern = Chart(
            "Weights of the first tokens",
            "key",
            "query",
            about="Lines are blocks: block-local attention sees the squares on the diagonal alone.",
            empty="Which token looks at which.",
        )
        self.time_bars, self.peak_bars = (chart.bars(hues=list(COLOURS.values())) for chart in (self.time, self.peak))
        self.lines = {name: self.blocks.line(name, COLOURS[name]) for name in ("paged", "block-local")}
        self.error_line = self.error.line("block-local", "shared")
        self.heat = self.pattern.heatmap("weight")
        self.facts = QLabel("Standard attention keeps all scores; paged attention reads the same keys page by page.")
        self.facts.setWordWrap(True)
        grid = QGridLayout()
        grid.setSpacing(10)
        for chart, row, column in (
            (self.time, 0, 0), (self.peak, 0, 1), (self.blocks, 1, 0), (self.error, 1, 1),
        ):  # fmt: skip
            grid.addWidget(chart, row, column)
        grid.addWidget(self.pattern, 0, 2, 2, 1)
        for column, stretch in enumerate((3, 3, 4)):
            grid.setColumnStretch(column, stretch)
        self.box.addWidget(self.facts)
        self.box.addLayout(grid, 1)
        self.marks: list[Any] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        block = min(self.block.value(), self.tokens.value())
        return labs.forms, (self.tokens.value(), self.dim.value(), block, self.backend.currentText())

    def found(self, result: labs.FormsCompared) -> None:
        names = [form.name for form in result.forms]
        self.time_bars.set(
            names, [f.median for f in result.forms], [f.low for f in result.forms], [f.high for f in result.forms]
        )
        self.peak_bars.set(names, [form.peak / KIB for form in result.forms])
        by_name = {form.name: form for form in result.forms}
        for name, line in self.lines.items():
            sizes = [size / KIB for size in by_name[name].blocks]
            line.set(np.arange(1, len(sizes) + 1), sizes)
            self.blocks.plot.setXRange(0.5, len(sizes) + 0.5, padding=0)
        self.error_line.set(result.overlaps[:, 0], result.overlaps[:, 1])
        self.heat.set(result.pattern, (0.0, float(np.quantile(result.pattern, 0.995))))  # one outlier darkens all
        self.marks = block_lines(self.pattern, self.marks, result.block, len(result.pattern))
        standard, paged, local = (by_name[name] for name in ("standard", "paged", "block-local"))
        self.facts.setText(
            f"In pages the peak is <b>{1 - paged.peak / standard.peak:.1%}</b> lower, and the answer differs by "
            f"<b>{paged.difference:.1g}</b>; inside of blocks it is <b>{1 - local.peak / standard.peak:.1%}</b> lower, "
            f"and differs by <b>{local.difference:.2g}</b>: another function. {result.memory_tool}; {result.machine}."
        )

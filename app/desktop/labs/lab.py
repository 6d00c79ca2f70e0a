"""What the labs have in common."""

from collections.abc import Callable
from typing import Any

import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.charts import Chart
from app.desktop.dialogs import complain
from app.desktop.figure import Elided
from app.desktop.pages.base import Context
from app.desktop.tasks import Task
from app.jobs import labs


class Lab(QWidget):
    """A tab: something to ask on top, a button that runs it in a process of its own, and what comes of it."""

    def __init__(self, context: Context, words: str) -> None:
        super().__init__()
        self.context = context
        self.task: Task | None = None
        self.top = QHBoxLayout()
        self.top.setSpacing(8)
        self.note = Elided()
        self.note.setProperty("role", "muted")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.bar.setMaximumWidth(180)
        self.bar.setAccessibleName("Progress")
        self.bar.hide()
        self.words = words
        self.go = QPushButton(words)
        self.go.setProperty("role", "primary")
        self.go.clicked.connect(self.toggle)
        self.box = QVBoxLayout(self)
        self.box.setContentsMargins(0, 10, 0, 0)
        self.box.setSpacing(10)
        self.box.addLayout(self.top)

    def close_top(self) -> None:
        """Everything that is asked is there: note, progress and button come last."""
        self.top.addSpacing(8)
        self.top.addWidget(self.note, 1)
        for widget in (self.bar, self.go):
            self.top.addWidget(widget)

    def ask(self, name: str, widget: Any, help: str = "") -> Any:
        """A named field."""
        widget.setToolTip(help)
        if isinstance(widget, QSpinBox):
            widget.lineEdit().setAccessibleName(name)
        label = QLabel(name)
        label.setProperty("role", "muted")
        label.setBuddy(widget)
        widget.setAccessibleName(name)
        self.top.addWidget(label)
        self.top.addWidget(widget)
        return widget

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        """What to call in the process."""
        raise NotImplementedError

    def told(self, news: object) -> None:
        """What it says meanwhile."""

    def found(self, result: Any) -> None:
        """What came of it."""

    def toggle(self) -> None:
        """Begin, or cancel."""
        if self.task is not None:
            self.over()
            self.note.setText("cancelled")
            return
        function, arguments = self.asked()
        self.task = self.context.tasks.start(labs.with_torch, function, *arguments)
        self.task.progressed.connect(self._told)
        self.task.done.connect(self._done)
        self.task.failed.connect(self._failed)
        self.go.setText("Cancel")
        self.note.setText("loading torch")
        self.bar.setValue(0)
        self.bar.show()

    def over(self) -> None:
        """End the process."""
        if self.task is not None:
            self.task.cancel()
            self.task = None
        self.go.setText(self.words)
        self.bar.hide()

    def _told(self, news: object) -> None:
        if isinstance(news, labs.Share):
            self.bar.setValue(int(1000 * news.share))
            self.note.setText(news.what)
        else:
            self.told(news)

    def _done(self, result: object) -> None:
        self.over()
        self.note.setText("")
        self.found(result)

    def _failed(self, sentence: str) -> None:
        self.over()
        self.note.setText("")
        complain(self, "The lab could not do this", sentence)


def spin(low: int, high: int, value: int) -> QSpinBox:
    """A field for a whole number, without buttons."""
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
    return box


def block_lines(chart: Chart, old: list[Any], block: int, count: int) -> list[Any]:
    """Lines between blocks, over a heatmap."""
    for line in old:
        chart.plot.removeItem(line)
    made = []
    pen = pg.mkPen(theme.colour("#ffffff", 0.8), width=1, style=Qt.PenStyle.DashLine)  # on viridis in every theme
    for place in range(block, count, block):
        for angle in (0, 90):
            line = pg.InfiniteLine(place, angle=angle, pen=pen)
            chart.plot.addItem(line, ignoreBounds=True)
            made.append(line)
    return made

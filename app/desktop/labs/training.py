"""Where the memory of training ends."""

from collections.abc import Callable
from typing import Any

from PySide6.QtWidgets import (
    QComboBox,
    QHBoxLayout,
    QLabel,
)

from app.desktop.charts import Chart, number
from app.desktop.dialogs import complain
from app.desktop.labs.lab import Lab
from app.desktop.pages.base import Context
from app.desktop.sheet import Sheet
from app.jobs import labs
from simcore.geometry import MIB
from simcore.scenario.presets import preset_names


class TrainingLab(Lab):
    """Where memory ends."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Measure here")
        self.gpu = self.ask("Predict for", QComboBox(), "The GPU whose memory is the limit")
        self.gpu.addItems(preset_names("hardware"))
        self.gpu.setCurrentText("gtx-1080")
        self.gpu.currentIndexChanged.connect(self.predict)
        self.close_top()
        columns = ("width", "length", "held", "at most", "document", "ms", "here", "ms")
        self.table = Sheet(columns, "Attention by width and length", right=range(len(columns)))
        for column, tip in (
            (2, "Predicted: bytes held before backward"),
            (3, "Predicted: bytes allocated at most, and whether they fit"),
            (4, "What the document measured: bytes held before backward"),
            (5, "What the document measured: forward and backward"),
            (6, "Measured on this machine: bytes held before backward"),
            (7, "Measured on this machine: forward and backward"),
        ):
            self.table.explain(column, tip)
        self.chart = Chart("Bytes before backward", "length", "MiB", about="One head, batch of 8; both axes in powers.")
        self.chart.logarithmic(x=True, y=True)
        self.lines = {dim: self.chart.line(f"width {dim}") for dim in (16, 32, 64, 128)}
        self.document = self.chart.scatter("document", "text")
        self.here = self.chart.scatter("here", "paged")
        words = QLabel(
            "Forward and backward of one head, batch of 8, float32: MiB held before backward and at most as "
            "predicted, as the document has them and as measured here; forward / backward in ms."
        )
        words.setWordWrap(True)
        words.setProperty("role", "muted")
        self.box.addWidget(words)
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(self.table, 5)
        row.addWidget(self.chart, 2)
        self.chart.setMinimumWidth(260)
        self.box.addLayout(row, 1)
        self.rows: list[labs.TrainingRow] = []
        self._places: dict[tuple[int, int], int] = {}
        self._measured: list[labs.TrainingMeasured] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        self._measured = []
        if not self.rows:
            self.predict()
        return labs.training_here, ()

    def predict(self) -> None:
        """The table for another GPU."""
        task = self.context.tasks.start(labs.with_torch, labs.training_table, self.gpu.currentText())
        task.done.connect(self._predicted)
        task.failed.connect(lambda sentence: complain(self, "This cannot be predicted", sentence))

    def _predicted(self, rows: list[labs.TrainingRow]) -> None:
        self.rows = rows
        self.table.setRowCount(len(rows))
        self._places = {(row.dim, row.length): place for place, row in enumerate(rows)}
        for place, row in enumerate(rows):
            fits = row.predicted_status == "fits"
            told = row.reported
            cells = [str(row.dim), f"{row.length:,}", _mib(row.predicted_held)]
            cells += [f"{'✓' if fits else '✗'} {_mib(row.predicted_peak)}"]
            cells += ["✗", ""] if told is None else [f"{told[2]:,.1f}", f"{told[0]} / {told[1]}"]
            for column, text in enumerate(cells):
                hue = "" if column != 3 else "good" if fits else "bad"
                tip = ("fits" if fits else "out of memory") if column == 3 else "out of memory" if text == "✗" else ""
                self.table.put(place, column, text, hue, tip)
        for dim, line in self.lines.items():
            own = [row for row in rows if row.dim == dim]
            line.set([row.length for row in own], [row.predicted_held / MIB for row in own])
        known = [row for row in rows if row.reported]
        self.document.set([row.length for row in known], [row.reported[2] for row in known if row.reported])

    def told(self, news: object) -> None:
        if not isinstance(news, labs.TrainingMeasured):
            return
        place = self._places.get((news.dim, news.length))
        if place is None:
            return
        spent = [number(each) for each in (news.forward, news.backward) if each is not None]
        for column, text in ((6, _mib(news.held) if news.status == "fits" else news.status), (7, " / ".join(spent))):
            self.table.put(place, column, text, "", news.note)
        self._measured.append(news)
        fitting = [each for each in self._measured if each.status == "fits"]
        self.here.set([each.length for each in fitting], [each.held / MIB for each in fitting])


def _mib(count: int) -> str:
    return f"{count / MIB:,.1f}"

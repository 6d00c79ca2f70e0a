"""The labs: forms of attention, a small model's heads and pages, where memory ends, how cost grows, what is written."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QPushButton,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.actions import Action
from app.desktop.charts import Chart, number
from app.desktop.dialogs import complain
from app.desktop.figure import Elided
from app.desktop.pages.base import Context, Page
from app.desktop.sheet import Sheet
from app.desktop.tasks import Task
from app.jobs import labs
from app.jobs.validation import SHIPPED
from simcore.scenario.presets import preset_names

PROMPT = " In box ba is ko. In box mi is lu. What is in box ba?"
KIB, MIB = 1 << 10, 1 << 20
COLOURS = {"standard": "traditional", "paged": "paged", "block-local": "shared"}
FAULTS = (
    (
        "000",
        "Calls attention inside of blocks paged attention, and finds that it saves 78.7 %.",
        "Block-local attention is another function of its inputs: tokens see their own block alone. Paged attention "
        "gives what standard attention gives, and saves about as much.",
        "Attention",
    ),
    (
        "001",
        "Eight heads in four groups save 4x.",
        "Keys and values are kept once a group: eight heads in four groups save 2x. The calculator draws all groups.",
        "Calculator: Heads",
    ),
    (
        "002",
        "Time doubles for four times the length.",
        "Its own rows grow 6 to 17 times: scores have length x length elements. See the slopes.",
        "Training",
    ),
    (
        "002",
        "Backward takes consistently 3 to 4 times as long as forward.",
        "Its own rows say 1.8 to 7.6 times.",
        "Training",
    ),
    (
        "004",
        "22.00 MB and 87.5 % saved for 2,048 tokens.",
        "Its formula gives 44.00 MiB and 93.75 %; 22.00 MiB and 87.5 % belong to 1,024 tokens.",
        "Calculator",
    ),
)
"""Document, what it says, what is so, and where it can be seen."""


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


class AttentionLab(Lab):
    """Standard, paged and block-local attention."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Measure")
        self.tokens = self.ask("Tokens", _spin(2, 4096, 128), "Length of the sequence")
        self.dim = self.ask("Width", _spin(1, 1024, 64), "Numbers in a key, as in a query and a value")
        self.block = self.ask("Block", _spin(1, 4096, 32), "Tokens in a block, or page")
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
        self.time_bars, self.peak_bars = self.time.bars("", "stored"), self.peak.bars("", "stored")
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
        self.error_line.set(result.overlaps[:, 0], result.overlaps[:, 1])
        self.heat.set(result.pattern)
        self.marks = _block_lines(self.pattern, self.marks, result.block, len(result.pattern))
        standard, paged, local = (by_name[name] for name in ("standard", "paged", "block-local"))
        self.facts.setText(
            f"In pages the peak is <b>{1 - paged.peak / standard.peak:.1%}</b> lower, and the answer differs by "
            f"<b>{paged.difference:.1g}</b>; inside of blocks it is <b>{1 - local.peak / standard.peak:.1%}</b> lower, "
            f"and differs by <b>{local.difference:.2g}</b>: another function. {result.memory_tool}; {result.machine}."
        )


class HeadsLab(Lab):
    """A small model answers page by page, and shows what it looks at."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Generate")
        self.model = self.ask("Model", QComboBox(), "A small model that comes along")
        self.model.addItems(SHIPPED)
        self.prompt = self.ask("Prompt", QLineEdit(PROMPT), "What it goes on from")
        self.prompt.setCursorPosition(0)
        self.prompt.setMinimumWidth(160)
        self.top.setStretchFactor(self.prompt, 2)
        self.block = self.ask("Page", _spin(1, 64, 8), "Tokens in a page")
        self.count = self.ask("New tokens", _spin(1, 128, 24), "How many it writes")
        self.close_top()
        self.text = QLabel("Press Generate: the prompt's tokens and the model's own appear here, page by page.")
        self.text.setTextFormat(Qt.TextFormat.RichText)
        self.text.setWordWrap(True)
        self.text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.layer, self.head = _spin(1, 1, 1), _spin(1, 1, 1)
        for box in (self.layer, self.head):
            box.valueChanged.connect(self._draw)
        self.pages = Chart("Where the last token looks", "page", "share of attention",
                           about="In the last layer, mean of its heads.",
                           empty="How much of the last token's attention each page gets.")  # fmt: skip
        self.page_bars = self.pages.bars("", "paged")
        self.map = Chart("Weights", "key", "query", about="Each row is a token and what it looks at; lines are pages.",
                         empty="What every token looks at, in the layer and head that are chosen.")  # fmt: skip
        self.heat = self.map.heatmap("weight")
        for name, box in (("Layer", self.layer), ("Head", self.head)):
            label = QLabel(name)
            label.setProperty("role", "muted")
            label.setBuddy(box)
            box.setAccessibleName(name)
            box.lineEdit().setAccessibleName(name)
            box.setToolTip(f"{name} whose weights are drawn")
            self.map.tools(label, box)
        card = QFrame()
        card.setProperty("role", "card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(12, 10, 12, 10)
        heading = QLabel("What it reads and writes")
        heading.setProperty("role", "heading")
        inside.addWidget(heading)
        inside.addWidget(self.text, 1)
        left = QVBoxLayout()
        left.setSpacing(10)
        left.addWidget(card, 2)
        left.addWidget(self.pages, 3)
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addLayout(left, 1)
        row.addWidget(self.map, 1)
        self.box.addLayout(row, 1)
        self.result: labs.Heads | None = None
        self._said: dict[int, list[str]] = {}
        self._page = 0
        theme.themes.changed.connect(self._tell)
        self.marks: list[Any] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        self._said, self.result = {}, None
        return labs.heads, (self.model.currentText(), self.prompt.text(), self.block.value(), self.count.value())

    def told(self, news: object) -> None:
        if not isinstance(news, labs.Said):
            return
        for text, page, _place in news.tokens:
            self._said.setdefault(page, []).append(text)
        self._page = self.block.value()
        self._tell()
        self.page_bars.set([str(page) for page in range(len(news.pages))], news.pages)

    def _tell(self) -> None:
        muted = theme.current().muted
        if not self._said:
            return
        self.text.setText(
            "<br>".join(
                f"<span style='color:{muted}'>page {page}: {len(tokens)} of {self._page}</span> &nbsp; "
                + "".join(tokens).replace("&", "&amp;").replace("<", "&lt;")
                for page, tokens in self._said.items()
            )
        )

    def found(self, result: labs.Heads) -> None:
        self.result = result
        layers, heads = result.weights.shape[:2]
        self.layer.setRange(1, layers)
        self.head.setRange(1, heads)
        self.layer.setValue(layers)
        self._draw()

    def _draw(self) -> None:
        if self.result is None:
            return
        weights = self.result.weights[self.layer.value() - 1, self.head.value() - 1]
        self.heat.set(weights, (0.0, float(weights.max())))
        self.marks = _block_lines(self.map, self.marks, self.result.block_size, len(weights))


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


class ComplexityLab(Lab):
    """Exponents, measured beside a lecture's symbols."""

    def __init__(self, context: Context) -> None:
        super().__init__(context, "Measure")
        words = QLabel("Training and generation of a small transformer, by tokens N and layers L.")
        words.setProperty("role", "muted")
        self.top.addWidget(words)
        self.close_top()
        self.table = Sheet(("way", "quantity", "symbol", "N", "L", "why it differs"), "Exponents", right=(3, 4))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().setMinimumSectionSize(28)
        self.table.itemSelectionChanged.connect(self._draw)
        self.chart = Chart("Measured", "N or L", "", about="Both axes in powers: a power law is a straight line.",
                           empty="Press Measure: it takes a minute or two. Each row's points are drawn here, and the "
                           "line whose slope is the exponent.")  # fmt: skip
        self.chart.logarithmic(x=True, y=True)
        self.points = {axis: self.chart.scatter(axis, hue) for axis, hue in (("N", "stored"), ("L", "internal"))}
        self.fits = {axis: self.chart.line(f"fit by {axis}", hue) for axis, hue in (("N", "stored"), ("L", "internal"))}
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(self.table, 3)
        row.addWidget(self.chart, 2)
        self.box.addLayout(row, 1)
        self.cells: list[labs.ComplexityCell] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return labs.complexity, ()

    def found(self, result: tuple[str, list[labs.ComplexityCell]]) -> None:
        machine, self.cells = result
        self.note.setText(machine)
        self.table.setRowCount(len(self.cells))
        for place, cell in enumerate(self.cells):
            exponents = [f"{cell.fits[axis][0]:.2f} ± {cell.fits[axis][1]:.2f}" for axis in ("N", "L")]
            texts = (cell.way, cell.quantity, cell.symbol, *exponents, " ".join(cell.why))
            for column, text in enumerate(texts):
                self.table.put(place, column, text, "", " ".join(cell.why))
        self.table.selectRow(0)

    def _draw(self) -> None:
        place = self.table.currentRow()
        if not 0 <= place < len(self.cells):
            return
        cell = self.cells[place]
        self.chart.rename(f"{cell.way}: {cell.quantity}")
        self.chart.label(y=cell.unit)
        for axis, points in cell.points.items():
            x, y = points.T
            there = y > 0
            self.points[axis].set(x[there], y[there])
            slope = cell.fits[axis][0]
            middle = np.exp(np.log(y[there]).mean() - slope * np.log(x[there]).mean()) if there.any() else 0.0
            self.fits[axis].set(x[there], middle * x[there] ** slope)


class Documents(QWidget):
    """What is written, and what is so."""

    def __init__(self) -> None:
        super().__init__()
        self.table = Sheet(("document", "it says", "what is so", "see"), "The documents' own faults", stretch=(1, 2))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.setRowCount(len(FAULTS))
        for place, row in enumerate(FAULTS):
            for column, text in enumerate(row):
                self.table.put(place, column, text)
        words = QLabel(
            "The labs began with five documents on paged attention. Their numbers are computed or measured here; "
            "these are the places where they contradict themselves, or what can be measured. docs/ideas has a page for "
            "each idea behind them: paging, prefix sharing, GQA to MLA, pruning, state-space models, fragmentation."
        )
        words.setWordWrap(True)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 10, 0, 0)
        box.setSpacing(10)
        box.addWidget(words)
        box.addWidget(self.table, 1)


class Labs(Page):
    """See the module."""

    id = "labs"
    title = "Labs"
    icon = "labs"
    guide = "attention.md"
    about = (
        "What attention costs in its forms, what a small model looks at, which sizes fit into a GPU, and how cost "
        "grows with tokens and layers. All of it is measured on this machine when you ask, beside what documents say."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.attention = AttentionLab(context)
        self.heads = HeadsLab(context)
        self.training = TrainingLab(context)
        self.complexity = ComplexityLab(context)
        self.documents = Documents()
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Labs")
        self.tabs.tabBar().setAccessibleName("Labs")
        for name, tab in (
            ("Attention", self.attention),
            ("A model's pages", self.heads),
            ("Training", self.training),
            ("Complexity", self.complexity),
            ("The documents", self.documents),
        ):
            self.tabs.addTab(tab, name)
        self.tabs.currentChanged.connect(self._shown)
        box = QVBoxLayout(self)
        box.setContentsMargins(16, 8, 16, 14)
        box.addWidget(self.tabs)

    @property
    def all(self) -> tuple[Lab, ...]:
        """The labs that run something."""
        return self.attention, self.heads, self.training, self.complexity

    def actions_of(self) -> list[Action]:
        """Run the lab that is shown."""
        return [Action("run.lab", "Run the lab that is shown", self.toggle, (), "Measure, or cancel that.", "labs")]

    def toggle(self) -> None:
        """Begin, or cancel, what is shown."""
        shown = self.tabs.currentWidget()
        if isinstance(shown, Lab):
            shown.toggle()

    def close_down(self) -> None:
        """End what runs."""
        for lab in self.all:
            lab.over()

    def _shown(self) -> None:
        if self.tabs.currentWidget() is self.training and not self.training.rows:
            self.training.predict()


def _spin(low: int, high: int, value: int) -> QSpinBox:
    box = QSpinBox()
    box.setRange(low, high)
    box.setValue(value)
    box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
    return box


def _block_lines(chart: Chart, old: list[Any], block: int, count: int) -> list[Any]:
    """Lines between blocks, over a heatmap."""
    for line in old:
        chart.plot.removeItem(line)
    made = []
    pen = pg.mkPen(theme.colour("text", 0.5), width=1, style=Qt.PenStyle.DotLine)
    for place in range(block, count, block):
        for angle in (0, 90):
            line = pg.InfiniteLine(place, angle=angle, pen=pen)
            chart.plot.addItem(line, ignoreBounds=True)
            made.append(line)
    return made


def _mib(count: int) -> str:
    return f"{count / MIB:,.1f}"

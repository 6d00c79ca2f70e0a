"""The labs: forms of attention, a small model's heads and pages, where memory ends, how cost grows, what is written."""

from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import pyqtgraph as pg
from PySide6.QtCore import Qt, QTimer
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
    QScrollArea,
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

PACE_MS = 90
"""Between two tokens that a model has written: it is quicker than an eye."""
WORDS_SHOWN = 40
"""Tokens that a heatmap has room to name."""
SLOTS_ACROSS = 8
"""Of a page, in one line."""
PROMPT = " In box ba is ko. In box mi is lu. What is in box ba?"
KIB, MIB = 1 << 10, 1 << 20
COLOURS = {"standard": "traditional", "paged": "paged", "block-local": "shared"}
IDEAS = (
    ("paging", "paging"), ("prefix sharing", "prefix-sharing"), ("GQA to MLA", "gqa-to-mla"), ("pruning", "pruning"),
    ("state-space models", "state-space"), ("fragmentation", "fragmentation"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Of a document."""

    document: str
    says: str
    so: str
    """what is so, as computed or measured"""
    command: str
    """that shows it"""
    title: str
    place: str
    """what to open: a page of the window, or a tab of this one"""


FAULTS = (
    Fault(
        "000, attention in NumPy",
        "Lets a block of queries see its own block of keys, calls it paged attention, and saves 78.7 %.",
        "That is block-local attention: it saves 78.1 %, and is off by 148 % of the answer. Paged attention saves "
        "79.4 % and gives what standard attention gives, to 1e-15.",
        "kvscope attention compare",
        "Attention",
        "attention",
    ),
    Fault(
        "001, a lecture",
        "Eight heads in four groups save 4x.",
        "2x: the factor is the number of heads that share. 4x needs two groups.",
        "kvscope memory --model llama-2-7b",
        "Calculator",
        "calculator",
    ),
    Fault(
        "001, a lecture",
        "Checkpointing has 2 forward calls in the text, and 1 in the table.",
        "2: each layer runs forward again before its backward pass.",
        "kvscope complexity",
        "Complexity",
        "complexity",
    ),
    Fault(
        "002, a benchmark",
        "Memory grows about 2x for four times the length.",
        "Its own rows grow 4.1x and then 9.5x to 12.4x; measured here 13.9x to 15.4x. Scores have length x length "
        "elements.",
        "kvscope attention benchmark",
        "Training",
        "training",
    ),
    Fault(
        "002, a benchmark",
        "Backward takes consistently 3 to 4 times as long as forward.",
        "Its own rows say 1.8 to 7.6 times, 2 of 12 between 3 and 4; measured here 1.5 to 1.8 times.",
        "kvscope attention benchmark",
        "Training",
        "training",
    ),
    Fault(
        "003, a note on GPT-2",
        "A token attends to a subset of the tokens at a time.",
        "To all pages before it: what is cut into pages is memory, not attention.",
        "kvscope generate --pages --prompt TEXT",
        "A model's pages",
        "heads",
    ),
    Fault(
        "004, a feature",
        "22.00 MB and 87.5 % saved for 2,048 tokens.",
        "Its formula gives 44.00 MiB and 93.75 %; 22.00 MiB and 87.5 % belong to 1,024 tokens.",
        "kvscope memory --model tinyllama --tokens 128 --max-tokens 2048",
        "Calculator",
        "calculator",
    ),
)
"""What the documents say, and what is so; docs/seed-documents.md has more."""


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
        self.written = QScrollArea()
        self.written.setProperty("role", "clear")
        self.written.setWidgetResizable(True)
        self.written.setWidget(self.text)
        self.written.setAccessibleName("Tokens in their pages")
        bar = self.written.verticalScrollBar()
        bar.rangeChanged.connect(lambda _low, high: bar.setValue(high))
        self.layer, self.head = QComboBox(), QComboBox()
        for box in (self.layer, self.head):
            box.setMinimumContentsLength(2)
            box.currentIndexChanged.connect(self._draw)
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
            box.setToolTip(f"{name} whose weights are drawn")
            self.map.tools(label, box)
        card = QFrame()
        card.setProperty("role", "card")
        inside = QVBoxLayout(card)
        inside.setContentsMargins(12, 10, 12, 10)
        heading = QLabel("What it reads and writes")
        heading.setProperty("role", "heading")
        inside.addWidget(heading)
        inside.addWidget(self.written, 1)
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
        self._news: list[labs.Said] = []
        self._said: dict[int, list[str]] = {}
        self._prompt: dict[int, int] = {}
        """tokens of each page that were read, and not written"""
        self._page = 0
        self._clock = QTimer(self)
        self._clock.setInterval(PACE_MS)
        self._clock.timeout.connect(self._next)
        theme.themes.changed.connect(self._tell)
        self.marks: list[Any] = []

    def asked(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        self._news, self._said, self._prompt, self.result = [], {}, {}, None
        self._page = self.block.value()
        return labs.heads, (self.model.currentText(), self.prompt.text(), self.block.value(), self.count.value())

    def told(self, news: object) -> None:
        if isinstance(news, labs.Said):
            self._news.append(news)
            if not self._clock.isActive():
                self._clock.start()

    def leave(self) -> None:
        """Nobody looks: all at once."""
        while self._news:
            self._next()

    def _next(self) -> None:
        """What one step read or wrote."""
        if not self._news:
            self._clock.stop()
            return
        news = self._news.pop(0)
        first = not self._said
        for text, page, _place in news.tokens:
            self._said.setdefault(page, []).append(text)
            if first:
                self._prompt[page] = self._prompt.get(page, 0) + 1
        self._tell()
        self.page_bars.set([str(page) for page in range(len(news.pages))], news.pages)

    def _tell(self) -> None:
        if not self._said:
            return
        shown = theme.current()
        across = min(self._page, SLOTS_ACROSS)
        rows = []
        for page, tokens in self._said.items():
            read = self._prompt.get(page, 0)
            cells = []
            for place in range(self._page):
                text = escape(tokens[place]).replace(" ", "&nbsp;") if place < len(tokens) else "&nbsp;"
                back = shown.paged if read <= place < len(tokens) else shown.border if place < read else shown.window
                hue = "#ffffff" if read <= place < len(tokens) else shown.text
                cells.append(f"<td bgcolor='{back}' style='color:{hue}'>{text}</td>")
            for first in range(0, self._page, across):
                told = "" if first else f"page {page}: {len(tokens)} of {self._page}"
                head = f"<td style='color:{shown.muted}'>{told}&nbsp;&nbsp;</td>"
                rows.append(f"<tr>{head}{''.join(cells[first : first + across])}</tr>")
        self.text.setText(f"<table cellspacing='2' cellpadding='3'>{''.join(rows)}</table>")

    def found(self, result: labs.Heads) -> None:
        layers, heads = result.weights.shape[:2]
        for box, count in ((self.layer, layers), (self.head, heads)):
            box.clear()
            box.addItems([str(number + 1) for number in range(count)])
        self.result = result
        self.layer.setCurrentIndex(layers - 1)
        self._draw()

    def _draw(self) -> None:
        if self.result is None:
            return
        weights = self.result.weights[self.layer.currentIndex(), self.head.currentIndex()]
        self.heat.set(weights, (0.0, float(weights.max())))
        self.marks = _block_lines(self.map, self.marks, self.result.block_size, len(weights))
        words = [(place + 0.5, text.strip()) for place, text in enumerate(self.result.tokens)]
        self.map.plot.getAxis("left").setTicks([words] if len(words) <= WORDS_SHOWN else None)


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


class Documents(QWidget):
    """What is written, and what is so."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        columns = ("document", "it says", "what is so", "shown by", "see")
        self.table = Sheet(columns, "The documents' own faults", stretch=(1, 2))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().setMinimumSectionSize(44)
        self.table.setRowCount(len(FAULTS))
        for place, fault in enumerate(FAULTS):
            command = fault.command.partition(" --")[0]
            for column, text in enumerate((fault.document, fault.says, fault.so, command)):
                self.table.put(place, column, text, "", fault.command if column == 3 else "")
            self.table.put(place, 4, fault.title, "accent", f"Open {fault.title}")
        self.table.cellActivated.connect(self._open)
        self.table.cellClicked.connect(lambda row, column: self._open(row) if column == 4 else None)
        ideas = ", ".join(f"<a href='ideas/{name}.md'>{words}</a>" for words, name in IDEAS)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.linkActivated.connect(context.window.read)
        self._text = (
            "The labs began with five documents on paged attention. Their numbers are computed or measured here; these "
            "are the places where they contradict themselves, or what can be measured, and "
            "<a href='seed-documents.md'>there are more</a>. The ideas behind them, a page each, for everybody: "
            f"{ideas}."
        )
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 10, 0, 0)
        box.setSpacing(10)
        box.addWidget(self.words)
        box.addWidget(self.table, 1)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def _dress(self) -> None:
        self.words.clear()  # links take the theme's colour when they are written
        self.words.setText(self._text)

    def _open(self, row: int, _column: int = 0) -> None:
        page = self.context.window.show_page("labs")
        place = FAULTS[row].place
        if isinstance(page, Labs) and isinstance(tab := getattr(page, place, None), Lab):
            page.tabs.setCurrentWidget(tab)
        else:
            self.context.window.show_page(place)


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
        self.documents = Documents(context)
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

    def leave(self) -> None:
        """Nothing moves where nobody looks."""
        self.heads.leave()

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
    pen = pg.mkPen(theme.colour("#ffffff", 0.8), width=1, style=Qt.PenStyle.DashLine)  # on viridis in every theme
    for place in range(block, count, block):
        for angle in (0, 90):
            line = pg.InfiniteLine(place, angle=angle, pen=pen)
            chart.plot.addItem(line, ignoreBounds=True)
            made.append(line)
    return made


def _mib(count: int) -> str:
    return f"{count / MIB:,.1f}"

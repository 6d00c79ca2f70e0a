"""A small model's pages and heads."""

from collections.abc import Callable
from html import escape
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QScrollArea,
    QVBoxLayout,
)

from app.desktop import theme
from app.desktop.charts import Chart
from app.desktop.labs.lab import Lab, block_lines, spin
from app.desktop.pages.base import Context
from app.jobs import labs
from app.jobs.validation import SHIPPED

PACE_MS = 90
"""Between two tokens that a model has written: it is quicker than an eye."""
WORDS_SHOWN = 40
"""Tokens that a heatmap has room to name."""
SLOTS_ACROSS = 8
"""Of a page, in one line."""
PROMPT = " In box ba is ko. In box mi is lu. What is in box ba?"


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
        self.block = self.ask("Page", spin(1, 64, 8), "Tokens in a page")
        self.count = self.ask("New tokens", spin(1, 128, 24), "How many it writes")
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
        self.marks = block_lines(self.map, self.marks, self.result.block_size, len(weights))
        words = [(place + 0.5, text.strip()) for place, text in enumerate(self.result.tokens)]
        self.map.plot.getAxis("left").setTicks([words] if len(words) <= WORDS_SHOWN else None)

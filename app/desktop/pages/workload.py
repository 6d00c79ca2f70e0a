"""The requests: drawn from distributions or played from a trace, and what they look like."""

import re
from pathlib import Path
from typing import Any

from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.actions import Action
from app.desktop.charts import Chart, Histogram, Line, number
from app.desktop.figure import Figure
from app.desktop.forms import Form
from app.desktop.pages.base import Context, Page
from app.desktop.tasks import Task
from app.jobs.preview import Head, Preview, TraceReport, drawn_preview, inspect_trace, preview_of
from simcore.errors import InputError
from simcore.scenario.distributions import EmpiricalLength
from simcore.scenario.workload import WorkloadSection
from simcore.workload.traces import AUTO, FORMATS

SETTLE_MS = 120
"""So long nothing is typed before the pictures are made anew."""


def arrivals_chart() -> tuple[Chart, Line]:
    """Requests over time."""
    about = "How many requests arrive, as if answers took no time."
    chart = Chart("Arrivals", "time", "requests/s", x_unit="s", about=about)
    return chart, chart.line(step=True, fill=True)


def lengths_chart(title: str, colour: str) -> tuple[Chart, Histogram]:
    """A histogram of tokens."""
    chart = Chart(title, "tokens", "requests", about="The longest 0.5 % count in the last bin.")
    return chart, chart.histogram(colour=colour)


class Pictures(QWidget):
    """The previews of a workload."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = {
            name: Figure(name, help)
            for name, help in (
                ("Requests", "How many there are."),
                ("Arrivals", "How many come in a second, on average."),
                ("Mean prompt", "Tokens of a prompt, on average."),
                ("Mean output", "Tokens of an output, on average."),
                ("Shared", "At most so much of all prompt tokens has been in an earlier prompt from its beginning."),
            )
        }
        self.arrivals, self.rate = arrivals_chart()
        self.tokens = Chart(
            "Prompt tokens that arrive",
            "time",
            "tokens/s",
            x_unit="s",
            about="Shared: the beginnings that an earlier request has had, which an endless prefix cache would find.",
        )
        self.sharing = self.tokens.stack(("new", "shared"), ("stored", "cached"))
        self.tokens.link_x(self.arrivals)
        self.prompt, self.prompt_bars = lengths_chart("Prompt lengths", "stored")
        self.output, self.output_bars = lengths_chart("Output lengths", "internal")
        self.note = QLabel()
        self.note.setProperty("role", "warn")
        self.note.setWordWrap(True)
        top = QHBoxLayout()
        top.setSpacing(10)
        for figure in self.figures.values():
            top.addWidget(figure, 1)
        grid = QGridLayout()
        grid.setSpacing(10)
        for place, chart in enumerate((self.arrivals, self.tokens, self.prompt, self.output)):
            grid.addWidget(chart, place // 2, place % 2)
            grid.setColumnStretch(place % 2, 1)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(10)
        box.addLayout(top)
        box.addWidget(self.note)
        box.addLayout(grid, 1)
        self.note.hide()

    def show_preview(self, preview: Preview) -> None:
        """New pictures."""
        numbers = preview.numbers
        drawn = f"{preview.drawn:,} in the pictures" if preview.drawn < preview.requests else "all in the pictures"
        self.figures["Requests"].tell(f"{preview.requests:,}", drawn)
        rate = preview.drawn / preview.span if preview.span else 0.0
        at_once = "all at once, or as answers come"
        self.figures["Arrivals"].tell(
            f"{number(rate)} /s" if rate else "at once", f"over {number(preview.span)} s" if rate else at_once
        )
        for name in ("prompt", "output"):
            self.figures[f"Mean {name}"].tell(
                f"{numbers[f'{name} mean']:,.0f}",
                f"p99 {numbers[f'{name} p99']:,.0f}, max {numbers[f'{name} max']:,.0f}",
            )
        self.figures["Shared"].tell(f"{numbers['shared']:.0%}", "of prompt tokens")
        self.rate.set(preview.time, preview.rate)
        self.sharing.set(preview.time, [preview.new_tokens, preview.shared_tokens])
        self.prompt_bars.set(preview.prompt_edges, preview.prompt_counts)
        self.output_bars.set(preview.output_edges, preview.output_counts)
        self.complain("")

    def complain(self, sentence: str) -> None:
        """Why the pictures are old ones; empty: they are not."""
        self.note.setText(f"{sentence}. The pictures are of the last workload that was right." if sentence else "")
        self.note.setVisible(bool(sentence))


class TraceImport(QWidget):
    """A file that may become the workload: what stands in it, what it amounts to, what is wrong and where."""

    def __init__(self, page: "WorkloadPage") -> None:
        super().__init__()
        self.page = page
        self.path = Path()
        self.task: Task | None = None
        self.title = QLabel()
        self.title.setProperty("role", "title")
        self.title.setMinimumWidth(80)
        self.bytes = QLabel()
        self.bytes.setProperty("role", "muted")
        self.format = QComboBox()
        self.format.setAccessibleName("Format of the trace")
        self.format.addItems([AUTO, *FORMATS])
        self.format.activated.connect(lambda _index: self.read())
        self.skip = QCheckBox("Pass over broken lines")
        self.skip.clicked.connect(lambda _on: self.read())
        self.use = QPushButton("Use this trace")
        self.use.setProperty("role", "primary")
        self.use.clicked.connect(self._use)
        self.cancel = QPushButton("Cancel")
        self.cancel.clicked.connect(self.close_import)
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Reading the trace")
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.verdict.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.facts = QTableWidget(0, 7)
        self.facts.setAccessibleName("Statistics")
        self.facts.setHorizontalHeaderLabels(["tokens", "mean", "p50", "p90", "p99", "min", "max"])
        self.lines = QTableWidget(0, 1)
        self.lines.setAccessibleName("Lines of the file")
        for table in (self.facts, self.lines):
            table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
            table.setShowGrid(False)
            table.horizontalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Stretch)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        self.facts.horizontalHeader().setDefaultAlignment(right)
        first = QTableWidgetItem("tokens")
        first.setTextAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.facts.setHorizontalHeaderItem(0, first)
        self.facts.verticalHeader().hide()
        self.facts.setFixedHeight(106)
        self.lines.horizontalHeader().hide()
        self.lines.verticalHeader().setDefaultSectionSize(22)
        self.lines.setWordWrap(False)
        top = QHBoxLayout()
        top.addWidget(self.title)
        top.addWidget(self.bytes)
        top.addStretch(1)
        top.addWidget(self.cancel)
        top.addWidget(self.use)
        options = QHBoxLayout()
        options.setSpacing(12)
        label = QLabel("Format")
        label.setProperty("role", "muted")
        options.addWidget(label)
        options.addWidget(self.format)
        options.addWidget(self.skip)
        options.addStretch(1)
        arrivals, self.rate = arrivals_chart()
        prompt, self.prompt_bars = lengths_chart("Prompt lengths", "stored")
        output, self.output_bars = lengths_chart("Output lengths", "internal")
        self.charts = QWidget()
        pictures = QHBoxLayout(self.charts)
        pictures.setContentsMargins(0, 0, 0, 0)
        pictures.setSpacing(10)
        for chart in (arrivals, prompt, output):
            chart.setMinimumHeight(110)
            pictures.addWidget(chart)
        self.facts_title = QLabel("What is in it")
        self.lines_title = QLabel("Its first lines")
        for heading in (self.facts_title, self.lines_title):
            heading.setProperty("role", "heading")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(10)
        box.addLayout(top)
        box.addLayout(options)
        box.addWidget(self.bar)
        box.addWidget(self.verdict)
        box.addWidget(self.facts_title)
        box.addWidget(self.facts)
        box.addWidget(self.charts)
        box.addWidget(self.lines_title)
        box.addWidget(self.lines, 1)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def begin(self, path: Path) -> None:
        """Look into a file."""
        self.path = path
        self.title.setText(path.name)
        self.title.setToolTip(str(path))
        self.format.setCurrentIndex(0)
        self.skip.setChecked(False)
        self.bytes.setText("")
        self.read()

    def read(self) -> None:
        """In a process of its own, from the start."""
        self.stop()
        self._show_facts(None)
        self.lines.setRowCount(0)
        self.verdict.setText("Reading it in a process of its own; the window goes on meanwhile.")
        self._role("muted")
        self.bar.show()
        self.use.setEnabled(False)
        seed = self.page.context.document.value("seed")
        task = self.page.context.tasks.start(
            inspect_trace,
            self.path,
            self.format.currentText(),
            self.skip.isChecked(),
            seed if isinstance(seed, int) and seed >= 0 else 0,
        )
        task.progressed.connect(self._show_lines)
        task.done.connect(self._done)
        task.failed.connect(self._failed)
        self.task = task

    def stop(self) -> None:
        """Read no more."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def close_import(self) -> None:
        """Leave the workload as it is."""
        self.stop()
        self.page.show_pictures()

    def _use(self) -> None:
        document = self.page.context.document
        data = document.data
        section: dict[str, Any] = {"trace": str(self.path.absolute())}
        if self.format.currentText() != AUTO:
            section["format"] = self.format.currentText()
        if self.skip.isChecked():
            section["skip_bad_lines"] = True
        if self.untimed:
            section["arrivals"] = {"process": "poisson", "rate": 1.0}
        data["workload"] = section
        document.replace(data, f"the trace {self.path.name}")
        self.close_import()

    untimed = False

    def _done(self, report: TraceReport) -> None:
        self.task = None
        self.bar.hide()
        info = report.info
        span = info["arrival_span"]
        self.untimed = span is None
        told = [
            f"{info['requests']:,} requests in the format {info['format']}",
            "without arrivals: they are made Poisson, 1 a second, which you can change" if span is None else "",
            "" if span is None else f"over {number(span)} s",
            f"{info['skipped']:,} broken lines passed over" if info["skipped"] else "",
            f"{info['blocks']:,} hash blocks, {info['unique_blocks']:,} of them distinct" if info["blocks"] else "",
            f"{report.preview.numbers['shared']:.0%} of prompt tokens shared with an earlier request",
        ]
        self.verdict.setText(", ".join(part for part in told if part) + ".")
        self._role("good")
        self._show_facts(info)
        preview = report.preview
        self.rate.set(preview.time, preview.rate)
        self.prompt_bars.set(preview.prompt_edges, preview.prompt_counts)
        self.output_bars.set(preview.output_edges, preview.output_counts)
        self.use.setEnabled(True)
        self.use.setFocus(Qt.FocusReason.OtherFocusReason)

    def _failed(self, sentence: str) -> None:
        self.task = None
        self.bar.hide()
        self.verdict.setText(sentence)
        self._role("bad")
        if match := re.search(r", line (\d+)", sentence):
            self._mark(int(match[1]))

    def _show_lines(self, head: Head) -> None:
        self.bytes.setText(_bytes(head.size))
        self.lines_title.setText("Its first lines" if head.first == 1 else "Where it is broken")
        self.lines.setRowCount(len(head.lines))
        self.lines.setVerticalHeaderLabels(
            [f"{number:,}" for number in range(head.first, head.first + len(head.lines))]
        )
        self._first = head.first
        for row, line in enumerate(head.lines):
            item = QTableWidgetItem(line)
            item.setFont(theme.font(9, mono=True))
            self.lines.setItem(row, 0, item)

    def _mark(self, line: int) -> None:
        item = self.lines.item(line - self._first, 0) if self.lines.rowCount() else None
        if item is not None:
            item.setForeground(theme.colour("bad"))
            item.setIcon(theme.icon("wrong", "bad"))
            self.lines.scrollToItem(item)

    _first = 1

    def _show_facts(self, info: dict[str, Any] | None) -> None:
        self.facts_title.setVisible(info is not None)
        self.facts.setVisible(info is not None)
        self.charts.setVisible(info is not None)
        if info is None:
            return
        self.facts.setRowCount(2)
        for row, name in enumerate(("prompt", "output")):
            self.facts.setItem(row, 0, QTableWidgetItem(name))
            for column, value in enumerate(info[name].values(), 1):
                cell = QTableWidgetItem(f"{value:,.1f}".removesuffix(".0"))
                cell.setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
                self.facts.setItem(row, column, cell)

    def _role(self, role: str) -> None:
        self.verdict.setProperty("role", role)
        self.verdict.style().unpolish(self.verdict)
        self.verdict.style().polish(self.verdict)

    def _dress(self) -> None:
        self.use.setIcon(theme.icon("good", "on_accent"))


class WorkloadPage(Page):
    """See the module."""

    id = "workload"
    title = "Workload"
    icon = "workload"
    guide = "workloads.md"
    about = (
        "The requests that the server gets: on the left how they are drawn or which trace they come from, on the right "
        "what that looks like. Lengths decide how many blocks a request takes, sharing how many of them it finds."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.form = Form(context.document, "workload")
        self.drawn = QPushButton("Draw requests")
        self.played = QPushButton("Play a trace")
        kinds = QButtonGroup(self)
        for button, run in ((self.drawn, self._draw), (self.played, self._ask_trace)):
            button.setCheckable(True)
            button.setProperty("role", "segment")
            kinds.addButton(button)
            button.clicked.connect(run)
        self.again = QPushButton("Another seed")
        self.again.setToolTip("Draw other requests from the same distributions")
        self.again.clicked.connect(self._next_seed)
        switch = QHBoxLayout()
        switch.setSpacing(0)
        switch.addWidget(self.drawn, 1)
        switch.addWidget(self.played, 1)
        left = QFrame()
        left.setProperty("role", "card")
        column = QVBoxLayout(left)
        column.setContentsMargins(14, 12, 8, 12)
        column.setSpacing(10)
        column.addLayout(switch)
        column.addWidget(self.form, 1)
        column.addWidget(self.again)
        left.setMinimumWidth(372)

        self.pictures = Pictures()
        self.importer = TraceImport(self)
        self.right = QStackedWidget()
        self.right.addWidget(self.pictures)
        self.right.addWidget(self.importer)
        self.divide(left, self.right, 410)

        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MS)
        self._timer.timeout.connect(self._preview)
        self._task: Task | None = None
        self._pictured: tuple[WorkloadSection, int] | None = None
        context.document.changed.connect(self._changed)
        theme.themes.changed.connect(self._dress)
        self._dress()
        self._changed()

    def enter(self) -> None:
        """The scenario may be another one."""
        self._preview()

    def leave(self) -> None:
        """No pictures for nobody."""
        self._timer.stop()

    def close_down(self) -> None:
        """The tasks are ended by the window."""
        self._timer.stop()

    def actions_of(self) -> list[Action]:
        return [
            Action("edit.import", "Import a trace", self._ask_trace, ("Ctrl+T",), "A file of requests.", "trace"),
            Action("edit.seed", "Another seed", self._next_seed, ("Ctrl+D",), "Draw other requests.", "shuffle"),
        ]

    def open_path(self, path: Path) -> bool:
        """A trace: look into it first."""
        self.right.setCurrentWidget(self.importer)
        self.importer.begin(path)
        return True

    def show_pictures(self) -> None:
        """Of the workload as it is."""
        self.right.setCurrentWidget(self.pictures)
        self._changed()

    def _draw(self) -> None:
        self.importer.stop()
        document = self.context.document
        if document.value("workload.trace") is not None:
            document.set("workload.trace", None)
        self.show_pictures()

    def _ask_trace(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(
            self, "Import a trace", "", "Traces (*.csv *.jsonl *.gz);;All files (*)"
        )
        if chosen:
            self.context.window.open_path(Path(chosen))
        self._mark_kind()

    def _next_seed(self) -> None:
        seed = self.context.document.value("seed")
        self.context.document.set("seed", (seed + 1) % 2**31 if isinstance(seed, int) else 0)

    def _mark_kind(self) -> None:
        trace = self.context.document.value("workload.trace") is not None
        (self.played if trace else self.drawn).setChecked(True)

    def _changed(self) -> None:
        self._mark_kind()
        if self.isVisible():
            self._timer.start()

    def _preview(self) -> None:
        document = self.context.document
        wrong = [sentence for key, sentence in document.problems.items() if key.split(".")[0] in ("workload", "seed")]
        if wrong or document.scenario is None:
            self.pictures.complain(wrong[0] if wrong else "the scenario is not right yet")
            return
        section, seed = document.scenario.workload, document.scenario.seed
        if (section, seed) == self._pictured:
            self.pictures.complain("")
            return
        self._pictured = section, seed
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if section.trace is None and not any(
            isinstance(each, EmpiricalLength) for each in (section.prompt, section.output)
        ):
            try:
                self.pictures.show_preview(preview_of(section, seed))
            except InputError as error:
                self.pictures.complain(str(error).rstrip("."))
            return
        self._task = self.context.tasks.start(drawn_preview, section, seed)
        self._task.done.connect(self.pictures.show_preview)
        self._task.failed.connect(lambda sentence: self.pictures.complain(sentence.rstrip(".")))
        self.context.window.say("Reading the trace")

    def _dress(self) -> None:
        self.again.setIcon(theme.icon("shuffle", "muted"))
        self.played.setIcon(theme.icon("trace", "text"))


def _bytes(size: int) -> str:
    """As files are listed."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    return f"{amount:,.1f} GB"

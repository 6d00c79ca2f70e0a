"""The simulator beside the engine: what both say of the same steps while tokens appear, and the verdict."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
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
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from app.desktop.actions import Action
from app.desktop.charts import Chart, Scatter, number
from app.desktop.dialogs import complain
from app.desktop.figure import Elided, Figure
from app.desktop.pages.base import Context, Page
from app.desktop.sheet import Sheet
from app.desktop.tasks import Task
from app.jobs.validation import SHIPPED, Begun, Seen, Verdict, Wanted, validate
from simcore.errors import InputError
from simcore.geometry import MIB
from simcore.scenario import Scenario

CHOOSE = "Choose a folder ..."
REQUESTS = 40
"""So many are played at first: enough to see everything, in some ten seconds."""
MOST_POINTS = 4000
"""Of a scatter; more are thinned out."""


class Validation(Page):
    """See the module."""

    id = "validation"
    title = "Validation"
    icon = "validation"
    guide = "engine.md"
    about = (
        "A real model runs the very steps that the simulator planned, on tensors, while both tell how much of the "
        "cache is used. Where the lines lie on each other and every check is green, the simulator's numbers are true."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.task: Task | None = None
        self.verdict: Verdict | None = None
        self._columns: dict[str, list[NDArray[np.float64]]] = {}
        self._said: dict[str, str] = {}
        self._block_bytes = self._token_bytes = 0
        self._total = 0

        self.model = QComboBox()
        self.model.setAccessibleName("Model")
        self.model.setToolTip("A small model that comes along, or a folder in Hugging Face's layout")
        self.model.addItems([*SHIPPED, CHOOSE])
        self.model.activated.connect(self._model_chosen)
        self.device = QComboBox()
        self.device.setAccessibleName("Device")
        self.device.setEditable(True)
        self.device.setToolTip("Where the model runs, in torch's words: cpu, cuda, cuda:1")
        self.device.addItems(["cpu", "cuda"])
        self.requests = QSpinBox()
        self.requests.setAccessibleName("Requests")
        self.requests.lineEdit().setAccessibleName("Requests")
        self.requests.setRange(1, 1_000_000)
        self.requests.setValue(REQUESTS)
        self.requests.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.requests.setToolTip("At most so many of the scenario's requests are played: a model is slower than a sum")
        self.times = QCheckBox("Predict times")
        self.times.setToolTip(
            "Measure single steps first, then predict how long each step of the run takes. On the CPU one thread is at "
            "work, and time is what it works, so that the window beside it does not matter."
        )
        self.run = QPushButton("Validate")
        self.run.setProperty("role", "primary")
        self.run.clicked.connect(self.toggle)
        self.keep = QCheckBox("Keep a report")
        self.keep.setToolTip("Write report.html, all numbers and the calibration to a new folder below results")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Progress of the engine")
        self.bar.setMaximumWidth(180)
        self.bar.hide()
        self.note = Elided()
        self.note.setProperty("role", "muted")

        top = QHBoxLayout()
        top.setSpacing(8)
        for text, widget in (("Model", self.model), ("on", self.device), ("Requests", self.requests)):
            label = QLabel(text)
            label.setProperty("role", "muted")
            label.setBuddy(widget)
            top.addWidget(label)
            top.addWidget(widget)
        top.addWidget(self.times)
        top.addWidget(self.keep)
        top.addSpacing(8)
        top.addWidget(self.note, 1)
        top.addWidget(self.bar)
        top.addWidget(self.run)

        self.figures = {name: Figure(name) for name in ("Verdict", "Steps", "Engine holds", "Simulator says", "Worst")}
        cards = QHBoxLayout()
        cards.setSpacing(10)
        for figure in self.figures.values():
            cards.addWidget(figure, 1)

        self.memory = Chart(
            "Memory of the KV cache", "step", "MiB",
            about="What the simulator's pool says, and what is really in the engine's tensors, in the same step.",
            empty="Press Validate: the engine's bytes are drawn here while it runs, and the simulator's over them.",
            from_zero=True,
        )  # fmt: skip
        self.memory.whole("bottom")
        self.held = self.memory.line("engine: blocks", "paged", step=True, dash=False)
        self.stored = self.memory.line("engine: tokens", "saved", step=True, dash=False)
        self.held_theory = self.memory.line("simulator", "text", step=True)
        self.stored_theory = self.memory.line("", "text", step=True)
        self.bytes = Chart(
            "Stored in each step", "simulator (MiB)", "engine (MiB)",
            about="Every step is a point; on the line both agree.",
            empty="Simulator against engine, a point a step.",
        )  # fmt: skip
        self.bytes_line = self.bytes.line("y = x", "muted")
        self.bytes_points = self.bytes.scatter("a step", "saved", size=5)
        self.seconds = Chart(
            "Time of each step", "predicted (ms)", "measured (ms)",
            about="Predicted by a calibration that was measured just before; on the CPU in CPU time. Powers of ten.",
            empty="Tick Predict times to see how long each step takes, against a prediction.",
        )  # fmt: skip
        self.seconds.logarithmic(x=True, y=True)
        self.seconds_line = self.seconds.line("y = x", "muted")
        self.seconds_points = self.seconds.scatter("a step", "paged", size=5)

        self.table = Sheet(("", "check", "simulator", "engine"), "Verdict, check by check", right=(2, 3), stretch=(1,))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().setMinimumSectionSize(28)

        grid = QGridLayout()
        grid.setSpacing(10)
        grid.addWidget(self.memory, 0, 0, 1, 2)
        grid.addWidget(self.bytes, 1, 0)
        grid.addWidget(self.seconds, 1, 1)
        right = QVBoxLayout()
        right.setSpacing(10)
        right.addWidget(self._card("What the model says", self._sayings()))
        right.addWidget(self._card("Verdict, check by check", self.table), 1)
        grid.addLayout(right, 0, 2, 2, 1)
        for column, stretch in enumerate((3, 3, 5)):
            grid.setColumnStretch(column, stretch)
        grid.setRowStretch(0, 1)
        grid.setRowStretch(1, 1)
        box = QVBoxLayout(self)
        box.setContentsMargins(16, 14, 16, 14)
        box.setSpacing(10)
        box.addLayout(top)
        box.addLayout(cards)
        box.addLayout(grid, 1)
        self._clear()

    def actions_of(self) -> list[Action]:
        """Start and stop."""
        about = "Run a real model beside the simulator, or cancel that."
        return [Action("run.validate", "Validate with the engine", self.toggle, ("Ctrl+Return",), about, "validation")]

    def close_down(self) -> None:
        """End the engine."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def toggle(self) -> None:
        """Begin, or cancel what runs."""
        if self.task is not None:
            self._over()
            self.note.setText("cancelled")
            return
        document = self.context.document
        if not document.valid or document.scenario is None:
            sentence = next(iter(document.problems.values()), "the scenario is not complete")
            complain(self, "The scenario cannot be run", sentence)
            return
        try:
            scenario = fewer(document.scenario, self.requests.value())
        except InputError as error:
            complain(self, "The scenario cannot be run", str(error))
            return
        self._clear()
        model, device = self.model.currentText(), self.device.currentText().strip()
        wanted = Wanted(scenario.to_toml(), model, device, times=self.times.isChecked(), keep=self.keep.isChecked())
        self.task = self.context.tasks.start(validate, wanted)
        self.task.progressed.connect(self._progress)
        self.task.done.connect(self._done)
        self.task.failed.connect(self._failed)
        self.run.setText("Cancel")
        self.bar.setRange(0, 0)
        self.bar.show()
        self.note.setText("starting a process")

    # What the process says

    def _progress(self, news: object) -> None:
        if isinstance(news, str):
            self.note.setText(news)
        elif isinstance(news, Begun):
            self._block_bytes, self._token_bytes = news.block_bytes, news.token_bytes
            self._total = news.requests
            self.note.setText(f"{news.model} plays {news.requests:,} requests on {news.pool_blocks:,} blocks")
        elif isinstance(news, Seen):
            for name, column in news.columns.items():
                self._columns.setdefault(name, []).append(column)
            self._draw()
            for request, text in news.said:
                self._said.pop(request, None)  # who has said something lately comes last
                self._said[request] = f"<b>{request}</b> … {_escaped(text)}"
            for label, text in zip(self._lines, [*self._said.values()][-len(self._lines) :], strict=False):
                label.setText(text)

    def _done(self, verdict: Verdict) -> None:
        self._over()
        self.verdict = verdict
        self.note.setToolTip("\n".join(verdict.notes))
        wrong = [row for row in verdict.rows if not row["ok"] and row["kind"] != "time"]
        late = sum(row["kind"] == "time" and not row["ok"] for row in verdict.rows)
        busy = "some times are off: is this machine busy?" if late else ""
        self.note.setText(f"kept in {verdict.folder}" if verdict.folder else busy)
        green = len(verdict.rows) - len(wrong) - late
        told = f"{green} of {len(verdict.rows)} checks" + (f"; {late} time{'s' * (late > 1)} off" if late else "")
        self.figures["Verdict"].tell("✓ agree" if verdict.ok else "✗ disagree", told)
        self._fill_table(verdict)
        steps = verdict.steps
        if "theory_seconds" in steps:
            theory, reality = 1e3 * steps["theory_seconds"], 1e3 * steps["reality_seconds"]
            there = (theory > 0) & (reality > 0)
            if there.any():
                both = np.concatenate((theory[there], reality[there]))
                self.seconds_line.set(*2 * ([both.min(), both.max()],))
            _scatter(self.seconds_points, theory[there], reality[there])

    def _failed(self, sentence: str) -> None:
        self._over()
        self.note.setText("")
        self.figures["Verdict"].tell("-", "it could not be run")
        complain(self, "The engine could not run it", sentence)

    def _over(self) -> None:
        self.close_down()
        self.run.setText("Validate")
        self.bar.hide()

    # What is shown

    def _clear(self) -> None:
        self.verdict = None
        self._columns, self._said = {}, {}
        for figure in self.figures.values():
            figure.tell("-", "")
        for line in (self.held, self.stored, self.held_theory, self.stored_theory, self.bytes_line, self.seconds_line):
            line.set([], [])
        self.bytes_points.set([], [])
        self.seconds_points.set([], [])
        self.table.setRowCount(0)
        for label in self._lines:
            label.setText("")
        self._lines[0].setText("Press Validate: a model in a process of its own plays the scenario of the inspector.")

    def _draw(self) -> None:
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        self._columns = {name: [column] for name, column in columns.items()}
        step = columns["step"]
        held, stored = columns["blocks"] * self._block_bytes / MIB, columns["tokens"] * self._token_bytes / MIB
        says = columns["predicted_blocks"] * self._block_bytes / MIB
        says_stored = columns["predicted_tokens"] * self._token_bytes / MIB
        self.held.set(step, held)
        self.stored.set(step, stored)
        self.held_theory.set(step, says)
        self.stored_theory.set(step, says_stored)
        _scatter(self.bytes_points, says_stored, stored)
        high = max(float(stored.max()), float(says_stored.max()))
        self.bytes_line.set([0, high], [0, high])
        worst = float(max(np.abs(held - says).max(), np.abs(stored - says_stored).max()))
        self.figures["Steps"].tell(f"{len(step):,}", f"{int(columns['pushed'].sum()):,} tokens through the model")
        self.figures["Engine holds"].tell(f"{held[-1]:.2f} MiB", f"{int(columns['blocks'][-1]):,} blocks in its tables")
        self.figures["Simulator says"].tell(f"{says[-1]:.2f} MiB", f"{int(columns['predicted_blocks'][-1]):,} blocks")
        self.figures["Worst"].tell(f"{worst:.2f} MiB", "largest difference in any step")
        self.figures["Verdict"].tell("…", "while the engine runs")

    def _fill_table(self, verdict: Verdict) -> None:
        self.table.setRowCount(len(verdict.rows))
        for place, row in enumerate(verdict.rows):
            off = row["kind"] == "time" and not row["ok"]
            mark, hue = ("✓", "good") if row["ok"] else ("~", "warn") if off else ("✗", "bad")
            error = "no bound" if row["error"] is None else f"error {row['error']:.3g}, bound {row['bound']:.3g}"
            unit, named = row["unit"], row["check"]
            if unit not in ("B", "s", "all", *named.replace(",", "").split()):
                named = f"{named} ({unit})"
            values = [_value(row[side], unit) for side in ("predicted", "measured")]
            exact = " and ".join("-" if row[side] is None else number(row[side]) for side in ("predicted", "measured"))
            tip = f"{named}: {exact} {unit} ({row['kind']}; {error})"
            for column, text in enumerate((mark, named, *values)):
                item = self.table.put(place, column, text, "" if column else hue, tip)
                if column == 0:
                    item.setData(Qt.ItemDataRole.AccessibleTextRole, "agrees" if row["ok"] else "disagrees")

    def _sayings(self) -> QWidget:
        inner = QWidget()
        column = QVBoxLayout(inner)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(6)
        self._lines = [QLabel() for _ in range(5)]
        for label in self._lines:
            label.setWordWrap(True)
            label.setTextFormat(Qt.TextFormat.RichText)
            label.setAlignment(Qt.AlignmentFlag.AlignTop)
            column.addWidget(label)
        column.addStretch(1)
        return inner

    def _card(self, title: str, content: QWidget) -> QFrame:
        card = QFrame()
        card.setProperty("role", "card")
        box = QVBoxLayout(card)
        box.setContentsMargins(12, 8, 12, 10)
        heading = QLabel(title)
        heading.setProperty("role", "heading")
        box.addWidget(heading)
        box.addWidget(content, 1)
        return card

    def _model_chosen(self, place: int) -> None:
        if self.model.itemText(place) != CHOOSE:
            return
        chosen = QFileDialog.getExistingDirectory(self, "A model in Hugging Face's layout")
        self.model.setCurrentIndex(0)
        if chosen:
            self._take_model(Path(chosen))

    def _take_model(self, folder: Path) -> None:
        text = str(folder)
        if self.model.findText(text) < 0:
            self.model.insertItem(self.model.count() - 1, text)
        self.model.setCurrentText(text)

    def open_path(self, path: Path) -> bool:
        """A folder with a model in it."""
        if not (path / "config.json").is_file():
            return False
        self._take_model(path)
        return True


def fewer(scenario: Scenario, most: int) -> Scenario:
    """The scenario with its first requests alone. Raises InputError where it then has none."""
    workload = scenario.workload
    if workload.requests is not None and workload.requests <= most:
        return scenario
    return scenario.model_copy(update={"workload": workload.model_copy(update={"requests": most})})


def _scatter(points: Scatter, x: NDArray[np.float64], y: NDArray[np.float64]) -> None:
    every = max(len(x) // MOST_POINTS, 1)
    points.set(x[::every], y[::every])


def _value(value: float | None, unit: str) -> str:
    """A number of a check, with its unit where the check's name has none."""
    if value is None:
        return "-"
    if unit == "B":
        return f"{value / MIB:,.2f} MiB" if value >= MIB else f"{number(value)} B"
    return f"{number(value)} s" if unit == "s" else number(value)


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")

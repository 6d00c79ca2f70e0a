"""Settings against each other: replications on common random numbers, intervals, paired differences, trade-offs."""

import time
from dataclasses import dataclass
from pathlib import Path

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
    QScrollArea,
    QSpinBox,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.actions import Action
from app.desktop.charts import Chart, Scatter
from app.desktop.compare.factor import FactorRow
from app.desktop.compare.words import difference_text, mean_text, metrics_box, unit_of, with_unit
from app.desktop.dialogs import complain
from app.desktop.figure import Elided, label
from app.desktop.pages.base import Context, Page
from app.desktop.sheet import Sheet
from app.desktop.tasks import Task
from app.jobs.comparison import Asked, Finished, Planned, Retried, Tables, compare, report
from simcore.errors import InputError
from simcore.experiment import Comparison, Experiment, Setting
from simcore.experiment.asked import factor_of
from simcore.experiment.measures import BY_NAME

FIRST = (("memory.eviction", "lru, fifo, s3-fifo, arc"),)
"""What is offered at first."""
TRADED = ("memory.used_mean", "ttft.p99")
"""The axes of the trade-off at first."""
MOST_SHOWN_WORKERS = 16
COLUMNS = ("setting", "mean", "difference", "verdict")


@dataclass
class _Worker:
    """What one process has done."""

    runs: int = 0
    cpu_s: float = 0.0


class Compare(Page):
    """See the module."""

    id = "compare"
    title = "Compare"
    icon = "compare"
    guide = "experiments.md"
    about = (
        "The scenario runs with each combination of the values on the left, several times, and all of them meet the "
        "same random numbers. Bars have confidence intervals, and a difference is called one only where runs can tell."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.task: Task | None = None
        self.comparison: Comparison | None = None
        self._experiment: Experiment | None = None
        self._asked_now: Asked | None = None
        self._answered: tuple[Asked, Tables] | None = None
        self._workers: dict[str, _Worker] = {}
        self._total = self._kept = self._done_runs = 0
        self._begun = 0.0
        self._bars: list[Setting] = []
        self.rows: list[FactorRow] = []

        self.divide(self._question(), self._answer(), 310)
        for key, values in FIRST:
            self.add(key, values)
        context.document.changed.connect(self.asked_anew)
        theme.themes.changed.connect(self._show)

    # The question

    def _question(self) -> QWidget:
        card = self.card = QFrame()
        card.setProperty("role", "card")
        card.setMinimumWidth(250)
        box = QVBoxLayout(card)
        box.setContentsMargins(14, 10, 14, 14)
        box.setSpacing(8)
        box.addWidget(label("What varies", "heading"))
        inner = QWidget()
        self._factors = QVBoxLayout(inner)
        self._factors.setContentsMargins(0, 0, 4, 0)
        self._factors.addStretch(1)
        area = QScrollArea()
        area.setAccessibleName("What varies")
        area.setWidgetResizable(True)
        area.setFrameShape(QFrame.Shape.NoFrame)
        area.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # its fields take the focus
        area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        area.setWidget(inner)
        for surface in (inner, area):
            surface.setStyleSheet("background: transparent;")
        box.addWidget(area, 1)
        another = QPushButton("Another key")
        another.setToolTip("All combinations of the values of all keys are run")
        another.clicked.connect(lambda: self.add("memory.blocks", ""))
        box.addWidget(another)

        self.replications = QSpinBox()
        self.replications.setRange(1, 10_000)
        self.replications.setValue(5)
        self.replications.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
        self.replications.setToolTip("How often each setting is run; differences need several")
        self.warmup = QComboBox()
        self.warmup.addItems(["the scenario's", "MSER-5"])
        self.warmup.setToolTip("What is left out at the beginning: metrics.warmup, or as much as MSER-5 finds")
        self.baseline = QComboBox()
        self.baseline.setToolTip("What the others are compared with")
        self.keep = QCheckBox("Keep finished runs")
        self.keep.setChecked(True)
        self.keep.setToolTip("Runs that are known already are not run again, here and on the command line")
        form = QGridLayout()
        form.setColumnStretch(1, 1)
        form.setVerticalSpacing(6)
        fields = (("Replications", self.replications), ("Warm-up", self.warmup), ("Baseline", self.baseline))
        for row, (text, widget) in enumerate(fields):
            name = label(text, "muted")
            name.setBuddy(widget)
            widget.setAccessibleName(text)
            widget.setSizePolicy(widget.sizePolicy().Policy.Ignored, widget.sizePolicy().verticalPolicy())
            form.addWidget(name, row, 0)
            form.addWidget(widget, row, 1)
        self.replications.lineEdit().setAccessibleName("Replications")
        box.addLayout(form)
        box.addWidget(self.keep)
        self.replications.valueChanged.connect(self.asked_anew)
        self.told = QLabel()
        self.told.setWordWrap(True)
        self.told.setProperty("role", "small")
        box.addWidget(self.told)
        self.run = QPushButton("Compare")
        self.run.setProperty("role", "primary")
        self.run.clicked.connect(self.toggle)
        box.addWidget(self.run)
        return card

    def add(self, key: str, values: str) -> FactorRow:
        """One more key."""
        row = FactorRow(self, key, values)
        self.rows.append(row)
        self._factors.insertWidget(len(self.rows) - 1, row)
        self.asked_anew()
        return row

    def remove(self, row: FactorRow) -> None:
        """One key less."""
        self.rows.remove(row)
        row.deleteLater()
        self._factors.removeWidget(row)
        self.asked_anew()

    def asked_anew(self) -> None:
        """The question has changed: say how many runs it takes, or what is wrong with it."""
        if not hasattr(self, "run") or self.task is not None:
            return
        try:
            experiment = self._asked(baseline=False).experiment()
            settings = experiment.settings
        except InputError as error:
            self.run.setEnabled(False)
            self._say(str(error), wrong=True)
            return
        self.run.setEnabled(True)
        runs = len(settings) * experiment.replications
        self._say(f"{len(settings):,} settings x {experiment.replications} = {runs:,} runs")
        chosen = self.baseline.currentText()
        labels = [setting.label for setting in settings]
        if labels != [self.baseline.itemText(place) for place in range(self.baseline.count())]:
            self.baseline.clear()
            self.baseline.addItems(labels)
            self.baseline.setCurrentIndex(max(self.baseline.findText(chosen), 0))

    def _say(self, text: str, *, wrong: bool = False) -> None:
        self.told.setText(text)
        self.told.setProperty("role", "bad" if wrong else "small")
        self.told.style().unpolish(self.told)
        self.told.style().polish(self.told)

    def _asked(self, *, baseline: bool = True) -> Asked:
        document = self.context.document
        if not document.valid or document.scenario is None:
            raise InputError(next(iter(document.problems.values()), "the scenario is not complete"))
        factors = tuple(row.text for row in self.rows if row.values.text().strip())
        if not factors:
            raise InputError("nothing varies yet: give a key some values")
        asked = Asked(
            document.scenario.to_toml(),
            factors,
            self.replications.value(),
            warmup="mser5" if self.warmup.currentIndex() else None,
            keep=self.keep.isChecked(),
        )
        if not baseline or self.baseline.currentIndex() <= 0:
            return asked
        place = self.baseline.currentIndex()
        setting = asked.experiment().settings[place]
        levels = [f"{factor_of(text).key}" for text in factors]
        from simcore.scenario.describe import toml_value

        told = ",".join(f"{key}={toml_value(setting.levels[key])}" for key in levels)
        return Asked(
            asked.scenario, factors, asked.replications, told, asked.warmup, asked.confidence, None, asked.keep
        )

    # The answer

    def _answer(self) -> QWidget:
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setAccessibleName("Runs that are done")
        self.bar.hide()
        self.status = Elided("Nothing has been compared yet.")
        self.status.setProperty("role", "muted")
        self.workers = QLabel()
        self.workers.setProperty("role", "small")
        self.workers.setWordWrap(True)
        self.workers.hide()
        self.chosen = metrics_box()
        self.chosen.setAccessibleName("Metric")
        self.chosen.currentIndexChanged.connect(self._show)
        self.across, self.upward = metrics_box(), metrics_box()
        for box, name, text in ((self.across, TRADED[0], "Across"), (self.upward, TRADED[1], "Up")):
            box.setCurrentIndex(box.findData(name))
            box.setAccessibleName(text)
            box.currentIndexChanged.connect(self._show)
        self.export = QPushButton("Export a report")
        self.export.setToolTip("report.html, tables, charts and every number, as kvscope compare --out writes them")
        self.export.clicked.connect(self._export)
        self.export.setEnabled(False)

        self.means = Chart(
            "Means and intervals", "", "",
            about="Student's interval over the replications. A click on a bar opens its run in Live.",
            empty="Choose on the left what varies, and press Compare: the mean of each setting is shown here, with its "
            "interval.",
        )  # fmt: skip
        self.mean_bars = self.means.bars("", "stored")
        self.means.view.scene().sigMouseClicked.connect(self._clicked)
        self.trade = Chart(
            "Trade-off", "", "",
            about="Each point is a setting; towards the corner that both want.",
            empty="Two metrics against each other, a point a setting.",
        )  # fmt: skip
        self.points: list[Scatter] = []
        self.cdf = Chart(
            "Distribution over the requests", "s", "share",
            about="Over the requests of all replications.",
            empty="How the latencies of the requests are spread, a line a setting.",
        )  # fmt: skip
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Charts")
        self.tabs.tabBar().setAccessibleName("Charts")
        self.tabs.addTab(self.trade, "Trade-off")
        self.tabs.addTab(self.cdf, "Distribution")
        self.table = Sheet(COLUMNS, "Every setting against its baseline", right=(1, 2), stretch=(3,))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().setMinimumSectionSize(28)
        self.table.cellActivated.connect(lambda row, _column: self.open_setting(row))
        self.table.setToolTip("Enter or a double click opens a run of the setting in Live")

        progress = QHBoxLayout()
        progress.addWidget(self.status, 1)
        progress.addWidget(self.bar, 1)
        progress.addWidget(self.export)
        choice = QHBoxLayout()
        choice.setSpacing(8)
        for text, widget in (("Metric", self.chosen), ("Trade-off of", self.across), ("and", self.upward)):
            caption = label(text, "muted")
            caption.setBuddy(widget)
            choice.addWidget(caption)
            choice.addWidget(widget, 1)
        grid = QGridLayout()
        grid.setSpacing(10)
        grid.addWidget(self.means, 0, 0)
        grid.addWidget(self.tabs, 0, 1)
        grid.addWidget(self.table, 1, 0, 1, 2)
        for column, stretch in enumerate((1, 1)):
            grid.setColumnStretch(column, stretch)
        for row, stretch in enumerate((3, 2)):
            grid.setRowStretch(row, stretch)
        whole = QWidget()
        down = QVBoxLayout(whole)
        down.setContentsMargins(0, 0, 0, 0)
        down.setSpacing(8)
        down.addLayout(progress)
        down.addWidget(self.workers)
        down.addLayout(choice)
        down.addLayout(grid, 1)
        return whole

    def actions_of(self) -> list[Action]:
        """Start and stop."""
        about = "Run the comparison, or cancel it; runs that have finished are kept."
        return [Action("run.compare", "Compare the settings", self.toggle, ("Ctrl+Shift+Return",), about, "compare")]

    def close_down(self) -> None:
        """End the runs."""
        if self.task is not None:
            self.task.cancel()
            self.task = None

    def toggle(self) -> None:
        """Begin, or cancel what runs."""
        if self.task is not None:
            self.close_down()
            self._over(f"cancelled after {self._done_runs + self._kept:,} of {self._total:,} runs, which are kept")
            return
        try:
            asked = self._asked_now = self._asked()
            self._experiment = asked.experiment()
        except InputError as error:
            complain(self, "This cannot be compared", str(error))
            return
        self._workers, self._total, self._kept, self._done_runs = {}, 0, 0, 0
        self._begun = time.monotonic()
        self.task = self.context.tasks.start(compare, asked, family=True)
        self.task.progressed.connect(self._progress)
        self.task.done.connect(self._done)
        self.task.failed.connect(self._failed)
        self.run.setText("Cancel")
        self.bar.setRange(0, 0)
        self.bar.show()
        self.status.setText("starting the workers")

    def _progress(self, news: object) -> None:
        if isinstance(news, Planned):
            self._total, self._kept = news.total, news.kept
            self.bar.setRange(0, max(news.total, 1))
        elif isinstance(news, Finished):
            worker = self._workers.setdefault(news.worker, _Worker())
            worker.runs += 1
            worker.cpu_s += news.cpu_s
            self._done_runs += 1
        elif isinstance(news, Retried):
            self.context.window.say(f"a worker died; {news.runs} runs are begun again")
        self.bar.setValue(self._kept + self._done_runs)
        self.status.setText(self._where())
        told = [
            f"{place + 1}: {worker.runs} runs, {worker.cpu_s:.1f} CPU s"
            for place, worker in enumerate(list(self._workers.values())[:MOST_SHOWN_WORKERS])
        ]
        self.workers.setText("Workers:  " + "   ".join(told))
        self.workers.setVisible(bool(told))

    def _where(self) -> str:
        done, spent = self._done_runs, time.monotonic() - self._begun
        left = self._total - self._kept - done
        known = f", {self._kept:,} known already" if self._kept else ""
        rest = f", about {spent / done * left:.0f} s left" if done and left else ""
        return f"{self._kept + done:,} of {self._total:,} runs{known}{rest}"

    def _done(self, tables: Tables) -> None:
        assert self._experiment is not None
        assert self._asked_now is not None
        self._answered = self._asked_now, tables
        self.comparison = tables.of(self._experiment)
        bad = [row for row in tables.runs.iter_rows(named=True) if row["status"] != "done"]
        words = f"{len(tables.runs):,} runs in {time.monotonic() - self._begun:.1f} s"
        if bad:
            words += f"; {len(bad)} did not come to an end: {bad[0]['label']}: {bad[0]['error']}"
        self._over(words)
        self.export.setEnabled(True)
        self._show()

    def _failed(self, sentence: str) -> None:
        self._over("")
        complain(self, "The comparison has ended", sentence)

    def _over(self, words: str) -> None:
        self.close_down()
        self.run.setText("Compare")
        self.bar.hide()
        self.status.setText(words)
        self.asked_anew()

    # What is shown

    def _show(self) -> None:
        comparison = self.comparison
        if comparison is None:
            return
        metric = self.chosen.currentData()
        intervals = list(comparison.intervals(metric).iter_rows(named=True))
        known = [row for row in intervals if row["mean"] is not None]
        self._bars = [comparison.experiment.settings[row["setting"]] for row in known]
        self.means.rename(with_unit(metric))
        steady = bool(known) and all(row["steady"] for row in known)
        ends = [[row[end] for row in known] for end in ("low", "high")] if steady else (None, None)
        assert self._answered is not None
        interval = f", {self._answered[0].confidence:.0%} interval" if steady else ""
        self.means.label(y=f"mean{interval}")
        series = theme.current().series
        self.mean_bars.hues = [series[setting.index % len(series)] for setting in self._bars]  # as in the other charts
        self.mean_bars.set([row["label"] for row in known], [row["mean"] for row in known], *ends)
        self.means.plot.setXRange(-0.7, len(known) - 0.3, padding=0)
        self._fill_table(comparison, metric, intervals)
        self._show_trade(comparison)
        self._show_distribution(comparison, metric)

    def _fill_table(self, comparison: Comparison, metric: str, intervals: list[dict[str, object]]) -> None:
        paired = {row["setting"]: row for row in comparison.paired(metric).iter_rows(named=True)}
        better = BY_NAME[metric].better
        unit = unit_of(metric)
        for column in (1, 2):
            self.table.head(column, COLUMNS[column] + (f" ({unit})" if unit else ""))
        self.table.setRowCount(len(intervals))
        for place, row in enumerate(intervals):
            against = paired.get(row["setting"])
            cells = [str(row["label"]), mean_text(row)]
            verdict, hue = "the baseline", "muted"
            if against is None:
                cells += [""]
            else:
                cells += [difference_text(against)]
                verdict = str(against["verdict"])
                if verdict in ("lower", "higher"):
                    good = verdict == better
                    hue = "text" if better is None else "good" if good else "bad"
                    verdict = ("" if better is None else "✓ " if good else "✗ ") + verdict
                elif against["needed"]:
                    verdict += f"; about {against['needed']:,} would do"
            for column, text in enumerate([*cells, verdict]):
                self.table.put(place, column, text, hue if column == len(COLUMNS) - 1 else "")

    def _show_trade(self, comparison: Comparison) -> None:
        x, y = self.across.currentData(), self.upward.currentData()
        self.trade.label(x=with_unit(x), y=with_unit(y))
        means, heights = (
            {row["setting"]: row["mean"] for row in comparison.intervals(name).iter_rows(named=True)} for name in (x, y)
        )
        settings = comparison.experiment.settings
        while len(self.points) < min(len(settings), 40):
            self.points.append(self.trade.scatter(settings[len(self.points)].label, size=10))
        for place, points in enumerate(self.points):
            setting = settings[place] if place < len(settings) else None
            there = setting is not None and None not in (means.get(setting.index), heights.get(setting.index))
            points.name = setting.label if setting is not None else ""
            points.set([means[place]] if there else [], [heights[place]] if there else [])
        self.trade.key.refresh()

    def _show_distribution(self, comparison: Comparison, metric: str) -> None:
        latency = metric.partition(".")[0]
        frame = comparison.samples.filter(comparison.samples["metric"] == latency)
        self.tabs.setTabVisible(1, not frame.is_empty())
        settings = comparison.experiment.settings[:8]
        while len(self.cdf.series) < len(settings):
            self.cdf.line(settings[len(self.cdf.series)].label)
        self.cdf.rename(f"{latency} of the requests")
        self.cdf.label(x=f"{latency} (s)", y="share of the requests")
        for place, line in enumerate(self.cdf.series):
            rows = frame.filter(frame["setting"] == place) if place < len(settings) else frame.clear()
            line.name = settings[place].label if place < len(settings) else ""
            line.set(rows["value"].to_numpy(), rows["q"].to_numpy())  # type: ignore[attr-defined]
        self.cdf.key.refresh()

    def _clicked(self, event: object) -> None:
        box = self.means.plot.getViewBox()
        place = round(box.mapSceneToView(event.scenePos()).x())  # type: ignore[attr-defined]
        if 0 <= place < len(self._bars):
            self.open_setting(self._bars[place].index)

    def open_setting(self, index: int) -> None:
        """Run the first replication of a setting in Live, as a change of the document that can be undone."""
        if self.comparison is None:
            return
        run = next(run for run in self.comparison.experiment.runs() if run.setting.index == index)
        data = run.scenario.model_dump(mode="json", exclude_none=True)
        self.context.document.replace(data, f"open {run.setting.label}")
        self.context.window.begin()

    def _export(self) -> None:
        chosen = QFileDialog.getExistingDirectory(self, "An empty folder for the report")
        if chosen:
            self.write_report(Path(chosen))

    def write_report(self, folder: Path) -> None:
        """Everything that `kvscope compare --out` writes, into a folder that is empty or does not exist yet."""
        if self._answered is None:
            return
        task = self.context.tasks.start(report, *self._answered, folder)
        task.progressed.connect(lambda news: self.status.setText(f"{news} ..."))
        task.done.connect(lambda place: self.status.setText(f"report.html, tables and charts are in {place}"))
        task.failed.connect(lambda sentence: complain(self, "The report was not written", sentence))
        self.status.setText("writing the report ...")

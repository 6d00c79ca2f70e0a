"""Runs that were kept: their numbers and charts, to look at again and to export."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMenu,
    QPushButton,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from app.desktop import settings, theme
from app.desktop.actions import Action
from app.desktop.charts import Chart, number
from app.desktop.dialogs import complain
from app.desktop.figure import Figure
from app.desktop.pages.base import Context, Page
from app.desktop.sheet import Sheet
from app.desktop.tasks import Task
from app.jobs.results import Report, export_table, read_report
from simcore.errors import InputError
from simcore.experiment.measures import BY_NAME

LATENCIES = ("queue", "ttft", "tpot", "itl", "e2e")
PERCENTILES = ("p50", "p90", "p99")
TABLES = ("requests", "timeline", "blocks")


class ReportView(QWidget):
    """One run."""

    def __init__(self) -> None:
        super().__init__()
        self.figures = {name: Figure(name) for name in ("Requests", "Output", "TTFT", "Prefix hits", "Preemptions")}
        self.memory = Chart("Memory", "time", "blocks", x_unit="s", about="Blocks of the pool over the run.")
        self.blocks = self.memory.stack(("used", "cached", "free"), ("stored", "cached", "free"))
        self.queue = Chart("Requests in the server", "time", "requests", x_unit="s")
        self.running = self.queue.line("running")
        self.waiting = self.queue.line("waiting")
        self.queue.link_x(self.memory)
        self.hits = Chart(
            "Prefix cache", "time", "hit share", x_unit="s", about="Found of the tokens that were looked up."
        )
        self.hit_share = self.hits.line("found", "cached", fill=True)
        self.hits.link_x(self.memory)
        self.latency = Chart("Latencies", "", "s", about="Percentiles over the requests that came to have one.")
        self.bars = {name: self.latency.bars(name) for name in PERCENTILES}
        self.charts = (self.memory, self.queue, self.hits, self.latency)
        self.table = Sheet(("number", "value"), "All numbers", right=(1,), stretch=(0,))
        self.table.setMinimumWidth(270)
        self.table.verticalHeader().setDefaultSectionSize(26)
        top = QHBoxLayout()
        top.setSpacing(10)
        for figure in self.figures.values():
            top.addWidget(figure, 1)
        grid = QGridLayout()
        grid.setSpacing(10)
        for place, chart in enumerate(self.charts):
            grid.addWidget(chart, place // 2, place % 2)
        grid.addWidget(self.table, 0, 2, 2, 1)
        for column, stretch in enumerate((5, 5, 4)):
            grid.setColumnStretch(column, stretch)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(10)
        box.addLayout(top)
        box.addLayout(grid, 1)

    def show_report(self, report: Report) -> None:
        """Fill everything."""
        told = dict(flat(report.summary))
        requests, finished = told.get("requests.total"), told.get("requests.finished")
        self.figures["Requests"].tell(_text(finished), f"finished of {_text(requests)}")
        self.figures["Output"].tell(
            f"{_text(told.get('throughput.output_tokens_per_s'))} /s",
            f"tokens, {_text(told.get('throughput.requests_per_s'))} requests/s",
        )
        self.figures["TTFT"].tell(seconds(told.get("ttft.p50")), f"p99 {seconds(told.get('ttft.p99'))}")
        looked, found = told.get("hits.query_tokens") or 0, told.get("hits.hit_tokens") or 0
        self.figures["Prefix hits"].tell(f"{found / looked:.1%}" if looked else "-", "of looked-up tokens")
        self.figures["Preemptions"].tell(_text(told.get("preemptions")), f"{_text(told.get('evictions'))} evictions")
        columns = report.columns
        self.blocks.set(report.time, [columns["blocks_used"], columns["blocks_cached"], columns["blocks_free"]])
        self.running.set(report.time, columns["running"])
        self.waiting.set(report.time, columns["waiting"])
        query, hit = _smooth(columns["query_tokens"]), _smooth(columns["hit_tokens"])
        self.hit_share.set(report.time, np.divide(hit, query, out=np.full(len(query), np.nan), where=query > 0))
        names = [name for name in LATENCIES if told.get(f"{name}.p50") is not None]
        for percentile, bars in self.bars.items():
            bars.set(names, [told[f"{name}.{percentile}"] for name in names])
        self.table.setRowCount(len(told))
        for row, (name, value) in enumerate(told.items()):
            known = BY_NAME.get(name)
            unit = " s" if known is not None and known.unit == "s" else ""  # others are in the name
            self.table.put(row, 0, name, tip=f"{name}: {known.help}" if known is not None else "")
            self.table.put(row, 1, _text(value) + (unit if value is not None else ""))


class Reports(Page):
    """See the module."""

    id = "reports"
    title = "Reports"
    icon = "reports"
    guide = "reports.md"
    about = (
        "Folders of results, as runs leave them: numbers, what the pool and the queue did, latencies. Everything here "
        "can be exported, and the scenario of a run can be opened again to repeat it."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.report: Report | None = None
        self._task: Task | None = None
        self.list = QListWidget()
        self.list.setAccessibleName("Folders of results")
        self.list.setWordWrap(True)
        self.list.setSpacing(2)
        self.list.currentItemChanged.connect(self._chosen)
        self.add = QPushButton("Open a folder")
        self.add.clicked.connect(context.window.ask_for_folder)
        left = QFrame()
        left.setProperty("role", "card")
        column = QVBoxLayout(left)
        column.setContentsMargins(12, 12, 12, 12)
        heading = QLabel("Runs")
        heading.setProperty("role", "heading")
        column.addWidget(heading)
        column.addWidget(self.list, 1)
        column.addWidget(self.add)
        left.setMinimumWidth(190)

        self.heading = QLabel()
        self.sub = QLabel()
        self.sub.setProperty("role", "muted")
        self.heading.setProperty("role", "title")
        self.heading.setMinimumWidth(80)
        self.sub.setMinimumWidth(80)
        self.open_scenario = QPushButton("Open its scenario")
        self.open_scenario.clicked.connect(self._open_scenario)
        self.export = QPushButton("Export")
        self.export.setProperty("role", "primary")
        self.export.setMenu(self._export_menu())
        top = QHBoxLayout()
        words = QVBoxLayout()
        words.setSpacing(0)
        words.addWidget(self.heading)
        words.addWidget(self.sub)
        top.addLayout(words, 1)
        top.addWidget(self.open_scenario)
        top.addWidget(self.export)
        self.view = ReportView()
        whole = QWidget()
        inside = QVBoxLayout(whole)
        inside.setContentsMargins(0, 0, 0, 0)
        inside.setSpacing(10)
        inside.addLayout(top)
        inside.addWidget(self.view, 1)
        self.empty = QLabel(
            "No run is open.\n\nkvscope simulate leaves a folder of results, and so does a run of Live that is over "
            "and saved (Ctrl+Alt+S).\nChoose one on the left, or drop it here."
        )
        self.empty.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.empty.setProperty("role", "muted")
        self.right = QStackedWidget()
        self.right.addWidget(self.empty)
        self.right.addWidget(whole)
        self.divide(left, self.right, 210)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def enter(self) -> None:
        """There may be new runs."""
        self._list()

    def actions_of(self) -> list[Action]:
        return [Action("file.export-charts", "Export all charts", self.export_charts, ("Ctrl+E",), "Into a folder.")]

    def open_path(self, path: Path) -> bool:
        """A folder of results."""
        settings.remember(path)
        self._list()
        for row in range(self.list.count()):
            if self.list.item(row).data(Qt.ItemDataRole.UserRole) == str(path.absolute()):
                self.list.setCurrentRow(row)
                return True
        self._read(path)
        return True

    def _list(self) -> None:
        """Those that were open lately, and those in `results` here."""
        current = self.list.currentItem()
        chosen = current.data(Qt.ItemDataRole.UserRole) if current else None
        found = [path for path in settings.recent() if (path / "summary.json").exists()]
        found += [path.parent for path in sorted(Path("results").glob("*/summary.json"))]
        self.list.blockSignals(True)
        self.list.clear()
        for path in dict.fromkeys(path.absolute() for path in found):
            item = QListWidgetItem(theme.icon("reports", "muted"), f"{path.name}\n{_when(path)}")
            item.setToolTip(str(path))
            item.setData(Qt.ItemDataRole.UserRole, str(path))
            self.list.addItem(item)
            if str(path) == chosen:
                self.list.setCurrentItem(item)
        self.list.blockSignals(False)

    def _chosen(self, item: QListWidgetItem | None) -> None:
        if item is not None:
            self._read(Path(item.data(Qt.ItemDataRole.UserRole)))

    def _read(self, path: Path) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = self.context.tasks.start(read_report, path)
        self._task.done.connect(self._show)
        self._task.failed.connect(self._failed)
        self.context.window.say(f"Reading {path}")

    def _failed(self, sentence: str) -> None:
        self._task = None
        self.report = None
        self.empty.setText(sentence)
        self.context.window.say("")
        self.right.setCurrentIndex(0)

    def _show(self, report: Report) -> None:
        self._task = None
        self.report = report
        self.heading.setText(report.path.name)
        about = report.about
        told = [
            f"{report.summary.get('steps', 0):,} steps" if isinstance(report.summary.get("steps"), int) else "",
            f"{number(float(report.summary['end_time']))} s of time" if report.summary.get("end_time") else "",
            f"computed in {about['wall_s']} s" if about.get("wall_s") is not None else "",
            "interrupted" if about.get("interrupted") else "",
            "stalled" if about.get("stalled") else "",
            "" if about else "not whole: it has no run.json",
        ]
        self.sub.setText(", ".join(part for part in told if part))
        self.view.show_report(report)
        self.right.setCurrentIndex(1)
        self.context.window.say(f"{report.path.name} is open")
        self.open_scenario.setEnabled((report.path / "scenario.toml").exists())
        for name, action in self._table_actions.items():
            action.setEnabled((report.path / f"{name}.parquet").exists())

    def _open_scenario(self) -> None:
        if self.report is not None:
            self.context.window.open_path(self.report.path / "scenario.toml")

    def _export_menu(self) -> QMenu:
        menu = QMenu(self)
        menu.addAction("All charts into a folder ...", self.export_charts)
        menu.addAction("Copy the summary as JSON", self._copy_summary)
        menu.addSeparator()
        self._table_actions = {}
        for name in TABLES:
            action = menu.addAction(f"{name} as CSV ...", lambda name=name: self._export_table(name))
            self._table_actions[name] = action
        return menu

    def export_charts(self) -> None:
        """Each chart as PNG, SVG, PDF and CSV, into a folder that is asked for."""
        if self.report is None:
            return
        chosen = QFileDialog.getExistingDirectory(self, "Export all charts into", str(self.report.path))
        if not chosen:
            return
        try:
            for chart in self.view.charts:
                name = chart.title.lower().replace(" ", "-")
                for kind in ("png", "svg", "pdf", "csv"):
                    chart.save(Path(chosen) / f"{name}.{kind}")
        except InputError as error:
            complain(self, "Not exported", str(error))
            return
        self.context.window.say(f"{len(self.view.charts)} charts are in {chosen}")

    def _copy_summary(self) -> None:
        if self.report is not None:
            QGuiApplication.clipboard().setText(json.dumps(self.report.summary, indent=2))
            self.context.window.say("The summary is in the clipboard")

    def _export_table(self, name: str) -> None:
        if self.report is None:
            return
        proposal = str(self.report.path.parent / f"{self.report.path.name}-{name}.csv")
        chosen, _ = QFileDialog.getSaveFileName(self, f"Save {name}", proposal, "*.csv")
        if chosen:
            task = self.context.tasks.start(export_table, self.report.path / f"{name}.parquet", Path(chosen))
            task.done.connect(lambda target: self.context.window.say(f"Saved {target}"))
            task.failed.connect(lambda sentence: complain(self, "Not exported", sentence))

    def _dress(self) -> None:
        self.add.setIcon(theme.icon("folder", "muted"))
        for row in range(self.list.count()):
            self.list.item(row).setIcon(theme.icon("reports", "muted"))
        self.export.setIcon(theme.icon("export", "on_accent"))
        self.open_scenario.setIcon(theme.icon("open", "muted"))


def flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """A nested table as dotted names and values."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        if isinstance(value, dict):
            found += flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            for place, element in enumerate(value):
                found += flat(element, f"{prefix}{name}[{place}].") if isinstance(element, dict) else []
        else:
            found.append((prefix + name, value))
    return found


def seconds(value: Any) -> str:
    """A time in s or ms."""
    if not isinstance(value, int | float):
        return "-"
    return f"{value:,.2f} s" if value >= 1 else f"{value * 1000:,.1f} ms"


def _text(value: Any) -> str:
    return number(float(value)) if isinstance(value, int | float) and not isinstance(value, bool) else str(value or "-")


def _smooth(values: Any, window: int = 41) -> Any:
    """Sums over so many points, so that a share of two is no noise."""
    sums = np.cumsum(np.concatenate(([0.0], values)))
    ends = np.arange(1, len(values) + 1)
    return sums[ends] - sums[np.maximum(ends - window, 0)]


def _when(path: Path) -> str:
    moment = datetime.fromtimestamp((path / "summary.json").stat().st_mtime)
    return f"{moment:%Y-%m-%d %H:%M}"

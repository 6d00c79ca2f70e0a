"""The Compare page: a question, workers of its own, an answer that can be read, opened and exported."""

from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from app.desktop.pages.compare import Compare
from app.desktop.window import MainWindow


@pytest.fixture
def page(window: MainWindow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Compare:
    monkeypatch.setenv("KVSCOPE_STORE", str(tmp_path / "store"))
    window.document.set("workload.requests", 8)
    shown = window.show_page("compare")
    assert isinstance(shown, Compare)
    shown.rows[0].values.setText("lru, fifo")
    shown.replications.setValue(2)
    return shown


def run(page: Compare, qtbot: QtBot) -> None:
    qtbot.mouseClick(page.run, Qt.MouseButton.LeftButton)
    assert page.run.text() == "Cancel"
    qtbot.waitUntil(lambda: page.task is None)


def test_settings_are_compared(page: Compare, window: MainWindow, qtbot: QtBot) -> None:
    assert page.told.text() == "2 settings x 2 = 4 runs"
    page.add("memory.block_size", "8:16:8")
    assert page.told.text() == "4 settings x 2 = 8 runs"
    page.remove(page.rows[1])
    run(page, qtbot)
    assert page.comparison is not None
    assert len(page.comparison.runs) == 4
    assert page.mean_bars.labels == ("lru", "fifo")
    assert page.table.rowCount() == 2
    assert page.table.item(0, 3).text() == "the baseline"
    means = page.comparison.intervals("ttft.mean")["mean"].to_list()
    assert page.mean_bars.heights.tolist() == means
    page.chosen.setCurrentIndex(page.chosen.findData("e2e.p99"))
    assert page.mean_bars.heights.tolist() == page.comparison.intervals("e2e.p99")["mean"].to_list()

    run(page, qtbot)
    assert page._kept == 4, "runs that are known are not run again"

    page.open_setting(1)
    assert window.document.value("memory.eviction.policy") == "fifo"
    assert window.document.value("seed") == page.comparison.runs["seed"][0], "the first replication"
    window.document.undo.undo()
    assert window.document.value("memory.eviction.policy") == "lru"


def test_the_baseline_is_chosen(page: Compare, qtbot: QtBot) -> None:
    page.baseline.setCurrentIndex(1)
    run(page, qtbot)
    assert page.table.item(1, 3).text() == "the baseline"


def test_a_report_is_written(page: Compare, qtbot: QtBot, tmp_path: Path) -> None:
    run(page, qtbot)
    page.write_report(tmp_path / "report")
    qtbot.waitUntil(lambda: page.status.text().startswith("report.html"))
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    assert (tmp_path / "report" / "results.csv").read_text().count("\n") == 5


def test_what_is_wrong_is_said_beside_the_button(page: Compare) -> None:
    page.rows[0].values.setText("lru, nonsense")
    assert "nonsense" in page.told.text()
    assert not page.run.isEnabled()
    page.rows[0].values.setText("")
    assert "nothing varies" in page.told.text()


def test_all_policies_of_a_family(page: Compare) -> None:
    page.rows[0].all.click()
    assert "s3-fifo" in page.rows[0].values.text()
    assert page.run.isEnabled()


def test_cancelling_ends_the_workers(page: Compare, window: MainWindow, qtbot: QtBot) -> None:
    page.replications.setValue(500)
    window.actions_["run.compare"].trigger()
    qtbot.waitUntil(lambda: page._done_runs > 0)
    window.actions_["run.compare"].trigger()
    assert page.task is None
    assert "cancelled" in page.status.text()


def test_a_run_that_cannot_be_is_told(page: Compare, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    page.context.document.set("memory.block_size", -1)
    page.toggle()
    assert page.task is None
    assert "memory.block_size" in told[0]

"""Home, Workload and Reports through their main use."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox, QFileDialog, QLineEdit
from pytestqt.qtbot import QtBot

from app.desktop import settings
from app.desktop.pages.home import Home
from app.desktop.pages.reports import Reports, flat
from app.desktop.pages.workload import WorkloadPage
from app.desktop.window import MainWindow
from simcore.export.folder import ResultsFolder
from simcore.scenario import Scenario
from simcore.simulation import simulate

TRACES = Path(__file__).parents[1] / "data" / "traces"


def page_of(window: MainWindow, name: str) -> object:
    page = window.show_page(name)
    assert page is not None
    return page


@pytest.fixture
def home(window: MainWindow) -> Home:
    page = page_of(window, "home")
    assert isinstance(page, Home)
    return page


@pytest.fixture
def workload(window: MainWindow) -> WorkloadPage:
    page = page_of(window, "workload")
    assert isinstance(page, WorkloadPage)
    return page


@pytest.fixture
def reports(window: MainWindow) -> Reports:
    page = page_of(window, "reports")
    assert isinstance(page, Reports)
    return page


def test_a_card_opens_its_preset(window: MainWindow, home: Home, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: home.cards["agents"].sketch.sketch is not None)
    card = home.cards["chat"]
    qtbot.mouseClick(card, Qt.MouseButton.LeftButton)
    assert window.document.preset == "chat"
    assert window.shown is not home


def test_cards_are_reached_and_opened_by_key(window: MainWindow, home: Home, qtbot: QtBot) -> None:
    cards = list(home.cards.values())
    cards[0].setFocus()
    qtbot.keyClick(cards[0], Qt.Key.Key_Right)
    assert cards[1].hasFocus()
    qtbot.keyClick(cards[1], Qt.Key.Key_Down)
    assert cards[1 + home._columns].hasFocus()
    qtbot.keyClick(cards[1 + home._columns], Qt.Key.Key_Space)
    assert window.document.preset == cards[1 + home._columns].preset


@pytest.mark.parametrize("width", [1024, 1440, 1920])
def test_nothing_of_home_is_cut_off(window: MainWindow, home: Home, qtbot: QtBot, width: int) -> None:
    qtbot.waitUntil(lambda: not home._unsketched)
    window.resize(width, 900)
    inside = home.area.widget()
    qtbot.waitUntil(lambda: inside.width() == home.area.viewport().width())


def test_recent_files_are_offered(window: MainWindow, home: Home, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "mine.toml"
    window.document.save(path)
    settings.remember(path)
    home.enter()
    button = home.recent.itemAt(0).widget()
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    assert window.document.path == path


def test_typing_a_length_changes_its_histogram(workload: WorkloadPage, qtbot: QtBot) -> None:
    before = workload.pictures.output_bars.counts.copy()
    editor = workload.form.fields["workload.output.mean"].editor
    assert isinstance(editor, QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "40")
    qtbot.waitUntil(lambda: workload.pictures.output_bars.counts.tolist() != before.tolist())
    mean = float(workload.pictures.figures["Mean output"].value.text())
    assert 35 < mean < 45
    editor.selectAll()
    qtbot.keyClicks(editor, "-3")
    qtbot.waitUntil(workload.pictures.note.isVisible)
    assert "workload.output.mean is -3" in workload.pictures.note.text()


def test_the_next_seed_draws_others(workload: WorkloadPage, window: MainWindow, qtbot: QtBot) -> None:
    before = workload.pictures.rate.y.copy()
    qtbot.keyClick(window, Qt.Key.Key_D, Qt.KeyboardModifier.ControlModifier)
    qtbot.waitUntil(lambda: workload.pictures.rate.y.tolist() != before.tolist())
    assert window.document.value("seed") == 1


def test_sharing_is_what_conversations_bring(workload: WorkloadPage, window: MainWindow, qtbot: QtBot) -> None:
    assert workload.pictures.figures["Shared"].value.text() == "84%"
    field = workload.form.fields["workload.conversations"]
    field.editor.setFocus()
    qtbot.keyClick(field.editor, Qt.Key.Key_Space)
    assert window.document.value("workload.conversations") is None
    qtbot.waitUntil(lambda: workload.pictures.figures["Shared"].value.text() == "0%")


def test_a_trace_is_looked_into_and_used(workload: WorkloadPage, window: MainWindow, qtbot: QtBot) -> None:
    assert window.open_path(TRACES / "mooncake.jsonl")
    importer = workload.importer
    qtbot.waitUntil(importer.use.isEnabled)
    assert "3 requests in the format mooncake" in importer.verdict.text()
    assert importer.lines.rowCount() == 3
    assert importer.facts.item(0, 1).text() == "908"
    qtbot.mouseClick(importer.use, Qt.MouseButton.LeftButton)
    assert window.document.value("workload.trace").endswith("mooncake.jsonl")
    assert window.document.valid, window.document.problems
    assert workload.played.isChecked()
    qtbot.waitUntil(lambda: workload.pictures.figures["Requests"].value.text() == "2")
    qtbot.mouseClick(workload.drawn, Qt.MouseButton.LeftButton)
    assert window.document.value("workload.trace") is None
    window.document.undo.undo()
    window.document.undo.undo()
    assert window.document.value("workload.conversations") is not None


def test_a_broken_line_is_named_shown_and_passed_over(
    workload: WorkloadPage, window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    path = tmp_path / "broken.csv"
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    lines += [f"2023-11-16 18:15:{second:02}.0,100,10" for second in range(40)]
    lines[30] = "2023-11-16 18:15:29.0,many,10"
    path.write_text("\n".join(lines) + "\n")
    window.open_path(path)
    importer = workload.importer
    qtbot.waitUntil(lambda: "line 31" in importer.verdict.text())
    assert not importer.use.isEnabled()
    assert importer.lines.verticalHeaderItem(3).text() == "31"
    assert importer.lines.item(3, 0).text() == lines[30]
    importer.skip.setFocus()
    qtbot.keyClick(importer.skip, Qt.Key.Key_Space)
    qtbot.waitUntil(importer.use.isEnabled)
    assert "1 broken lines passed over" in importer.verdict.text()
    qtbot.mouseClick(importer.use, Qt.MouseButton.LeftButton)
    assert window.document.value("workload.skip_bad_lines") is True


def test_reading_is_cancelled_at_once(workload: WorkloadPage, window: MainWindow, qtbot: QtBot) -> None:
    window.open_path(TRACES / "azure.csv")
    assert workload.importer.bar.isVisible()
    qtbot.mouseClick(workload.importer.cancel, Qt.MouseButton.LeftButton)
    assert workload.right.currentWidget() is workload.pictures
    assert window.document.value("workload.trace") is None


def test_a_trace_of_ten_gigabytes_is_a_sentence(
    workload: WorkloadPage, window: MainWindow, tmp_path: Path, qtbot: QtBot
) -> None:
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(10 << 30)  # a hole: it takes no room on the disk
    window.open_path(path)
    qtbot.waitUntil(lambda: "longer than 2 GiB" in workload.importer.verdict.text())
    assert workload.importer.bytes.text() == "10.7 GB"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "small"
    scenario = Scenario.preset("default", ["workload.requests=60"])
    with ResultsFolder(out, "small") as folder:
        return folder.write(simulate(scenario))


def test_a_run_is_opened_looked_at_and_exported(
    reports: Reports,
    window: MainWindow,
    results: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    qtbot: QtBot,
) -> None:
    assert window.open_path(results)
    qtbot.waitUntil(lambda: reports.report is not None)
    summary = json.loads((results / "summary.json").read_text())
    assert reports.heading.text() == "small"
    view = reports.view
    assert view.figures["Requests"].value.text() == "60"
    assert view.table.rowCount() == len(flat(summary))
    assert view.blocks.heights.sum(axis=0).max() <= 499
    target = tmp_path / "charts"
    target.mkdir()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(target))
    qtbot.keyClick(window, Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)
    assert len(list(target.iterdir())) == 4 * 4
    table = tmp_path / "requests.csv"
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(table), ""))
    reports._table_actions["requests"].trigger()
    assert not reports._table_actions["blocks"].isEnabled()
    qtbot.waitUntil(lambda: table.exists() and len(table.read_text().splitlines()) == 61)
    qtbot.mouseClick(reports.open_scenario, Qt.MouseButton.LeftButton)
    assert window.document.value("workload.requests") == 60


def test_a_broken_folder_is_a_sentence(reports: Reports, window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "summary.json").write_text("{")
    window.open_path(tmp_path)
    qtbot.waitUntil(lambda: "is not JSON" in reports.empty.text())


def test_choosing_a_format_by_key(workload: WorkloadPage, qtbot: QtBot) -> None:
    box = workload.form.fields["workload.arrivals.process"].editor
    assert isinstance(box, QComboBox)
    box.setFocus()
    qtbot.keyClicks(box, "g")
    assert workload.context.document.value("workload.arrivals.process") == "gamma"
    assert workload.form.fields["workload.arrivals.cv"].isVisible()


def test_the_window_closes_while_a_trace_is_read(
    workload: WorkloadPage, window: MainWindow, answer: Callable[[str], list[str]]
) -> None:
    window.open_path(TRACES / "azure.csv")
    assert window.close()

"""The Validation page, with a real engine in a process of its own."""

from importlib.util import find_spec
from pathlib import Path

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from app.desktop.pages.validation import Validation
from app.desktop.window import MainWindow

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


@pytest.fixture
def page(window: MainWindow) -> Validation:
    shown = window.show_page("validation")
    assert isinstance(shown, Validation)
    shown.requests.setValue(3)
    return shown


@needs_torch
def test_engine_and_simulator_are_shown_side_by_side(page: Validation, qtbot: QtBot) -> None:
    qtbot.mouseClick(page.run, Qt.MouseButton.LeftButton)
    assert page.run.text() == "Cancel"
    qtbot.waitUntil(lambda: page.verdict is not None)
    assert page.verdict is not None
    assert page.verdict.ok
    assert page.run.text() == "Validate"
    assert "agree" in page.figures["Verdict"].value.text()
    assert len(page.held.x) == page.verdict.steps["step"][-1] + 1
    assert (page.held.y == page.held_theory.y).all()
    assert page.bytes_points.y.max() > 0
    assert page.table.rowCount() == len(page.verdict.rows)


def test_a_run_is_cancelled(page: Validation, window: MainWindow, qtbot: QtBot) -> None:
    window.actions_["run.validate"].trigger()
    assert page.task is not None
    window.actions_["run.validate"].trigger()
    assert page.task is None
    assert page.note.text() == "cancelled"


@needs_torch
def test_a_folder_without_a_model_is_a_sentence(
    page: Validation, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    (tmp_path / "config.json").write_text("{}")
    assert page.open_path(tmp_path)
    assert page.model.currentText() == str(tmp_path)
    page.toggle()
    qtbot.waitUntil(lambda: bool(told))
    assert str(tmp_path) in told[0]
    assert page.figures["Verdict"].remark.text() == "it could not be run"


def test_a_folder_of_something_else_is_not_for_this_page(page: Validation, tmp_path: Path) -> None:
    assert not page.open_path(tmp_path)


def test_a_wrong_scenario_is_not_run(page: Validation, window: MainWindow, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    window.document.set("memory.block_size", -1)
    page.toggle()
    assert page.task is None
    assert "memory.block_size" in told[0]

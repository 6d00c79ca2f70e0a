"""The Calculator page: the numbers of the formula, whatever is moved, and the two ways on from it."""

from importlib.util import find_spec

import pytest
from pytestqt.qtbot import QtBot

from app.desktop.pages.calculator import Calculator
from app.desktop.window import MainWindow

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


@pytest.fixture
def page(window: MainWindow) -> Calculator:
    shown = window.show_page("calculator")
    assert isinstance(shown, Calculator)
    return shown


def settle(page: Calculator, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not page._timer.isActive())


@pytest.mark.parametrize(
    ("longest", "reserved", "saved"), [(2048, "44.00 MiB", "93.75%"), (1024, "22.00 MiB", "87.50%")]
)
def test_the_formula_with_the_numbers_put_in(
    page: Calculator, qtbot: QtBot, longest: int, reserved: str, saved: str
) -> None:
    page.longest.put(longest)
    settle(page, qtbot)
    assert page.figures["Reserved"].value.text() == reserved
    assert page.figures["In pages"].value.text() == "2.75 MiB"
    assert page.figures["Saved"].value.text() == saved
    assert reserved.split()[0] in page.formula.text()
    assert page.grid.wanted == 8


def test_everything_follows_the_sliders(page: Calculator, qtbot: QtBot) -> None:
    page.batch.put(8)
    page.tokens.put(100)
    page.block.put(32)
    page.model.setCurrentText("llama-3-8b")
    page.hardware.setCurrentText("a100-80gb")
    settle(page, qtbot)
    assert page.result["blocks_used"] == 8 * 4
    assert page.result["hardware"]["users"] > page.result["hardware"]["users_traditional"] > 0
    assert page.curve_here.y[0] == pytest.approx(page.result["memory_saved_percent"])
    assert len(page.fits_pool.y)
    own = [label for label in page.variant_bars.labels if "◂" in label]
    assert own == ["GQA 8 ◂"]


def test_what_does_not_fit_is_said(page: Calculator, qtbot: QtBot) -> None:
    page.model.setCurrentText("llama-2-70b")
    page.hardware.setCurrentText("rtx-4090")
    settle(page, qtbot)
    assert "leaves no room" in page.problem.text()
    assert page.figures["Users held"].value.text() == "-"


@pytest.mark.parametrize("model", ["deepseek-v3", "mamba-2.8b", "gpt-oss-20b", "jamba-v0.1"])
def test_other_kinds_of_layers(page: Calculator, qtbot: QtBot, model: str) -> None:
    page.model.setCurrentText(model)
    settle(page, qtbot)
    assert page.result["model"] == model
    assert not page.problem.text()


def test_the_batch_is_sent_to_live(page: Calculator, window: MainWindow, qtbot: QtBot) -> None:
    page.batch.put(4)
    settle(page, qtbot)
    window.actions_["run.send"].trigger()
    assert window.document.valid, window.document.problems
    assert window.document.value("workload.requests") == 4
    assert window.session.told[-1] == ("start", "calculator")  # type: ignore[union-attr]
    window.document.undo.undo()
    assert window.document.name == "default"


@needs_torch
def test_an_engine_follows_the_line(page: Calculator, qtbot: QtBot) -> None:
    page.batch.put(2)
    page.tokens.put(48)
    settle(page, qtbot)
    page.theory.click()
    qtbot.waitUntil(lambda: page.task is None)
    assert len(page.live_held.y) > 10
    assert page.live_held.y.tolist() == page.live_theory.y.tolist()

"""The Labs page: each lab runs in a process of its own, and shows what it found."""

from importlib.util import find_spec

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from app.desktop.pages.labs import FAULTS, Labs
from app.desktop.window import MainWindow
from app.jobs import labs

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
SOON = 120_000


@pytest.fixture
def page(window: MainWindow) -> Labs:
    shown = window.show_page("labs")
    assert isinstance(shown, Labs)
    return shown


def test_forms_of_attention(page: Labs, qtbot: QtBot) -> None:
    lab = page.attention
    lab.tokens.setValue(64)
    lab.block.setValue(8)
    qtbot.mouseClick(lab.go, Qt.MouseButton.LeftButton)
    assert lab.go.text() == "Cancel"
    qtbot.waitUntil(lambda: lab.task is None, timeout=SOON)
    assert lab.peak_bars.labels == ("standard", "paged", "block-local")
    standard, paged, local = lab.peak_bars.heights
    assert standard > 2 * paged
    assert standard > 2 * local
    assert lab.error_line.y[0] > 0.1, "block-local attention is another function"
    assert lab.error_line.y[-1] < 1e-9, "unless it looks at everything"
    assert "another function" in lab.facts.text()


def test_a_model_fills_pages(page: Labs, qtbot: QtBot) -> None:
    page.tabs.setCurrentWidget(page.heads)
    page.heads.count.setValue(4)
    page.toggle()
    qtbot.waitUntil(lambda: page.heads.task is None, timeout=SOON)
    result = page.heads.result
    assert result is not None
    assert "page 0: 8 of 8" in page.heads.text.text()
    assert page.heads.page_bars.heights.sum() == pytest.approx(1)
    page.heads.layer.setValue(1)
    page.heads.head.setValue(2)
    assert (page.heads.heat.matrix == result.weights[0, 1]).all()


def test_an_empty_prompt_is_a_sentence(page: Labs, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    page.heads.prompt.setText("")
    page.heads.toggle()
    qtbot.waitUntil(lambda: bool(told), timeout=SOON)
    assert "empty" in told[0]


def test_where_memory_ends(page: Labs, qtbot: QtBot) -> None:
    page.tabs.setCurrentWidget(page.training)
    qtbot.waitUntil(lambda: bool(page.training.rows), timeout=SOON)
    for row in page.training.rows:
        assert (row.predicted_status == "fits") == (row.reported is not None)
        if row.reported is not None:
            assert row.predicted_held / 2**20 == pytest.approx(row.reported[2], rel=0.01)
    qtbot.waitUntil(lambda: not page.context.tasks._tasks)


def test_exponents(page: Labs, qtbot: QtBot) -> None:
    import numpy as np

    points = {axis: np.array([[2, 4.0], [4, 16.0], [8, 64.0]]) for axis in ("N", "L")}
    fits = {"N": (2.0, 0.01, 2.0), "L": (1.0, 0.1, 1.0)}
    cell = labs.ComplexityCell("training", "flops", "FLOP", "O(N²L)", fits, ["because"], points)
    page.complexity.found(("a machine", [cell]))
    assert page.complexity.table.item(0, 3).text() == "2.00 ± 0.01"
    assert page.complexity.fits["N"].y == pytest.approx([4, 16, 64])


def test_a_lab_is_cancelled(page: Labs) -> None:
    page.tabs.setCurrentWidget(page.complexity)
    page.toggle()
    assert page.complexity.task is not None
    page.toggle()
    assert page.complexity.note.text() == "cancelled"


def test_what_the_documents_say(page: Labs) -> None:
    assert page.documents.table.rowCount() == len(FAULTS)

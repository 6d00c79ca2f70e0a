"""The Labs page: each lab runs in a process of its own, and shows what it found."""

import re
from importlib.util import find_spec

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QMessageBox
from pytestqt.qtbot import QtBot

from app.cli import main
from app.desktop.labs.documents import FAULTS, IDEAS
from app.desktop.pages.labs import Labs
from app.desktop.window import MainWindow
from app.jobs import labs

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")


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
    qtbot.waitUntil(lambda: lab.task is None)
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
    qtbot.waitUntil(lambda: "page 2: 3 of 8" in page.heads.text.text())  # the prompt alone
    qtbot.waitUntil(lambda: page.heads.task is None and not page.heads._clock.isActive())
    result = page.heads.result
    assert result is not None
    assert "page 0: 8 of 8" in page.heads.text.text()
    assert "page 2: 6 of 8" in page.heads.text.text(), "with what it wrote, but for the last token, which nobody needs"
    assert page.heads.page_bars.heights.sum() == pytest.approx(1)
    page.heads.layer.setCurrentIndex(0)
    page.heads.head.setCurrentIndex(1)
    assert (page.heads.heat.matrix == result.weights[0, 1]).all()


def test_an_empty_prompt_is_a_sentence(page: Labs, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(QMessageBox, "exec", lambda box: told.append(box.text()))
    page.heads.prompt.setText("")
    page.heads.toggle()
    qtbot.waitUntil(lambda: bool(told))
    assert "empty" in told[0]


def test_where_memory_ends(page: Labs, qtbot: QtBot) -> None:
    page.tabs.setCurrentWidget(page.training)
    qtbot.waitUntil(lambda: bool(page.training.rows))
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
    texts = [page.complexity.table.item(0, column).text() for column in range(8)]
    assert texts == ["training", "flops", "O(N²L)", "2.00 ± 0.01", "2.00", "1.00 ± 0.10", "1.00", "differs"]
    assert page.complexity.why.text() == "because"
    assert [name for name, *_ in page.complexity.chart.key.entries()] == ["N: slope 2.00", "L: slope 1.00"]
    assert page.complexity.fits["N"].y == pytest.approx([4, 16, 64])


def test_a_lab_is_cancelled(page: Labs) -> None:
    page.tabs.setCurrentWidget(page.complexity)
    page.toggle()
    assert page.complexity.task is not None
    page.toggle()
    assert page.complexity.note.text() == "cancelled"


def test_what_the_documents_say(page: Labs, qtbot: QtBot) -> None:
    page.tabs.setCurrentWidget(page.documents)
    table = page.documents.table
    assert table.rowCount() == len(FAULTS)
    for row, fault in enumerate(FAULTS):
        window = page.context.window
        window.show_page("labs")
        page.tabs.setCurrentWidget(page.documents)
        item = table.item(row, 4)
        table.scrollToItem(item)
        qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualItemRect(item).center())
        assert window.shown is not None
        if fault.place == "calculator":
            assert window.shown.id == "calculator"
        else:
            assert page.tabs.currentWidget() is getattr(page, fault.place)
    for _, idea in IDEAS:
        page.documents.words.linkActivated.emit(f"ideas/{idea}.md")
        assert page.context.window.reader is not None
        assert page.context.window.reader.text.source().fileName() == f"{idea}.md"


@pytest.mark.parametrize("command", sorted({fault.command for fault in FAULTS}))
def test_commands_that_show_it_are_there(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = command.partition(" --")[0].split()[1:]
    assert main([*words, "--help"]) == 0
    told = capsys.readouterr().out
    assert all(option in told for option in re.findall(r"--[a-z-]+", command))

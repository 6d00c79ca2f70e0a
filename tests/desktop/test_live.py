"""The Live page through its main use: run, look, choose, go back, compare."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication
from pytestqt.qtbot import QtBot

from app.desktop.live.colouring import MODES, paint
from app.desktop.live.grid import BlockGrid
from app.desktop.pages.live import Live, changed
from app.desktop.session import LiveSession, make_session
from app.desktop.tour import Tour
from app.desktop.window import MainWindow
from app.jobs.saved import NEEDED
from app.jobs.told import Status
from simcore import InputError, Scenario
from tests.jobs.test_history import played

KEYS = ["workload.requests=150", "memory.blocks=300", "workload.arrivals.rate=8.0"]


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[MainWindow]:
    window = MainWindow(make_session)
    window.resize(1400, 860)
    window.document.replace(Scenario.preset("default", KEYS).model_dump(mode="json", exclude_unset=True), "small")
    window.show_page("live")
    window.show()
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    yield window
    window.document.undo.setClean()
    window.close()
    window.deleteLater()


@pytest.fixture
def page(window: MainWindow) -> Live:
    page = window.show_page("live")
    assert isinstance(page, Live)
    return page


@pytest.fixture
def session(page: Live) -> LiveSession:
    return page.session


def go_to_the_end(session: LiveSession, qtbot: QtBot) -> None:
    session.set_speed(0.0)
    session.start(Scenario.preset("default", KEYS))
    qtbot.waitUntil(lambda: session.state == "ended")


def test_what_is_chosen_stays_so_while_another_page_is_shown(
    window: MainWindow, page: Live, session: LiveSession, qtbot: QtBot
) -> None:
    window.begin()
    qtbot.waitUntil(lambda: page.state is not None and bool(page.state.refs[1:].any()))
    page.choose_block(3)
    window.show_page("calculator")
    window.show_page("live")
    assert page.chosen == ("block", 3)
    window.begin()
    assert page.chosen is None, "another run has other blocks"


def test_the_tour_shows_blocks_that_fill(window: MainWindow, page: Live, session: LiveSession, qtbot: QtBot) -> None:
    window.document.start("default")
    window.tour()
    tour = window.findChild(Tour)
    assert tour is not None
    while not tour.runs:
        qtbot.keyClick(tour, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: page.state is not None and page.state.refs[1:].max() > 1)
    qtbot.keyClick(tour, Qt.Key.Key_Right)
    qtbot.waitUntil(lambda: session.state == "paused")

    def inspected() -> None:
        assert page.chosen is not None
        assert page.chosen[0] == "block"
        assert page.state is not None
        assert page.state.refs[page.chosen[1]] == page.state.refs[1:].max()
        assert f"Block {page.chosen[1]}" in page.details.toPlainText()

    qtbot.waitUntil(inspected)
    assert tour.rect().contains(tour.bubble.geometry())
    qtbot.keyClick(tour, Qt.Key.Key_Left)
    qtbot.waitUntil(lambda: session.state == "running")
    qtbot.keyClick(tour, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: session.state == "paused")


def test_the_first_minute(window: MainWindow, page: Live, session: LiveSession, qtbot: QtBot) -> None:
    session.set_speed(30.0)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: session.newest > 300)
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.waitUntil(lambda: session.state == "paused")
    state = page.state
    assert state is not None
    assert state.step == session.newest
    before = session.newest
    history = session.history
    assert history is not None
    session.seek(next(step for step in range(before, 0, -1) if history.at(step).refs.max() > 1))
    state = page.state
    shared = int(np.argmax(state.refs))
    grid = page.views[0].grid
    qtbot.mouseClick(grid, Qt.MouseButton.LeftButton, pos=grid.rect_of(shared).center().toPoint())
    assert page.tabs.currentWidget() is page.details
    text = page.details.toPlainText()
    assert f"Block {shared}" in text
    assert "Shared." in text
    assert "Its life" in text
    session.follow()
    qtbot.keyClick(window, Qt.Key.Key_Period)
    qtbot.waitUntil(lambda: session.newest == before + 1)
    assert page.numbers.cards["use"].value.text() != "-"


def test_time_goes_back_and_forth(window: MainWindow, page: Live, session: LiveSession, qtbot: QtBot) -> None:
    go_to_the_end(session, qtbot)
    history = session.history
    assert history is not None
    qtbot.waitUntil(lambda: page.state is not None and page.state.step == session.newest)
    page.setFocus()
    qtbot.keyClick(page, Qt.Key.Key_BracketLeft)
    assert session.shown == history.previous("eviction", session.newest)
    assert page.state is not None
    assert page.state.step == session.shown
    qtbot.keyClick(page, Qt.Key.Key_J)
    qtbot.keyClick(page, Qt.Key.Key_BracketLeft)
    assert history.steps["preemptions"][session.shown] > 0
    back = session.shown
    qtbot.keyClick(page, Qt.Key.Key_BracketRight)
    assert session.shown > back or history.next("preemption", back) is None
    qtbot.keyClick(page, Qt.Key.Key_N)
    assert session.following
    scrubber = page.scrubber
    qtbot.mouseClick(scrubber, Qt.MouseButton.LeftButton, pos=QPoint(scrubber.width() // 2, 20))
    assert abs(session.now - history.seconds(len(history) - 1) / 2) < history.seconds(len(history) - 1) / 50
    scrubber.setFocus()
    here = session.shown
    qtbot.keyClick(scrubber, Qt.Key.Key_Right)
    assert session.shown == here + 1
    qtbot.keyClick(scrubber, Qt.Key.Key_Home)
    assert session.shown == 0


def test_a_range_of_time_is_shown_in_every_view(page: Live, session: LiveSession, qtbot: QtBot) -> None:
    go_to_the_end(session, qtbot)
    scrubber, history = page.scrubber, session.history
    assert history is not None
    qtbot.waitUntil(lambda: scrubber.history is not None)
    shift = Qt.KeyboardModifier.ShiftModifier
    qtbot.mousePress(scrubber, Qt.MouseButton.LeftButton, shift, QPoint(scrubber.width() // 4, 20))
    qtbot.mouseMove(scrubber, QPoint(scrubber.width() // 2, 20))
    qtbot.mouseRelease(scrubber, Qt.MouseButton.LeftButton, shift, QPoint(scrubber.width() // 2, 20))
    assert page.range is not None
    first, last = page.range
    assert first < last
    assert f"{last - first + 1:,} steps" in page.selection.text()
    assert page.charts.stack.x[0] == pytest.approx(history.seconds(first))
    assert page.charts.stack.x[-1] == pytest.approx(history.seconds(last))
    page.tabs.setCurrentWidget(page.log)
    told = [int(row[1].replace(",", "")) for row in page.log.table.rows.rows]
    assert told
    assert first <= min(told) <= max(told) <= last
    page.select(None)
    assert page.charts.stack.x[0] == pytest.approx(history.seconds(0))
    assert page.selection.isHidden()


def test_a_request_lights_up_and_its_wait_is_explained(page: Live, session: LiveSession, qtbot: QtBot) -> None:
    go_to_the_end(session, qtbot)
    history = session.history
    assert history is not None
    session.seek(int(np.argmax(history.steps["waiting"])))
    page.tabs.setCurrentWidget(page.queue)
    page._catch_up()
    table = page.queue.table
    assert table.rows.rowCount() > 0
    assert page.queue.why.text()
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=table.visualRect(table.rows.index(0, 0)).center())
    assert "Why it waits" in page.details.toPlainText()
    sequences = history.sequences(session.shown)
    running = int(np.flatnonzero(sequences.status == Status.DECODE)[0])
    page.choose_request(int(sequences.row[running]))
    lit = page.views[0].grid.lit
    assert lit is not None
    assert set(np.flatnonzero(lit).tolist()) == set(history.tables(session.shown, [running])[running].tolist())


def test_events_are_filtered(page: Live, session: LiveSession, qtbot: QtBot) -> None:
    go_to_the_end(session, qtbot)
    page.tabs.setCurrentWidget(page.log)
    page._catch_up()
    page.log.kind.setCurrentText("Evictions")
    assert {row[2] for row in page.log.table.rows.rows} == {"evicted"}
    block = page.log.table.rows.rows[0][3].removeprefix("block ")
    qtbot.keyClicks(page.log.text, block)
    assert {row[3] for row in page.log.table.rows.rows} == {f"block {block}"}
    page.log.text.setText("r5")
    page.log.kind.setCurrentText("Requests")
    assert [row[2] for row in page.log.table.rows.rows][-1] == "arrived"


def test_two_runs_on_one_clock(page: Live, session: LiveSession, qtbot: QtBot) -> None:
    session.set_speed(30.0)
    page.run_beside("Traditional memory: the longest sequence reserved in one piece")
    qtbot.waitUntil(lambda: session.newest > 200 and len(session.histories) == 2)
    session.pause()
    qtbot.waitUntil(lambda: session.state == "paused")
    qtbot.waitUntil(lambda: all(state is not None for state in page.states))
    assert page.views[1].isVisible()
    one, two = session.histories
    assert abs(one.seconds(session.step_of(0)) - two.seconds(session.step_of(1))) < 1.0
    assert two.facts.allocator == "contiguous"
    waste = [
        (h.steps["tokens_reserved"] + h.steps["tokens_internal"])[session.step_of(which)]
        for which, h in enumerate(session.histories)
    ]
    assert waste[1] > 10 * waste[0]
    page.run_beside(None)
    assert page.views[1].isHidden()


def test_keys_that_are_wrong_are_a_sentence() -> None:
    with pytest.raises(InputError, match=r"memory\.blocks"):
        changed(Scenario.preset("default"), ["memory.blocks=-1"])


def test_a_killed_worker_leaves_the_window_and_the_run(
    page: Live, session: LiveSession, qtbot: QtBot, answer: Callable[[str], list[str]]
) -> None:
    session.set_speed(10.0)
    session.start(Scenario.preset("default", KEYS))
    qtbot.waitUntil(lambda: session.newest > 50)
    assert session.live is not None
    assert session.live.pid is not None
    said = answer("OK")
    os.kill(session.live.pid, signal.SIGKILL)
    qtbot.waitUntil(lambda: session.state == "failed")
    qtbot.waitUntil(lambda: bool(said))
    session.seek(10)
    assert page.state is not None
    assert page.state.step == 10


def test_a_run_is_saved_opened_again_and_the_same(
    window: MainWindow, page: Live, session: LiveSession, qtbot: QtBot, tmp_path: Path
) -> None:
    go_to_the_end(session, qtbot)
    history = session.history
    assert history is not None
    step = len(history) // 2
    then = history.at(step)
    with qtbot.waitSignal(session.saved):
        session.save(tmp_path / "out")
    with qtbot.waitSignal(session.began):
        assert page.open_path(tmp_path / "out")
        assert session.history is history, "until it has been read, what was there stays"
    assert session.live is None
    session.seek(step)
    assert page.state is not None
    assert (page.state.refs == then.refs).all()
    assert (page.state.filled == then.filled).all()
    assert page.views[0].note.isHidden(), "nothing is an estimate"


def test_a_folder_that_cannot_be_looked_at_is_a_sentence(
    page: Live, session: LiveSession, qtbot: QtBot, tmp_path: Path, answer: Callable[[str], list[str]]
) -> None:
    for name in NEEDED:
        (tmp_path / name).write_text("broken")
    said = answer("OK")
    assert page.open_path(tmp_path)
    qtbot.waitUntil(lambda: bool(said))
    assert "requests.parquet: cannot be read" in said[0]
    assert page.open_path(tmp_path)
    session.start(Scenario.preset("default", KEYS))  # what is no longer wanted is not told
    qtbot.waitUntil(lambda: session.newest > 5)


@pytest.mark.parametrize("mode", list(MODES))
def test_every_colouring_has_a_legend_of_what_it_shows(mode: str, session: LiveSession, qtbot: QtBot) -> None:
    go_to_the_end(session, qtbot)
    history = session.history
    assert history is not None
    states = (history.at(step) for step in range(len(history) // 2, 0, -1))
    state = next(s for s in states if s.refs.max() > 1 and ((s.refs == 0) & (s.key != 0)).any())
    painting = paint(mode, history, state)
    assert painting.code.max() < len(painting.palette)
    idle = (state.refs == 0) & (state.key != 0)
    assert (painting.sign[state.refs > 1] == painting.sign[state.refs > 1][0]).all()
    assert painting.sign[idle][0] not in set(painting.sign[state.refs == 1].tolist())
    assert {"free"} <= {name for name, _, _ in painting.legend}


def test_blocks_that_pruning_packs_into_are_reserved_and_not_never_used() -> None:
    keys = ["workload.requests=5", "workload.output={distribution='fixed', tokens=4}"]
    history, _ = played("pruning", keys)
    places = np.flatnonzero(history.steps["prunings"])
    assert len(places)
    for step in places.tolist():
        legend = [name for name, _, _ in paint("state", history, history.at(step)).legend]
        assert "reserved" in legend
        assert "never used" not in legend


class TestGrid:
    @pytest.fixture
    def grid(self, session: LiveSession, page: Live, qtbot: QtBot) -> BlockGrid:
        go_to_the_end(session, qtbot)
        qtbot.waitUntil(lambda: page.views[0].grid.painting is not None)
        return page.views[0].grid

    def test_every_block_is_where_it_is_drawn(self, grid: BlockGrid) -> None:
        for block in (1, 2, grid.columns, grid.columns + 1, grid.blocks):
            assert grid.block_at(grid.rect_of(block).center()) == block
        assert grid.block_at(QPointF(-5, -5)) == 0
        assert not grid.zoomed

    def test_keys_go_from_block_to_block(self, grid: BlockGrid, page: Live, qtbot: QtBot) -> None:
        grid.setFocus()
        qtbot.keyClick(grid, Qt.Key.Key_Home)
        qtbot.keyClick(grid, Qt.Key.Key_Right)
        qtbot.keyClick(grid, Qt.Key.Key_Down)
        assert grid.cursor_block == 2 + grid.columns
        assert f"Block {grid.cursor_block}:" in grid.accessibleDescription()
        qtbot.keyClick(grid, Qt.Key.Key_Return)
        assert page.chosen == ("block", 2 + grid.columns)

    def test_zoom_stays_where_the_mouse_is(self, grid: BlockGrid, qapp: QApplication) -> None:
        place = grid.rect_of(grid.columns * 3 + 5).center()
        before = grid.block_at(place)
        for _ in range(4):
            wheel = QWheelEvent(
                place, QPointF(grid.mapToGlobal(place.toPoint())), QPoint(0, 0), QPoint(0, 120),
                Qt.MouseButton.NoButton, Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
            )  # fmt: skip
            qapp.sendEvent(grid, wheel)
        assert grid.block_at(place) == before
        grid.fit()
        assert not grid.zoomed

    def test_colours_are_those_of_the_palette(self, grid: BlockGrid) -> None:
        painting = grid.painting
        assert painting is not None
        picture = grid.grab().toImage()
        plain = np.flatnonzero((painting.sign[1:] == 0) & (painting.level[1:] == 255))[:20] + 1
        assert len(plain)
        for block in plain.tolist():
            at = grid.rect_of(block).center().toPoint()
            assert picture.pixel(at) & 0xFFFFFF == int(painting.palette[painting.code[block]]) & 0xFFFFFF


def test_a_run_beside_it_that_cannot_be_leaves_the_first_alone(page: Live, session: LiveSession, qtbot: QtBot) -> None:
    session.set_speed(10.0)
    scenario = Scenario.preset("default", KEYS)
    piece = 'memory.allocator={ policy = "contiguous", reserve = "max" }'
    other = changed(scenario, [piece, "memory.prefix_caching=false", "memory.blocks=100"])  # no room for the longest
    with qtbot.waitSignal(session.told) as told:
        session.begin(scenario, other, "traditional")
    assert "has no such piece" in told.args[0]
    qtbot.waitUntil(lambda: session.newest > 20)
    assert page.views[1].isHidden()
    assert session.state == "running"

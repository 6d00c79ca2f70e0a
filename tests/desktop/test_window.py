"""The window: pages, keys, palette, documents, theme, what is remembered."""

import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDropEvent
from PySide6.QtWidgets import QApplication, QFileDialog, QLabel, QLineEdit
from pytestqt.qtbot import QtBot

from app.desktop import settings, theme
from app.desktop.actions import shown_keys
from app.desktop.charts import Bars, Chart, Heatmap, Histogram, Line, Scatter, Series, Stack
from app.desktop.dialogs import Palette, Shortcuts, fuzzy
from app.desktop.pages import PAGES
from app.desktop.tour import Tour
from app.desktop.window import MainWindow
from simcore.scenario import Scenario
from tests.desktop.conftest import RecordedSession

ROOT = Path(__file__).parents[2]
SHIFT = Qt.KeyboardModifier.ShiftModifier
CTRL = Qt.KeyboardModifier.ControlModifier


def session_of(window: MainWindow) -> RecordedSession:
    assert isinstance(window.session, RecordedSession)
    return window.session


def test_the_rail_has_all_pages(window: MainWindow, qtbot: QtBot) -> None:
    assert list(window.rail.buttons) == list(window.entries) == list(PAGES)
    for number, name in enumerate(window.entries, 1):
        qtbot.keyClick(window, Qt.Key(Qt.Key.Key_0 + number), CTRL)
        page = window.shown
        assert page is not None
        assert page.id == name
        assert (page.title, page.icon) == (PAGES[name].title, PAGES[name].icon)
        assert page.about.count(". ") == 1, "two sentences"
        assert window.rail.buttons[name].isChecked()
        assert window.about.isVisible()
    qtbot.mouseClick(window.rail.buttons["home"], Qt.MouseButton.LeftButton)
    assert window.shown is window.pages["home"]


def test_the_explanation_of_a_page_is_closed_for_good_and_brought_back(window: MainWindow, qtbot: QtBot) -> None:
    qtbot.mouseClick(window.about.shut, Qt.MouseButton.LeftButton)
    assert not window.about.isVisible()
    window.show_page("workload")
    assert window.about.isVisible()
    window.show_page("home")
    assert not window.about.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_F1)
    assert window.about.isVisible()


def test_every_action_is_described_and_no_key_does_two_things(window: MainWindow) -> None:
    for name in window.entries:
        window.show_page(name)
    keys: dict[str, str] = {}
    for action, made in window.actions_:
        assert action.help.endswith("."), action.id
        assert made.text()
        for shortcut in made.shortcuts():
            text = shortcut.toString()
            assert text, f"{action.id} has a key that Qt does not know"
            assert text not in keys, f"{text}: {action.id} and {keys[text]}"
            keys[text] = action.id


def test_the_palette_does_what_is_typed(window: MainWindow, qtbot: QtBot) -> None:
    qtbot.keyClick(window, Qt.Key.Key_P, CTRL | SHIFT)
    palette = window.findChild(Palette)
    assert palette is not None
    qtbot.keyClicks(palette.box, "theme light")
    qtbot.keyClick(palette.box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: theme.current() is theme.LIGHT)
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, Qt.Key.Key_K, CTRL)
    palette = window.findChild(Palette)
    assert palette is not None
    qtbot.keyClicks(palette.box, "memory.watermark")
    qtbot.keyClicks(palette.box, "\b" * 16 + "watermark")
    qtbot.keyClick(palette.box, Qt.Key.Key_Down)
    qtbot.keyClick(palette.box, Qt.Key.Key_Up)
    qtbot.keyClick(palette.box, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: window.dock.isVisible() and window.form is not None)
    assert window.form is not None
    assert window.focusWidget() is window.form.fields["scheduler.watermark"].editor


def test_fuzzy_prefers_beginnings_of_words() -> None:
    texts = ["memory.eviction.policy", "model.vocab_size", "View: Inspector"]
    assert min(texts, key=lambda text: fuzzy("mep", text) if fuzzy("mep", text) is not None else 99) == texts[0]
    assert fuzzy("zz", texts[0]) is None


def test_the_sheet_has_every_shortcut(window: MainWindow, qtbot: QtBot) -> None:
    qtbot.keyClick(window, "?")
    sheet = window.findChild(Shortcuts)
    assert sheet is not None
    told = {label.text() for label in sheet.findChildren(QLabel)}
    for action, _ in window.actions_:
        if action.keys:
            assert {shown_keys(action), action.text} <= told
    sheet.reject()


def test_space_runs_and_pauses_and_the_bar_tells(window: MainWindow, qtbot: QtBot) -> None:
    session, bar = session_of(window), window.transport
    assert bar is not None
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert session.told == [("start", "default")]
    assert bar.main.text() == "Pause"
    assert "step 300" in bar.where.text()
    assert "2,000 steps/s" in bar.achieved.text()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    qtbot.keyClick(window, Qt.Key.Key_Period)
    qtbot.keyClick(window, Qt.Key.Key_R, CTRL)
    qtbot.keyClick(window, ">")
    qtbot.keyClick(window, "<")
    assert session.told[1:] == ["pause", "step", "reset", ("speed", 3.0), ("speed", 1.0)]
    qtbot.keyClick(window, Qt.Key.Key_G, CTRL)
    assert QApplication.focusWidget() is bar.stop
    qtbot.keyClicks(bar.stop, "12.5")
    qtbot.keyClick(bar.stop, Qt.Key.Key_Return)
    assert session.told[-1] == ("pause at", 12.5)
    qtbot.mouseClick(bar.main, Qt.MouseButton.LeftButton)
    assert session.told[-1] == "run"


def test_a_run_is_of_the_scenario_that_one_sees(window: MainWindow, qtbot: QtBot) -> None:
    session, bar = session_of(window), window.transport
    assert bar is not None
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    window.document.set("seed", 5)
    assert bar.hint.isVisible()
    assert bar.main.text() == "Pause"
    qtbot.keyClick(window, Qt.Key.Key_R, CTRL)
    assert session.told == [("start", "default"), ("start", "default")]
    assert not bar.hint.isVisible()
    window.document.undo.setClean()
    window.new("chat")
    assert session.told[2:] == ["pause"]
    assert bar.main.text() == "Run"
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert session.told[3:] == [("start", "chat")]
    assert bar.main.text() == "Pause"


def test_space_presses_the_button_that_has_the_focus(window: MainWindow, qtbot: QtBot) -> None:
    button = window.rail.buttons["workload"]
    button.setFocus()
    qtbot.keyClick(button, Qt.Key.Key_Space)
    assert window.shown is window.pages["workload"]
    assert session_of(window).told == []


def test_a_wrong_scenario_is_not_run_but_shown(window: MainWindow, qtbot: QtBot) -> None:
    window.document.set("memory.blocks", 1)
    assert window.status.verdict.text() == "1 problem"
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert session_of(window).told == []
    assert window.form is not None
    assert window.form.fields["memory.blocks"].wrong.isVisible()
    assert QApplication.focusWidget() is window.form.fields["memory.blocks"].editor
    qtbot.keyClick(window.form.fields["memory.blocks"].editor, Qt.Key.Key_Z, CTRL)
    assert window.document.valid
    assert window.status.verdict.text() == "Scenario is good"


def test_a_run_that_fails_is_told_and_the_window_goes_on(
    window: MainWindow, answer: Callable[[str], list[str]], qtbot: QtBot
) -> None:
    said = answer("OK")
    session_of(window).failed.emit("the process that worked on this was ended by signal SIGKILL")
    assert said == ["the process that worked on this was ended by signal SIGKILL"]
    assert window.isVisible()


def test_saving_and_opening_loses_nothing(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    path = tmp_path / "mine.toml"
    window.document.set("memory.eviction.policy", "arc")
    assert window.isWindowModified()
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (str(path), ""))
    qtbot.keyClick(window, Qt.Key.Key_S, CTRL)
    assert not window.isWindowModified()
    assert "mine.toml" in window.windowTitle()
    assert Scenario.load(path) == window.document.scenario
    assert settings.recent() == [path]
    window.new("chat")
    assert window.open_path(path)
    assert window.document.value("memory.eviction.policy") == "arc"
    window.menus.fill_recent()
    assert window.menus.recent.actions()[0].text().endswith("mine.toml")


def test_unsaved_changes_are_asked_about(window: MainWindow, answer: Callable[[str], list[str]], qtbot: QtBot) -> None:
    window.document.set("seed", 7)
    said = answer("Cancel")
    qtbot.keyClick(window, Qt.Key.Key_N, CTRL)
    assert "not saved" in said[0]
    assert window.document.value("seed") == 7
    answer("Cancel")
    assert not window.close()
    assert window.isVisible()
    answer("Discard")
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, Qt.Key.Key_N, CTRL)
    assert window.document.value("seed") == 0


def test_a_full_disk_or_a_broken_file_is_a_sentence(
    window: MainWindow, tmp_path: Path, answer: Callable[[str], list[str]]
) -> None:
    said = answer("OK")
    assert not window._save_to(tmp_path / "no" / "such" / "folder.toml")
    assert "cannot be written" in said[0]
    broken = tmp_path / "broken.toml"
    broken.write_text("= 3")
    said = answer("OK")
    assert not window.open_path(broken)
    assert "line 1" in said[0]
    said = answer("OK")
    assert not window.open_path(tmp_path / "gone.toml")
    assert "no such file" in said[0]
    policy = tmp_path / "policy.py"
    policy.touch()
    said = answer("OK")
    assert not window.open_path(policy)
    assert "is code" in said[0]
    assert window.document.valid


def test_a_file_dropped_anywhere_is_opened(window: MainWindow, tmp_path: Path, qtbot: QtBot) -> None:
    path = tmp_path / "dropped.toml"
    window.document.save(path)
    window.new("chat")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path))])
    move, left, none = Qt.DropAction.CopyAction, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    window.dropEvent(QDropEvent(QPointF(300, 300), move, data, left, none, QEvent.Type.Drop))
    qtbot.waitUntil(lambda: window.document.path == path)


def test_undo_and_redo_by_key_also_from_a_field(window: MainWindow, qtbot: QtBot) -> None:
    window.show_key("scheduler.max_num_seqs")
    assert window.form is not None
    editor = window.form.fields["scheduler.max_num_seqs"].editor
    assert isinstance(editor, QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "64")
    assert window.document.value("scheduler.max_num_seqs") == 64
    assert window.actions_["edit.undo"].text() == "Undo change of scheduler.max_num_seqs"
    qtbot.keyClick(editor, Qt.Key.Key_Z, CTRL)
    assert window.document.value("scheduler.max_num_seqs") == 32
    qtbot.keyClick(editor, Qt.Key.Key_Z, CTRL | SHIFT)
    assert window.document.value("scheduler.max_num_seqs") == 64


def test_the_inspector_is_remembered_for_each_page(window: MainWindow, qtbot: QtBot) -> None:
    assert not window.dock.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_I, CTRL)
    assert window.dock.isVisible()
    window.show_page("reports")
    assert not window.dock.isVisible()
    window.show_page("home")
    assert window.dock.isVisible()
    qtbot.keyClick(window, Qt.Key.Key_I, CTRL)
    assert not window.dock.isVisible()


def test_theme_and_place_are_restored(make_window: Callable[[], MainWindow], qtbot: QtBot) -> None:
    first = make_window()
    qtbot.keyClick(first, Qt.Key.Key_T, CTRL | SHIFT)
    assert theme.current() is theme.LIGHT
    first.resize(760, 640)
    first.close()
    assert settings.settings().value("theme") == "light"
    second = MainWindow(RecordedSession)
    assert (second.width(), second.height()) == (760, 640)
    second.deleteLater()


@pytest.mark.parametrize("shown", theme.THEMES.values(), ids=theme.THEMES)
def test_text_can_be_read_in_every_theme(shown: theme.Theme) -> None:
    for text in ("text", "muted", "good", "warn", "bad", "accent"):
        for ground in ("window", "surface", "raised"):
            assert contrast(getattr(shown, text), getattr(shown, ground)) >= 4.5, (text, ground)
    assert contrast(shown.on_accent, shown.accent) >= 4.5
    assert len(set(shown.series)) == len(shown.series)
    for hue in shown.series[:4]:
        assert contrast(hue, shown.surface) >= 3.0, hue


def contrast(one: str, other: str) -> float:
    """As WCAG 2 defines it."""
    light = sorted(
        sum(
            share * (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4)
            for share, part in zip((0.2126, 0.7152, 0.0722), rgb(hue), strict=True)
        )
        for hue in (one, other)
    )
    return (light[1] + 0.05) / (light[0] + 0.05)


def rgb(hue: str) -> list[float]:
    return [int(hue[place : place + 2], 16) / 255 for place in (1, 3, 5)]


def test_everything_that_takes_the_focus_has_a_name(window: MainWindow) -> None:
    from PySide6.QtWidgets import QAbstractButton, QAbstractSpinBox, QComboBox, QWidget

    for name in window.entries:
        window.show_page(name)
        for widget in window.findChildren(QWidget):
            if widget.isVisible() and widget.focusPolicy() & Qt.FocusPolicy.TabFocus:
                named = widget.accessibleName() or widget.toolTip()
                named = named or (isinstance(widget, QAbstractButton) and widget.text())
                named = named or isinstance(widget.parent(), QComboBox | QAbstractSpinBox)
                assert named, f"{name}: {type(widget).__name__} {widget.objectName()} in {widget.parent()}"


def test_the_tour_goes_through_the_window(window: MainWindow, qtbot: QtBot) -> None:
    settings.set_flag("tour", False)
    window.tour()
    tour = window.findChild(Tour)
    assert tour is not None
    titles = [tour.heading.text()]
    while tour.number < len(tour.stops) - 1:
        qtbot.keyClick(tour, Qt.Key.Key_Right)
        titles.append(tour.heading.text())
        assert tour.rect().contains(tour.bubble.geometry())
    assert len(set(titles)) == len(tour.stops)
    qtbot.mouseClick(tour.back, Qt.MouseButton.LeftButton)
    assert tour.number == len(tour.stops) - 2
    qtbot.keyClick(tour, Qt.Key.Key_Escape)
    assert settings.flag("tour")


def test_the_tour_runs_the_default_scenario_and_pauses_it(window: MainWindow, qtbot: QtBot) -> None:
    session, transport = session_of(window), window.transport
    assert transport is not None
    window.tour()
    tour = window.findChild(Tour)
    assert tour is not None
    while not tour.runs:
        assert not session.told
        qtbot.keyClick(tour, Qt.Key.Key_Right)
    assert session.told == [("speed", 3.0), ("start", "default")]
    assert window.shown is window.pages["live"]
    assert tour.onward.hasFocus(), "keys go on with the tour"
    qtbot.keyClick(tour, Qt.Key.Key_Escape)
    assert session.state == "paused"
    assert session.told[2:] == ["pause", ("speed", 1.0)]
    assert transport.speed.currentText() == "1x"


@pytest.mark.parametrize("mine", ["run", "edit"])
def test_the_tour_leaves_alone_what_is_a_persons(window: MainWindow, qtbot: QtBot, mine: str) -> None:
    session = session_of(window)
    if mine == "run":
        window.begin()
    else:
        window.document.set("seed", 77)
    told = list(session.told)
    window.tour()
    tour = window.findChild(Tour)
    assert tour is not None
    for _ in range(len(tour.stops)):
        qtbot.keyClick(tour, Qt.Key.Key_Right)
    assert settings.flag("tour")
    assert session.told == told


def test_the_tour_ends_where_its_run_goes_on(window: MainWindow, qtbot: QtBot) -> None:
    window.tour()
    tour = window.findChild(Tour)
    assert tour is not None
    for _ in range(len(tour.stops)):
        qtbot.keyClick(tour, Qt.Key.Key_Right)
    assert session_of(window).state == "paused"
    assert window.shown is window.pages["live"]


def test_a_run_that_goes_on_is_seen(window: MainWindow, qtbot: QtBot) -> None:
    window.begin()
    window.session.pause()
    window.show_page("compare")
    window.transport.toggle()
    assert window.shown is window.pages["compare"], "who works on another page stays there"
    window.session.pause()
    window.show_page("home")
    window.setFocus()
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert session_of(window).state == "running"
    assert window.shown is window.pages["live"]


def test_the_window_is_as_wide_as_before_when_the_inspector_goes(window: MainWindow, qtbot: QtBot) -> None:
    window.show_page("live")
    window.resize(1000, 700)
    qtbot.keyClick(window, Qt.Key.Key_I, CTRL)
    qtbot.waitUntil(lambda: window.width() > 1000)
    qtbot.keyClick(window, Qt.Key.Key_I, CTRL)
    qtbot.waitUntil(lambda: window.width() == 1000)


def test_the_rail_is_as_wide_beside_every_page(window: MainWindow, qtbot: QtBot) -> None:
    widths = set()
    for name in window.entries:
        window.show_page(name)
        QApplication.processEvents()
        widths.add(window.rail.width())
    assert len(widths) == 1


def test_every_chart_of_every_page_is_copied_and_saved(
    window: MainWindow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With numbers of its own kind in each of its series, by each entry of its menu."""
    clipboard = QApplication.clipboard()
    for name in window.entries:
        window.show_page(name)
        for number, chart in enumerate(window.pages[name].findChildren(Chart)):
            if not chart.series:
                chart.scatter("a setting")
            for series in chart.series:
                fill(series)
            menu = chart.button.menu()
            menu.aboutToShow.emit()
            for place, action in enumerate(menu.actions()):
                chosen = tmp_path / f"{name}-{number}.{('', '', 'png', 'svg', 'pdf', 'csv')[place]}"
                monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_, chosen=chosen: (str(chosen), ""))
                clipboard.clear()
                action.trigger()
                told = f"{name}: {chart.title}: {action.text()}"
                if place >= 2:
                    assert chosen.stat().st_size > 10, told
                else:
                    assert clipboard.text() if place else not clipboard.image().isNull(), told


def fill(series: Series) -> None:
    match series:
        case Heatmap():
            series.set(np.arange(12.0).reshape(3, 4))
        case Histogram():
            series.set([0, 1, 2], [3, 4])
        case Bars():
            series.set(("a", "b"), [1, 2], [0.5, 1.5], [1.5, 2.5])
        case Stack():
            series.set([1, 2], np.ones((len(series.names), 2)))
        case Line() | Scatter():
            series.set([1, 2], [3, 4])
        case _:
            raise AssertionError(series)


def test_closing_ends_the_run(window: MainWindow) -> None:
    assert window.close()
    assert session_of(window).told == ["shut down"]


def test_the_window_knows_no_tensors() -> None:
    code = (
        "import sys\n"
        "from PySide6.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from app.desktop.window import MainWindow\n"
        "window = MainWindow()\n"
        "for name in window.entries: window.show_page(name)\n"
        "window.show(); app.processEvents()\n"
        "print(*(name for name in sys.modules if name in ('torch', 'engine', 'matplotlib', 'app.cli')))\n"
        "window.close()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def test_a_long_way_of_signals_keeps_none_alive(window: MainWindow, qtbot: QtBot) -> None:
    """PySide6 6.12 loses a reference to None with some signals, and kills Python 3.11 in the end."""
    gc.collect()  # what tests before this one have left
    before = sys.getrefcount(None)
    for number in range(200):
        window.document.changed.emit()
        window.actions_["view.full"].changed.emit()
        window.document.set("seed", number, typing=True)
        QApplication.processEvents()
    after = sys.getrefcount(None)
    if sys.version_info < (3, 12):  # None is immortal from then on
        assert after > before - 100
    assert window.rect().contains(QPoint(10, 10))


def test_who_closes_the_inspector_from_inside_is_back_on_the_page(window: MainWindow, qtbot: QtBot) -> None:
    window.show_page("reports")
    window.show_key("memory.blocks")
    qtbot.waitUntil(lambda: isinstance(QApplication.focusWidget(), QLineEdit))
    window.actions_["view.inspector"].trigger()
    assert QApplication.focusWidget() is window.shown
    session_of(window).become("running")
    qtbot.keyClick(window, Qt.Key.Key_Space)
    assert session_of(window).told == ["pause"]

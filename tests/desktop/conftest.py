"""Windows that nobody sees. A Qt warning, a thread, a process or a window that is left behind fails its test."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

os.environ["QT_QPA_PLATFORM"] = "offscreen"

import pytest
from PySide6.QtCore import QSettings, QTimer
from PySide6.QtWidgets import QAbstractButton, QApplication, QDialogButtonBox, QMessageBox, QWidget
from pytestqt.qtbot import QtBot

from app.desktop import settings, theme
from app.desktop.transport import Progress, Session, State
from app.desktop.window import MainWindow
from simcore.scenario import Scenario

WAIT_MS = 120_000
"""A process has to begin, on a machine that does other things too."""
OFFSCREEN = "This plugin does not support"
"""What Qt's offscreen platform says of itself."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("qt_log_ignore", OFFSCREEN)


class PatientBot(QtBot):
    """It waits as long as a slow machine needs, unless it is told otherwise."""

    def waitUntil(self, callback: Callable[[], object], *, timeout: int = WAIT_MS) -> None:  # noqa: N802
        super().waitUntil(callback, timeout=timeout)


@pytest.fixture
def qtbot(qapp: QApplication, request: pytest.FixtureRequest) -> PatientBot:
    return PatientBot(request)


class RecordedSession(Session):
    """A run that keeps account of what it is told, and does as told."""

    def __init__(self, parent: QWidget) -> None:
        super().__init__(parent)
        self.told: list[object] = []
        self._state: State = "idle"

    @property
    def state(self) -> State:
        return self._state

    def become(self, state: State) -> None:
        self._state = state
        self.state_changed.emit(state)

    def start(self, scenario: Scenario) -> None:
        self.told.append(("start", scenario.name))
        self.become("running")
        self.progressed.emit(Progress(1.5, 300, 10, 1000, 2000.0, 1.0))

    def run(self) -> None:
        self.told.append("run")
        self.become("running")

    def pause(self) -> None:
        self.told.append("pause")
        self.become("paused")

    def step(self) -> None:
        self.told.append("step")
        self.become("paused")

    def reset(self) -> None:
        self.told.append("reset")
        self.become("paused")

    def set_speed(self, speed: float) -> None:
        self.told.append(("speed", speed))

    def pause_at(self, time: float | None) -> None:
        self.told.append(("pause at", time))

    def shut_down(self) -> None:
        self.told.append("shut down")


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, qapp: QApplication) -> Iterator[None]:
    """Settings of the test alone; the tour has been seen."""
    QSettings.setPath(QSettings.Format.IniFormat, QSettings.Scope.UserScope, str(tmp_path / "settings"))
    settings.set_flag("tour", True)
    qapp.setStyle("Fusion")
    theme.themes.use("dark")
    yield
    settings.settings().sync()


@pytest.fixture(autouse=True)
def nothing_left(own_settings: None, qapp: QApplication) -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    qapp.sendPostedEvents(None, 52)  # DeferredDelete
    qapp.processEvents()
    assert not multiprocessing.active_children()
    assert not {thread for thread in threading.enumerate() if thread.is_alive()} - before
    assert not [widget for widget in QApplication.topLevelWidgets() if widget.isVisible()]


@pytest.fixture
def make_window(qtbot: QtBot) -> Iterator[Callable[[], MainWindow]]:
    made: list[MainWindow] = []

    def make() -> MainWindow:
        window = MainWindow(RecordedSession)
        window.resize(1280, 800)
        window.show_page("home")
        window.show()
        window.activateWindow()
        qtbot.waitUntil(window.isActiveWindow)
        made.append(window)
        return window

    yield make
    for window in made:
        window.document.undo.setClean()
        window.close()
        window.deleteLater()


@pytest.fixture
def window(make_window: Callable[[], MainWindow]) -> MainWindow:
    return make_window()


@pytest.fixture
def answer(qapp: QApplication) -> Callable[[str], list[str]]:
    """Press a button, by its text, of the next box that asks; the list then holds what the box said."""

    def answer(button: str) -> list[str]:
        said: list[str] = []

        def press() -> None:
            box = QApplication.activeModalWidget()
            if not isinstance(box, QMessageBox):
                QTimer.singleShot(20, press)
                return
            said.append(box.text())
            buttons = box.findChild(QDialogButtonBox)
            assert buttons is not None
            found: list[QAbstractButton] = [
                each for each in buttons.buttons() if each.text().replace("&", "") == button
            ]
            found[0].click()

        QTimer.singleShot(0, press)
        return said

    return answer

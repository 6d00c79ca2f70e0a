"""The bar that runs time: run and pause, step, reset, speed, pause at; and what it drives."""

from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QObject, QSignalBlocker, Qt, Signal
from PySide6.QtGui import QDoubleValidator, QKeyEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QApplication,
    QComboBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QToolButton,
)

from app.desktop import theme
from app.desktop.actions import Action, Actions
from app.desktop.figure import label
from simcore.scenario import Scenario

State = Literal["idle", "starting", "running", "paused", "ended", "failed"]
SPEEDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0, 0.0)
"""Seconds of the run in a second of the wall; 0: as fast as it goes."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run is."""

    time: float = 0.0
    """s of the run"""
    step: int = 0
    done: int = 0
    """requests that have ended"""
    requests: int = 0
    """of how many; 0: not known yet"""
    steps_per_second: float = 0.0
    """of the wall, lately"""
    speed: float = 0.0
    """seconds of the run in a second of the wall, lately"""


class Session(QObject):
    """The run that is shown. The window and its pages know no more of it than this."""

    state_changed = Signal(str)
    progressed = Signal(object)
    """a Progress, a few times a second"""
    failed = Signal(str)
    """a sentence: a worker died, a scenario cannot be run"""

    @property
    def state(self) -> State:
        """What it does now."""
        raise NotImplementedError

    def start(self, scenario: Scenario) -> None:
        """Begin a run of a scenario from its start, and let it run."""
        raise NotImplementedError

    def run(self) -> None:
        """Go on."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop after the step that is computed now."""
        raise NotImplementedError

    def step(self) -> None:
        """One step of the run, then pause."""
        raise NotImplementedError

    def reset(self) -> None:
        """Back to the start, paused, with the scenario as it was started."""
        raise NotImplementedError

    def set_speed(self, speed: float) -> None:
        """Seconds of the run in a second of the wall; 0: as fast as it goes."""
        raise NotImplementedError

    def pause_at(self, time: float | None) -> None:
        """Pause at this time of the run (s); None: nowhere."""
        raise NotImplementedError

    def shut_down(self) -> None:
        """End its processes; the window closes."""
        raise NotImplementedError


def speed_text(speed: float) -> str:
    """As the box of speeds writes it."""
    return f"{speed:g}x" if speed else "max"


def _digits(speed: float) -> str:
    """Two of them: what a third says changes with every look."""
    return f"{float(f'{speed:.2g}'):,g}"


class Transport(QFrame):
    """The bar itself. It asks to begin where nothing runs yet: `begin_wanted`."""

    begin_wanted = Signal()
    went_on = Signal()
    """a paused run was told to run"""

    def __init__(self, session: Session, actions: Actions) -> None:
        super().__init__()
        self.session = session
        self.actions_ = actions
        self.other = False
        self.edited = False
        self.setProperty("role", "strip")
        self.setAccessibleName("Transport")
        actions.add(
            Action("run.toggle", "Run or pause", self.press_space, ("Space",), "Run the scenario, or pause it.", "run"),
            Action("run.step", "Step", self.step, (".",), "Compute one step of the server, then pause.", "step"),
            Action(
                "run.reset", "Reset", self.reset, ("Ctrl+R",), "Begin again with the scenario as it is now.", "reset"
            ),
            Action("run.slower", "Slower", lambda: self._shift(-1), ("<",), "The next lower speed.", "slower"),
            Action("run.faster", "Faster", lambda: self._shift(1), (">",), "The next higher speed.", "faster"),
            Action("run.pause-at", "Pause at", self._ask_pause, ("Ctrl+G",), "Pause at a time of the run.", "pin"),
        )
        self.main = QPushButton("Run")
        self.main.setProperty("role", "primary")
        self.main.setMinimumWidth(104)
        self.main.clicked.connect(self.toggle)
        self.main.setAccessibleName("Run or pause")
        self.speed = QComboBox()
        self.speed.setAccessibleName("Speed")
        self.speed.setToolTip(
            "<b>Speed</b> (&lt; &gt;)<br>Seconds of the run in a second of the wall; max: as fast as it goes."
        )
        for speed in SPEEDS:
            self.speed.addItem(speed_text(speed), speed)
        self.speed.setCurrentIndex(SPEEDS.index(1.0))
        self.speed.currentIndexChanged.connect(lambda _index: self.session.set_speed(self.speed.currentData()))
        self.stop = QLineEdit()
        self.stop.setAccessibleName("Pause at, in seconds of the run")
        self.stop.setPlaceholderText("never")
        self.stop.setFixedWidth(74)
        self.stop.setValidator(QDoubleValidator(0.0, 1e7, 6, self.stop))
        self.stop.setToolTip("<b>Pause at</b> (Ctrl+G)<br>The time of the run, in seconds, at which it pauses.")
        self.stop.editingFinished.connect(self._set_pause)
        self.hint = QLabel("edited: Ctrl+R runs it")
        self.hint.setProperty("role", "warn")
        self.hint.setToolTip("This run has the scenario as it was when it began.")
        self.hint.hide()
        self.where = QLabel("")
        self.where.setAccessibleName("Time of the run")
        self.achieved = QLabel("")
        self.achieved.setProperty("role", "muted")
        self.achieved.setAccessibleName("Achieved speed")
        self.achieved.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        self.achieved.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)  # the first to be cut

        row = QHBoxLayout(self)
        row.setContentsMargins(12, 7, 12, 7)
        row.setSpacing(6)
        row.addWidget(self.main)
        for name in ("run.step", "run.reset"):
            row.addWidget(self._button(name))
        row.addSpacing(10)
        row.addWidget(self._button("run.slower"))
        row.addWidget(self.speed)
        row.addWidget(self._button("run.faster"))
        row.addSpacing(10)
        row.addWidget(label("Pause at", "muted"))
        row.addWidget(self.stop)
        row.addWidget(label("s", "muted"))
        row.addSpacing(8)
        row.addWidget(self.hint)
        row.addWidget(self.achieved, 1)
        row.addSpacing(8)
        row.addWidget(self.where)

        session.state_changed.connect(self._show_state)
        session.progressed.connect(self._show_progress)
        theme.themes.changed.connect(self._dress)
        self._show_state(session.state)

    def press_space(self) -> None:
        """Run or pause; but a button or a list that has the focus takes the key as everywhere else."""
        focus = QApplication.focusWidget()
        if isinstance(focus, QAbstractButton):
            focus.click()
        elif isinstance(focus, QComboBox):
            focus.showPopup()
        else:
            self.toggle()

    def tell_scenario(self, *, other: bool, edited: bool) -> None:
        """How the scenario of the window stands to the one that runs: it is another one, or it was edited since."""
        self.other, self.edited = other, edited
        self._show_state(self.session.state)

    def toggle(self) -> None:
        """Run, or pause; a scenario that was opened since begins its own run."""
        if self.other and self.session.state in ("paused", "running"):
            self.begin_wanted.emit()
            return
        match self.session.state:
            case "running":
                self.session.pause()
            case "paused":
                self.session.run()
                self.went_on.emit()
            case "idle" | "ended" | "failed":
                self.begin_wanted.emit()
            case _:
                pass

    def step(self) -> None:
        """One step; of a run that has not begun, the first."""
        if self.session.state in ("running", "paused"):
            self.session.step()
        elif self.session.state == "idle":
            self.begin_wanted.emit()

    def reset(self) -> None:
        """From the start, with the scenario as it is now."""
        if self.other or self.edited:
            self.begin_wanted.emit()
        elif self.session.state != "idle":
            self.session.reset()

    def _shift(self, by: int) -> None:
        self.speed.setCurrentIndex(min(max(self.speed.currentIndex() + by, 0), len(SPEEDS) - 1))

    def _ask_pause(self) -> None:
        self.stop.setFocus(Qt.FocusReason.ShortcutFocusReason)
        self.stop.selectAll()

    def _set_pause(self) -> None:
        text = self.stop.text().strip()
        self.session.pause_at(float(text.replace(",", ".")) if text else None)

    def _show_state(self, state: str) -> None:
        running = state == "running" and not self.other
        words = {"running": "Pause", "paused": "Resume", "starting": "Starting", "ended": "Run again"}
        self.main.setText("Run" if self.other else words.get(state, "Run"))
        self.hint.setVisible(self.edited and not self.other and state in ("running", "paused"))
        self.main.setEnabled(state != "starting")
        self.actions_.enable("run.step", state in ("running", "paused", "idle"))
        self.actions_.enable("run.reset", state not in ("idle", "starting"))
        if state == "idle":
            with QSignalBlocker(self.speed):
                self.where.setText("")
                self.achieved.setText("")
        self._icon = "pause" if running else "run"
        self._dress()

    def _show_progress(self, progress: Progress) -> None:
        of = f" of {progress.requests:,}" if progress.requests else ""
        self.where.setText(f"<b>{progress.time:,.2f} s</b> &nbsp; step {progress.step:,}")
        still = "ended" if self.session.state == "ended" else "paused"
        speed = f"{_digits(progress.speed)}x, {progress.steps_per_second:,.0f} steps/s" if progress.speed else still
        text = f"{speed}   {progress.done:,}{of} requests"
        room = max(self.achieved.width(), 60)
        self.achieved.setText(self.achieved.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room))
        self.achieved.setToolTip(text)

    def _dress(self) -> None:
        self.main.setIcon(theme.icon(self._icon, "on_accent"))

    def _button(self, name: str) -> QToolButton:
        button = QToolButton()
        button.setDefaultAction(self.actions_[name])
        button.setAccessibleName(self.actions_[name].text())
        return button

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Escape gives the keys back to the page."""
        if event.key() == Qt.Key.Key_Escape:
            self.window().setFocus()
        else:
            super().keyPressEvent(event)

"""The run that is shown: a worker simulates it, this follows it, and goes back in time where one asks it to.

A second run may stand beside it, on one clock: both are told the same things, and both are shown at the same time.
"""

import shutil
from pathlib import Path
from time import monotonic
from typing import Any

from PySide6.QtCore import QObject, Qt, QTimer, Signal
from PySide6.QtWidgets import QWidget

from app.desktop.tasks import Task, Tasks
from app.desktop.transport import Progress, Session, State
from app.jobs.brought import brought
from app.jobs.history import History
from app.jobs.live import LiveRun, Pace, RunState
from app.jobs.saved import open_saved
from app.jobs.spool import make_folder
from simcore.scenario import Scenario
from simcore.ticks import TICKS_PER_SECOND

FRAME_MS = 30
PROGRESS_EVERY = 0.2
"""s between two signals of progress"""
_STATES: dict[RunState, State] = {
    RunState.STARTING: "starting",
    RunState.RUNNING: "running",
    RunState.PAUSED: "paused",
    RunState.OVER: "ended",
}


class LiveSession(Session):
    """One run, or two beside each other, and the step that is looked at."""

    framed = Signal()
    """there is something else to draw: the run went on, or another step is looked at"""
    began = Signal()
    """it is another run"""
    saved = Signal(str)
    """the folder that a run was saved to"""
    unopened = Signal(str)
    """why a folder cannot be looked at"""
    told = Signal(str)
    """a sentence that needs no dialog"""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.live: LiveRun | None = None
        self.other: LiveRun | None = None
        """the second run, beside it"""
        self.histories: list[History] = []
        """of the run, and of the one beside it"""
        self.names: list[str] = []
        self.following = True
        """the newest step is shown; False: the one that was gone to"""
        self._step = 0
        self._state: State = "idle"
        self._factor = 1.0
        self._pause_at: float | None = None
        self._opening: tuple[Task, Path] | None = None
        self._unpacked: Path | None = None
        self._started: tuple[Scenario, Scenario | None, str] | None = None
        self._next_progress = 0.0
        self._drawn = (-1, -1, -1)
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self._tick)

    # As the window drives it

    @property
    def state(self) -> State:
        return self._state

    def start(self, scenario: Scenario) -> None:
        self.begin(scenario, None)

    def begin(self, scenario: Scenario, other: Scenario | None, difference: str = "", *, paused: bool = False) -> None:
        """Start a run, and a second one beside it where `other` is given, which is called by its difference."""
        self._end()
        self._started = scenario, other, difference
        factor = self._factor or None
        try:
            self.live = LiveRun(scenario, brought(), pace=Pace(paused=paused, factor=factor))
            if other is not None:
                self.other = LiveRun(other, brought(), pace=Pace(paused=paused, factor=factor))
        except OSError as error:
            self._end()
            self.failed.emit(f"The run cannot be started: {(error.strerror or str(error)).lower()}.")
            self._set_state("failed")
            return
        self.names = [scenario.name, *([difference or other.name] if other is not None else [])]
        self.following, self._step = True, 0
        self._set_state("starting")
        self._timer.start()
        if not paused and self._pause_at is not None:
            self.pause_at(self._pause_at)
        self.began.emit()

    def open_folder(self, folder: Path, tasks: Tasks) -> None:
        """Look at a run that was saved, as soon as a process has read it; until then all stays as it is."""
        self._forget_opening()
        try:
            spool = make_folder()
        except OSError as error:
            self.unopened.emit(f"{folder}: cannot be unpacked: {(error.strerror or str(error)).lower()}")
            return
        task = tasks.start(open_saved, folder.absolute(), spool)
        self._opening = task, spool
        task.progressed.connect(lambda share: self.told.emit(f"Reading {folder.name}: {share:.0%}"))
        task.done.connect(self._opened)
        task.failed.connect(self._not_opened)
        self.told.emit(f"Reading {folder.name}")

    def _opened(self, history: History) -> None:
        assert self._opening is not None
        spool, self._opening = self._opening[1], None
        self.open_history(history, history.facts.name)
        self._unpacked = spool
        self.told.emit(f"{history.facts.name}: {len(history):,} steps, {len(history.entries):,} changes of blocks")

    def _not_opened(self, sentence: str) -> None:
        self._forget_opening()
        self.unopened.emit(sentence)

    def _forget_opening(self) -> None:
        if self._opening is not None:
            task, spool = self._opening
            self._opening = None
            task.cancel()
            shutil.rmtree(spool, ignore_errors=True)

    def open_history(self, history: History, name: str) -> None:
        """Look at a run that is over."""
        self._end()
        self._started = None
        self.histories, self.names = [history], [name]
        self.following, self._step = True, max(len(history) - 1, 0)
        self.began.emit()
        self._set_state("ended")
        self._tell_progress(True)
        self.framed.emit()

    def run(self) -> None:
        self.follow()
        for run in self._runs:
            run.go(seconds=self._pause_at if self._pause_at and self._pause_at > self.now else None)

    def pause(self) -> None:
        for run in self._runs:
            run.pause()

    def step(self) -> None:
        if not self.following:
            self.seek(self.shown + 1)
            return
        for run in self._runs:
            run.step()

    def reset(self) -> None:
        if self._started is not None:
            self.begin(*self._started, paused=True)

    def set_speed(self, speed: float) -> None:
        self._factor = speed
        for run in self._runs:
            run.speed(speed or None)

    def pause_at(self, time: float | None) -> None:
        self._pause_at = time
        if self._state in ("running", "starting"):
            for run in self._runs:
                run.go(seconds=time)

    def run_until(self, event: str) -> None:
        """Go on to the next `eviction`, `preemption` or `hit`, and pause."""
        self.follow()
        if self.live is not None:
            self.live.go(event=event)

    def stop(self) -> None:
        """End the run where it is: it can be saved then."""
        for run in self._runs:
            run.stop()

    def save(self, out: Path, *, force: bool = False) -> None:
        """Write the results of a run that is over; `saved` or `failed` tells."""
        if self.live is not None:
            self.live.save(out, force=force)

    def shut_down(self) -> None:
        self._end()
        self._set_state("idle")

    # What is looked at

    @property
    def history(self) -> History | None:
        """Of the run; None: there is none yet."""
        return self.histories[0] if self.histories and len(self.histories[0]) else None

    @property
    def newest(self) -> int:
        """The last step that was planned."""
        return len(self.histories[0]) - 1 if self.histories else -1

    @property
    def shown(self) -> int:
        """The step that is looked at; -1: there is none."""
        if self.following and len(self.histories) > 1 and all(map(len, self.histories)):
            return self.histories[0].step_at(min(history.seconds(len(history) - 1) for history in self.histories))
        return self.newest if self.following else min(self._step, self.newest)

    @property
    def now(self) -> float:
        """The time that is looked at, in seconds of the run."""
        return self.histories[0].seconds(self.shown) if self.shown >= 0 else 0.0

    def step_of(self, which: int) -> int:
        """The step of the run, or of the one beside it, at the time that is looked at; -1: there is none."""
        history = self.histories[which]
        if which == 0 or not len(history):
            return self.shown if which == 0 else -1
        return history.step_at(self.now)

    def seek(self, step: int) -> None:
        """Look at a step; the run goes on meanwhile, if it does."""
        if self.newest < 0:
            return
        self._step = min(max(step, 0), self.newest)
        self.following = False
        self.framed.emit()
        self._tell_progress(True)

    def follow(self) -> None:
        """Look at the newest step again."""
        if not self.following:
            self.following = True
            self.framed.emit()

    def jump(self, kind: str, back: bool) -> bool:
        """Look at the next or the previous `eviction`, `preemption` or `hit`; False: there is none."""
        history = self.history
        if history is None:
            return False
        step = history.previous(kind, self.shown) if back else history.next(kind, self.shown)
        if step is None:
            return False
        self.seek(step)
        return True

    # Behind it

    @property
    def _runs(self) -> list[LiveRun]:
        return [run for run in (self.live, self.other) if run is not None]

    def _tick(self) -> None:
        for run in self._runs:
            for name, value in run.poll():
                self._hear(run, name, value)
        runs = self._runs
        histories = [run.history for run in runs if run.history is not None]
        if runs and len(histories) == len(runs):
            self.histories = histories
        if self.live is None:
            return
        if self._state not in ("failed", "ended") or self.live.over is None:
            states = {run.state for run in runs}
            state = max(states) if len(states) == 1 else min(states)
            if self._state != "failed":
                self._set_state(_STATES[state])
        drawn = (self.newest, self.shown, len(self.histories[1]) if len(self.histories) > 1 else 0)
        if drawn != self._drawn:
            self._drawn = drawn
            self.framed.emit()
        self._tell_progress(False)
        if self._state == "ended":
            self._timer.setInterval(200)  # there is nothing to follow; it may still be saved

    def _hear(self, run: LiveRun, name: str, value: Any) -> None:
        if name == "failure" and run is self.other:
            self.other = None  # the one that it stood beside goes on alone
            run.close()
            self.histories, self.names = self.histories[:1], self.names[:1]
            self.began.emit()
            self.told.emit(f"The run beside it has ended: {value}")
        elif name == "failure":
            self.failed.emit(value)
            self._set_state("failed")
            self._timer.stop()
        elif name == "problem":
            self.told.emit(value)
        elif name == "saved":
            self.saved.emit(value)

    def _tell_progress(self, at_once: bool) -> None:
        wall = monotonic()
        if wall < self._next_progress and not at_once:
            return
        self._next_progress = wall + PROGRESS_EVERY
        history, step = self.history, self.shown
        if history is None or step < 0:
            return
        snapshot = self.live.snapshot if self.live is not None else None
        running = self._state == "running" and snapshot is not None
        self.progressed.emit(
            Progress(
                time=self.now,
                step=step,
                done=history.ended(step),
                requests=history.facts.requests,
                steps_per_second=snapshot.steps_per_s / 1000 if running and snapshot else 0.0,
                speed=snapshot.ticks_per_s / TICKS_PER_SECOND if running and snapshot else 0.0,
            )
        )

    def _set_state(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self.state_changed.emit(state)

    def _end(self) -> None:
        self._timer.stop()
        self._timer.setInterval(FRAME_MS)
        self._forget_opening()
        for run in self._runs:
            run.close()
        self.live = self.other = None
        self.histories, self.names = [], []
        self._drawn = (-1, -1, -1)
        if self._unpacked is not None:
            shutil.rmtree(self._unpacked, ignore_errors=True)
            self._unpacked = None


def make_session(parent: QWidget) -> LiveSession:
    """For the window."""
    return LiveSession(parent)

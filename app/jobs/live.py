"""One run in a process of its own: it can be paused, stepped, paced and stopped, and watched all the while.

What happens goes to files (`app.jobs.spool`) at most 60 times a second, and where the run stands to memory that is
shared (`app.jobs.snapshots`). Orders go to the worker through a pipe, and what it has to say comes back.
"""

import contextlib
import multiprocessing
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.jobs.brought import bring
from app.jobs.history import History
from app.jobs.snapshots import Board, Snapshot
from app.jobs.spool import BOARD, make_folder
from app.jobs.told import Facts
from simcore.errors import InputError
from simcore.record.results import Results
from simcore.scenario import Scenario
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request
from simcore.serving.request import Sequence as Branch
from simcore.ticks import TICKS_PER_SECOND, Tick, to_ticks

if TYPE_CHECKING:
    from simcore.simulation import Simulation

PUBLISH_EVERY = 1 / 60
"""s between two snapshots"""
LOOK_EVERY = 0.01
"""s between two looks for orders, at full speed"""
EVENTS = ("eviction", "preemption", "hit")
"""What a run can be paused at, and jumped to."""


class RunState(IntEnum):
    """What a worker does."""

    STARTING = 0
    RUNNING = 1
    PAUSED = 2
    OVER = 3


@dataclass
class Pace:
    """How fast the run goes on, and how far. What is None does not count."""

    paused: bool = True
    factor: float | None = 1.0
    """simulated seconds a second"""
    rate: float | None = None
    """steps a second"""
    until_step: int | None = None
    until_tick: Tick | None = None
    until_event: str | None = None

    def hold(self) -> None:
        """Pause, and forget what it was to run until."""
        self.paused = True
        self.until_step = self.until_tick = self.until_event = None


class _Gone(Exception):  # noqa: N818
    """The window is not there any more, or wants no more of this run."""


class _Conductor:
    """Watches a run for others: lets it be written down, keeps the pace, obeys."""

    def __init__(self, folder: Path, orders: Connection) -> None:
        self.pace = Pace()
        self._orders = orders
        self._folder = folder
        self._board = Board(folder / BOARD)
        self._step = -1
        self._now: Tick = 0
        self._evictions = 0  # when it was told to run until the next one
        self._look_at = self._publish_at = 0.0
        self._begun: tuple[float, Tick, int] | None = None  # the wall's time, simulated time and step of the pace
        self._marks: list[tuple[float, int, Tick]] = []
        self._speed = (0, 0)

    def attach(self, simulation: "Simulation") -> None:
        """The run that it is an observer of, which keeps a journal."""
        self.simulation = simulation
        self.scheduler = simulation.scheduler
        simulation.keep_in(self._folder)

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def committed(self, plan: StepPlan, ended: list[Branch]) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        self._step, self._now = plan.index, start
        pace = self.pace
        if (
            (pace.until_step is not None and plan.index >= pace.until_step)
            or (pace.until_tick is not None and start >= pace.until_tick)
            or (pace.until_event is not None and self._happened(pace.until_event, plan))
        ):
            pace.hold()
        if pace.paused or pace.factor is not None or pace.rate is not None:
            self._keep_pace(start, plan.index)
        elif time.monotonic() >= self._look_at:
            self._visit()

    def _happened(self, event: str, plan: StepPlan) -> bool:
        if event == "preemption":
            return bool(plan.preempted)
        if event == "hit":
            return any(opening.parent is None and opening.hit for opening in plan.opened.values())
        return bool(self.scheduler.memory.evictions > self._evictions)

    def _keep_pace(self, start: Tick, step: int) -> None:
        """Wait until this step is due, or somebody lets it go on; hear orders meanwhile."""
        while True:
            pace = self.pace
            if pace.paused:
                self._begun = None
                self._publish(RunState.PAUSED)
                self._obey(self._orders.recv())
                continue
            wall = time.monotonic()
            if self._begun is None:
                self._begun = wall, start, step
            since, first_tick, first_step = self._begun
            due = since
            if pace.factor is not None:
                due += (start - first_tick) / TICKS_PER_SECOND / pace.factor
            if pace.rate is not None:
                due = max(due, since + (step - first_step) / pace.rate)
            if wall >= self._look_at:
                self._visit()
                continue
            if wall >= due:
                if wall > due + 0.25:  # it cannot be kept: what was lost is not to be caught up with
                    self._begun = wall, start, step
                return
            if wall >= self._publish_at:
                self._publish(RunState.RUNNING)
            wait = min(due - wall, max(self._publish_at - wall, 0.001))
            if self._orders.poll(wait):
                self._visit()

    def _visit(self) -> None:
        """Hear orders, and show where the run is if it is time to."""
        wall = time.monotonic()
        self._look_at = wall + LOOK_EVERY
        while self._orders.poll():
            self._obey(self._orders.recv())
        if wall >= self._publish_at:
            self._publish(RunState.RUNNING)

    def _obey(self, order: tuple[str, Any]) -> None:
        name, value = order
        pace = self.pace
        if name == "go":
            pace.hold()
            pace.paused = False
            for key, wanted in value.items():
                setattr(pace, key, wanted)
            self._evictions = self.scheduler.memory.evictions
        elif name == "step":
            first = self._step if pace.until_step is None else pace.until_step
            pace.hold()
            pace.paused, pace.until_step = False, first + value
        elif name == "pace":
            pace.factor, pace.rate = value
        elif name == "pause":
            pace.hold()
        elif name == "stop":
            self.simulation.stop()
            pace.hold()
            pace.paused, pace.factor, pace.rate = False, None, None
        elif name == "save":
            self._orders.send(("problem", "The run goes on; stop it, and it can be saved."))
        elif name == "close":
            raise _Gone
        self._begun = None

    def _publish(self, state: RunState) -> None:
        wall = time.monotonic()
        self._publish_at = wall + PUBLISH_EVERY
        self.simulation.flush()
        self._marks = [*(m for m in self._marks if m[0] > wall - 1.0), (wall, self._step, self._now)]
        if state == RunState.RUNNING and len(self._marks) > 1:
            since, step, now = self._marks[0]
            seconds = wall - since
            self._speed = int(1000 * (self._step - step) / seconds), int((self._now - now) / seconds)
        elif state != RunState.RUNNING:
            self._marks = self._marks[-1:]
        journal, log = self.simulation.journal, self.simulation.sequence_log
        assert journal is not None
        assert log is not None
        self._board.publish(
            Snapshot(state, self._step, self._now, self._step + 1, len(journal), len(log), *self._speed)
        )

    def over(self, results: Results) -> None:
        """All is written; the run has ended."""
        self._step = len(results.record.steps["t"]) - 1
        self._publish(RunState.OVER)

    def close(self) -> None:
        self._board.close()


def _work(folder: Path, orders: Connection, text: str, policies: Sequence[str], pace: Pace) -> None:
    """What the worker process does. It ends when it is told to, or when nobody is there to listen."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        _simulate(folder, orders, text, policies, pace)
    except _Gone:
        pass
    except (EOFError, ConnectionError):
        shutil.rmtree(folder, ignore_errors=True)  # the window was killed, and will not do it
    except InputError as error:
        _say(orders, "failure", str(error))
    except MemoryError:
        _say(orders, "failure", "There is not enough memory for this run; take fewer requests, or a smaller pool.")
    except OSError as error:
        _say(orders, "failure", _unwritten(folder, error))
    except BaseException as error:  # a policy may raise what is no Exception
        from simcore.policies.families import blame

        _say(orders, "failure", blame(error) or f"The run met an error of the program: {error!r}.")


def _say(orders: Connection, name: str, value: Any) -> None:
    with contextlib.suppress(OSError):
        orders.send((name, value))


def _simulate(folder: Path, orders: Connection, text: str, policies: Sequence[str], pace: Pace) -> None:
    from simcore.export.folder import ResultsFolder
    from simcore.simulation import Simulation

    bring(policies)
    scenario = Scenario.from_toml(text, Path())
    conductor = _Conductor(folder, orders)
    conductor.pace = pace
    simulation = Simulation(scenario, journal=True, observers=[conductor])
    conductor.attach(simulation)
    orders.send(("facts", Facts.of(simulation)))
    try:
        begun = time.process_time()
        results = simulation.run()
        conductor.over(results)
        cpu_s = time.process_time() - begun
        about = {"interrupted": results.interrupted, "unfinished": len(results.unfinished), "cpu_s": cpu_s}
        orders.send(("over", about))
        while True:
            name, value = orders.recv()
            if name == "close":
                return
            if name == "save":
                try:
                    with ResultsFolder(value["out"], scenario.name, force=value["force"]) as place:
                        orders.send(("saved", str(place.write(results, perfetto=value["perfetto"]))))
                except InputError as error:
                    orders.send(("problem", str(error)))
            elif name == "summary":
                orders.send(("summary", results.summary))
    finally:
        conductor.close()


class LiveRun:
    """The other side: starts a worker, gives it orders, follows what it writes.

    `poll` is to be called now and then, 30 times a second where somebody watches.
    """

    def __init__(self, scenario: Scenario, policies: Sequence[str] = (), pace: Pace | None = None) -> None:
        """`policies` are files of them that the worker runs. Raises OSError where no folder for its own can be made."""
        self.scenario = scenario
        self.history: History | None = None
        """what has happened so far; None until the worker has begun"""
        self.snapshot = Snapshot(RunState.STARTING, -1, 0, 0, 0, 0, 0, 0)
        self.failure: str | None = None
        """why the run cannot go on, in a sentence"""
        self.over: Mapping[str, Any] | None = None
        self.pace = pace or Pace()
        self._folder = make_folder()
        self._facts: Facts | None = None
        self._seen = 0
        self._closed = False
        try:
            self._board = Board(self._folder / BOARD, create=True)
            context = multiprocessing.get_context("spawn")
            self._orders, theirs = context.Pipe()
            self._process = context.Process(
                target=_work,
                args=(self._folder, theirs, scenario.to_toml(), tuple(policies), self.pace),
                name="kvscope-live",
                daemon=True,
            )
            self._process.start()
            theirs.close()
        except BaseException:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise

    @property
    def state(self) -> RunState:
        return RunState(self.snapshot.state)

    @property
    def pid(self) -> int | None:
        """The worker's."""
        return self._process.pid

    def go(self, *, step: int | None = None, seconds: float | None = None, event: str | None = None) -> None:
        """Run on: for ever, or until a step, a time or the next `eviction`, `preemption` or `hit`."""
        until = {"until_step": step, "until_tick": None if seconds is None else to_ticks(seconds), "until_event": event}
        self._order("go", until)

    def pause(self) -> None:
        self._order("pause")

    def step(self, steps: int = 1) -> None:
        """Plan so many steps more, and pause."""
        self._order("step", steps)

    def speed(self, factor: float | None, rate: float | None = None) -> None:
        """Simulated seconds a second, or steps a second; as fast as it goes where both are None."""
        self.pace.factor, self.pace.rate = factor, rate
        self._order("pace", (factor, rate))

    def stop(self) -> None:
        """End the run after the current step; it can be looked at and saved then."""
        self._order("stop")

    def save(self, out: Path | None, *, force: bool = False, perfetto: bool = False) -> None:
        """Write the results of a run that is over into a folder; `poll` tells of `saved` or a `problem`."""
        self._order("save", {"out": out, "force": force, "perfetto": perfetto})

    def poll(self) -> list[tuple[str, Any]]:
        """Follow the run up to now; returns what the worker had to say since, the facts of the run aside."""
        news: list[tuple[str, Any]] = []
        if self._closed:
            return news
        dead = not self._process.is_alive()  # before the pipe is read: what it said last is in there
        try:
            while self._orders.poll():
                name, value = self._orders.recv()
                if name == "facts":
                    self._facts = value
                    continue
                if name == "failure":
                    self.failure = value
                elif name == "over":
                    self.over = value
                news.append((name, value))
        except (EOFError, OSError):
            dead = True
        try:
            self._follow()
        except OSError as error:
            if self.failure is None:
                self.failure = _unwritten(self._folder, error)
                news.append(("failure", self.failure))
        if dead and self.failure is None:
            self._process.join(1)
            self.failure = _obituary(self._process.exitcode, self.snapshot.step)
            news.append(("failure", self.failure))
        return news

    def close(self) -> None:
        """End the worker, whatever it does, and take its files away. What is known of the run can still be read."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._orders.send(("close", None))
        self._process.join(0.5)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._orders.close()
        self._process.close()
        self._board.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _follow(self) -> None:
        newest = self._board.newest()
        if newest is None or newest[0] == self._seen or self._facts is None:
            return
        if self.history is None:
            self.history = History(self._facts, self._folder)
        self._seen, self.snapshot = newest
        self.history.follow(self.snapshot.steps, self.snapshot.entries, self.snapshot.events)

    def _order(self, name: str, value: Any = None) -> None:
        if not self._closed and self.failure is None:
            with contextlib.suppress(OSError):  # `poll` finds out why
                self._orders.send((name, value))


def _unwritten(folder: Path, error: OSError) -> str:
    return f"The run's files in {folder} cannot be written: {(error.strerror or str(error)).lower()}."


def _obituary(code: int | None, step: int) -> str:
    how = f"ended with code {code}"
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            how = f"was killed ({signal.Signals(-code).name})"
    left = "before its first step" if step < 0 else f"what it had done up to step {step:,} can still be looked at"
    return f"The process that simulates {how}; {left}."

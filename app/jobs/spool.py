"""What is noted of a run that goes on, and its files: rows of numbers, which the worker appends and others read."""

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from app.jobs.history import Kind
from simcore.record.journal import Entry
from simcore.record.recorder import STEP_COLUMNS
from simcore.record.results import Results
from simcore.record.rows import Rows
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.ticks import Tick

if TYPE_CHECKING:
    from simcore.simulation import Simulation

Table = NDArray[np.int64]

PREFIX = "kvscope-live-"
BOARD = "board"
EXTRA_COLUMNS = ("entries", "clock", "events")
"""When the step had been planned: entries of the journal and events so far, and the clock of those who decode."""
EVENT_COLUMNS = ("step", "t", "kind", "sequence", "row", "tokens", "end")
WIDTHS = {
    "steps": len(STEP_COLUMNS) + len(EXTRA_COLUMNS),
    "entries": len(Entry._fields),
    "events": len(EVENT_COLUMNS),
}


class Spooler:
    """Observes a run, and notes what cannot be told by its journal: who came, ran, gave way and left, and when."""

    def __init__(self) -> None:
        self._extra = Rows(len(EXTRA_COLUMNS))
        self._events = Rows(len(EVENT_COLUMNS))
        self._ended: set[int] = set()
        self._clock = 0

    def attach(self, simulation: "Simulation") -> None:
        """The run that it is an observer of, which keeps a journal."""
        self.simulation = simulation
        self.scheduler = simulation.scheduler
        journal = simulation.scheduler.memory.journal
        assert journal is not None
        self._journal = journal

    def arrived(self, request: Request, accepted: bool) -> None:
        scheduler = self.scheduler
        kind, sequence = (Kind.ARRIVE, len(scheduler.owners) - 1) if accepted else (Kind.REFUSE, -1)
        end = min(request.prompt_len + request.output_len, self.simulation.scenario.max_model_len)
        self._events.append(scheduler.steps, request.arrival, kind, sequence, request.row, request.prompt_len, end)

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        scheduler, note, step, made = self.scheduler, self._events.append, plan.index, plan.made
        clock, owners = scheduler.clock, scheduler.owners
        if plan.closed or plan.preempted:
            preempted = set(plan.preempted)
            for sequence in plan.preempted:
                note(step, made, Kind.PREEMPT, sequence, owners[sequence], 0, 0)
            for sequence in plan.closed:
                if sequence in self._ended:
                    self._ended.remove(sequence)
                elif sequence not in preempted:  # a beam that was dropped
                    note(step, made, Kind.END, sequence, owners[sequence], 0, -1)
        for sequence, opening in plan.opened.items():
            if opening.parent is None:
                note(step, made, Kind.OPEN, sequence, opening.request, opening.computed, opening.hit)
            else:
                note(step, made, Kind.DECODE, sequence, opening.request, opening.computed + clock - self._clock, 0)
        for branch in scheduler.chunks:
            kind = Kind.CHUNK if branch.offset is None else Kind.DECODE
            note(step, made, kind, branch.id, branch.request.row, branch.computed, branch.length)
        self._clock = clock
        self._extra.append(len(self._journal), clock, len(self._events))

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        if not ended:
            return
        left = Counter(branch.request for branch in ended)
        for branch in ended:
            request = branch.request
            left[request] -= 1
            tokens = branch.length - request.prompt_len
            self._events.append(
                plan.index, request.finished, Kind.END, branch.id, request.row, tokens, request.live + left[request]
            )
            self._ended.add(branch.id)

    def rows(self, results: Results | None = None, first: Mapping[str, int] = MappingProxyType({})) -> dict[str, Table]:
        """What was noted from these rows on, as tables of `WIDTHS`; the `results` of a run that is over have its steps.

        Steps that were planned and never done are not in them.
        """
        begin = first.get("steps", 0)
        steps = self.simulation.recorder.steps_since(begin) if results is None else _steps_of(results, begin)
        return {
            "steps": np.concatenate([steps, self._extra.table(begin)[: len(steps)]], axis=1),
            "entries": self._journal.table(first.get("entries", 0)),
            "events": self._events.table(first.get("events", 0)),
        }


def _steps_of(results: Results, first: int) -> Table:
    """[steps, columns] those of a run that is over, from step `first` on; evictions are those so far."""
    columns = dict(results.record.steps)
    columns["evictions"] = np.cumsum(columns["evictions"])
    return np.stack([columns[name][first:] for name in STEP_COLUMNS], axis=1)


class Writer:
    """Appends to the files."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._files = {name: (folder / name).open("ab", buffering=0) for name in WIDTHS}

    def write(self, name: str, rows: Table) -> None:
        """Raises OSError, for want of room on the disk above all."""
        content = memoryview(rows.tobytes())
        while content:
            content = content[self._files[name].write(content) :]

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Reader:
    """Reads what has been appended since it last did."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where there are no such files yet."""
        self._files = {name: (folder / name).open("rb") for name in WIDTHS}
        self.read_rows = dict.fromkeys(WIDTHS, 0)

    def read(self, name: str, until: int) -> Table:
        """[rows, columns] what comes after all that was read, up to row `until`."""
        width = WIDTHS[name]
        first = self.read_rows[name]
        content = self._files[name].read((until - first) * width * 8)
        rows = np.frombuffer(content, np.int64).reshape(-1, width)
        self.read_rows[name] = first + len(rows)
        return rows

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def make_folder() -> Path:
    """A new folder for a run's files. Those that processes left behind which are gone are swept away."""
    home = Path(tempfile.gettempdir())
    for folder in home.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=home))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

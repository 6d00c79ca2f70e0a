"""What happened to each sequence: with the journal of the blocks it tells the state of a run at every step."""

from collections import Counter
from enum import IntEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simcore.record.files import ColumnFiles
from simcore.record.journal import Journal
from simcore.record.rows import Rows
from simcore.serving.plan import Keep, StepPlan
from simcore.serving.request import Request, Sequence
from simcore.serving.scheduler import Scheduler
from simcore.ticks import Tick

EVENT_COLUMNS = ("step", "t", "kind", "sequence", "row", "tokens", "end")
EVENT_TYPES: dict[str, type] = dict.fromkeys(EVENT_COLUMNS, np.int32) | {"t": np.int64, "kind": np.int8}
MARK_COLUMNS = ("entries", "clock", "events")
"""When a step had been planned: entries of the journal and events so far, and the clock of those who decode."""


class Kind(IntEnum):
    """What happened to a sequence."""

    ARRIVE = 0
    """tokens: of its prompt; end: with its output"""
    REFUSE = 1
    OPEN = 2
    """admitted; tokens: that it need not compute; end: those of them that the prefix cache had"""
    CHUNK = 3
    """tokens: that it has computed once the step is done, of a prompt that goes on"""
    DECODE = 4
    """tokens: the same; from then on one more for each step of those who decode"""
    PREEMPT = 5
    END = 6
    """tokens: of output; end: branches of its request that go on; of a beam that was dropped -1"""
    PRUNE = 7
    """tokens: as of DECODE, without those that it has lost; end: how many it has lost"""


class SequenceLog:
    """Observes a run, and notes what cannot be told by its journal: who came, ran, gave way and left, and when.

    Its cost is a row for each event, not for each token, and one of three numbers a step.
    """

    def __init__(self, scheduler: Scheduler, journal: Journal, max_model_len: int) -> None:
        self._scheduler = scheduler
        self._journal = journal
        self._longest = max_model_len
        self._events = Rows(len(EVENT_COLUMNS))
        self._marks = Rows(len(MARK_COLUMNS))
        self._ended: set[int] = set()
        self._pruned: list[Keep] = []
        self._clock = 0

    def __len__(self) -> int:
        return len(self._events)

    def keep_in(self, folder: Path) -> None:
        """Let `flush` move rows to files, so that a long run needs no more memory than a short one."""
        self._events.keep_in(ColumnFiles(folder, "events", EVENT_TYPES, write=True), EVENT_COLUMNS)
        marks = ColumnFiles(folder, "steps", dict.fromkeys(MARK_COLUMNS, np.int64), write=True)
        self._marks.keep_in(marks, MARK_COLUMNS)

    def flush(self) -> None:
        """Move the rows that are in memory to the files. Raises OSError."""
        self._events.flush()
        self._marks.flush()

    def arrived(self, request: Request, accepted: bool) -> None:
        scheduler = self._scheduler
        kind, sequence = (Kind.ARRIVE, len(scheduler.owners) - 1) if accepted else (Kind.REFUSE, -1)
        end = min(request.prompt_len + request.output_len, self._longest)
        self._events.append(scheduler.steps, request.arrival, kind, sequence, request.row, request.prompt_len, end)

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        scheduler, note, step, made = self._scheduler, self._events.append, plan.index, plan.made
        clock, owners = scheduler.clock, scheduler.owners
        for keep in self._pruned:
            note(step, made, Kind.PRUNE, keep.seq, owners[keep.seq], keep.tokens + clock - self._clock, keep.dropped)
        self._pruned = []
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
        self._marks.append(len(self._journal), clock, len(self._events))

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        if plan.keeps:
            gone = {branch.id for branch in ended}
            self._pruned = [keep for keep in plan.keeps if keep.seq not in gone]
        if not ended:
            return
        left = Counter(branch.request for branch in ended)
        for branch in ended:
            request = branch.request
            left[request] -= 1
            goes_on = request.live + left[request]
            self._events.append(plan.index, request.finished, Kind.END, branch.id, request.row, branch.outputs, goes_on)
            self._ended.add(branch.id)

    def events(self) -> dict[str, NDArray[np.int64]]:
        """A column of [events] for each of `EVENT_COLUMNS`."""
        return self._events.columns(EVENT_COLUMNS)

    def marks(self) -> dict[str, NDArray[np.int64]]:
        """A column of [steps] for each of `MARK_COLUMNS`; steps that were planned and never done are among them."""
        return self._marks.columns(MARK_COLUMNS)

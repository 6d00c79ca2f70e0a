"""Who carries out step plans: the simulator's executor asks how long each takes, an engine runs the model."""

from collections import deque
from typing import Protocol

from simcore.memory.base import MoveKind
from simcore.serving.beams import BeamSearch
from simcore.serving.plan import Outcome, StepPlan
from simcore.timing import NO_CHUNKS, Chunks, StepTimer


class Executor(Protocol):
    """Takes plans and answers in the same order. It knows of the scheduler's tables only what the plans say."""

    def submit(self, plan: StepPlan) -> None:
        """Take a plan; never waits, so that two may be in flight."""

    def collect(self) -> Outcome:
        """The outcome of the oldest plan."""
        ...


class TimedExecutor:
    """The simulator's: a step lasts what a model of time says; every sampling row gets its workload's next token."""

    def __init__(self, timer: StepTimer, beams: BeamSearch | None = None) -> None:
        """`beams` says which beams go on, where requests search with several."""
        self._timer = timer
        self._beams = beams
        self._outcomes: deque[Outcome] = deque()

    def submit(self, plan: StepPlan) -> None:
        chunks = Chunks(plan.chunks, plan.chunk_tokens, plan.chunk_context) if plan.chunks else NO_CHUNKS
        ticks = self._timer.ticks(plan.rows, plan.tokens, plan.context, plan.pairs, chunks)
        if plan.moves:
            copies = sum(move.kind is MoveKind.COPY for move in plan.moves)
            ticks += self._timer.move_ticks(copies, len(plan.moves) - copies)
        if plan.keeps:  # what stays is copied together
            ticks += self._timer.move_ticks(sum(len(keep.table) for keep in plan.keeps), 0)
        outcome = Outcome(plan.index, ticks)
        if self._beams is not None:
            outcome.replaced = self._beams.step(plan)
        self._outcomes.append(outcome)

    def collect(self) -> Outcome:
        return self._outcomes.popleft()

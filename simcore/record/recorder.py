"""What was seen, in columns: one row a step, one row a request."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simcore.memory.base import MoveKind
from simcore.memory.tiers import TRANSFER_COLUMNS
from simcore.record.files import ColumnFiles
from simcore.record.rows import Rows
from simcore.serving.plan import StepPlan
from simcore.serving.request import NEVER, Request, Sequence, served
from simcore.serving.scheduler import Scheduler
from simcore.ticks import Tick

Ticks = NDArray[np.int64]

STEP_COLUMNS = (
    "t",
    "dt",
    "running",
    "waiting",
    "scheduled_tokens",
    "blocks_used",
    "blocks_cached",
    "blocks_free",
    "tokens_stored",
    "tokens_reserved",
    "tokens_internal",
    "tokens_external",
    "blocks_saved",
    "query_tokens",
    "hit_tokens",
    "preemptions",
    "copies",
    "swaps_out",
    "swaps_in",
    "prunings",
    "pruned_tokens",
    "evictions",
)
REQUEST_COLUMNS = (
    "row",
    "status",
    "arrival",
    "first_scheduled",
    "first_token",
    "finished",
    "preemptions",
    "query_tokens",
    "hit_tokens_first",
    "hit_tokens",
    "tier_hit_tokens",
    "computed_tokens",
    "output_tokens",
    "samples",
)
STREAK_COLUMNS = ("row", "sequence", "first", "steps")
TIER_COLUMNS = ("blocks", "hits", "evictions", "skipped", "fetching", "writing")
_MOVES = (MoveKind.COPY, MoveKind.SWAP_OUT, MoveKind.SWAP_IN)
FINISHED, REJECTED, UNFINISHED = range(3)
STATUS = ("finished", "rejected", "unfinished")


@dataclass(frozen=True, slots=True)
class Record:
    """A run as integers: times in ticks, from the start of the run."""

    steps: dict[str, Ticks]
    """a column of [steps] for each of `STEP_COLUMNS`: the state while the step ran, and what happened in it"""
    requests: dict[str, Ticks]
    """a column of [requests] for each of `REQUEST_COLUMNS`, in the order of the workload; NEVER: it did not happen"""
    streaks: Ticks
    """[spans, 4] row of a request, sequence, first step, steps: each of these steps gave the sequence a token"""
    sequences: Ticks
    """[sequences] row of the request that each sequence belongs to"""
    fetching: Ticks | None = None
    """[steps] requests that waited for a transfer; None: there are no tiers below the pool"""
    tiers: dict[str, dict[str, Ticks]] = field(default_factory=dict)
    """of each tier by its name, from near to far, a column of [steps] for each of `TIER_COLUMNS`"""
    transfers: dict[str, Ticks] = field(default_factory=dict)
    """a column of [transfers] for each of `TRANSFER_COLUMNS`, in the order of arrival"""


class Recorder:
    """Observes a run. Its cost is a tuple a step and another a request; all arithmetic waits until the end."""

    def __init__(self, scheduler: Scheduler, requests: int) -> None:
        self._scheduler = scheduler
        self._memory = scheduler.memory
        self._steps = Rows(len(STEP_COLUMNS))
        self._requests = Rows(len(REQUEST_COLUMNS))
        self._streaks = Rows(len(STREAK_COLUMNS))
        self._tiers = scheduler.tiered.tiers if scheduler.tiered else None
        self._levels = Rows(1 + len(TIER_COLUMNS) * len(self._tiers or ()))
        self._total = requests
        self._committed = 0

    def keep_in(self, folder: Path) -> None:
        """Let `flush` move rows to files, so that a long run needs no more memory than a short one."""
        levels = tuple(map(str, range(1 + len(TIER_COLUMNS) * len(self._tiers or ()))))
        tables = {"steps": STEP_COLUMNS, "requests": REQUEST_COLUMNS, "streaks": STREAK_COLUMNS, "levels": levels}
        for (name, columns), rows in zip(tables.items(), self._tables, strict=True):
            rows.keep_in(ColumnFiles(folder, name, dict.fromkeys(columns, np.int64), write=True), columns)

    def flush(self) -> None:
        """Move the rows that are in memory to the files. Raises OSError."""
        for rows in self._tables:
            rows.flush()

    @property
    def _tables(self) -> tuple[Rows, ...]:
        return self._steps, self._requests, self._streaks, self._levels

    def arrived(self, request: Request, accepted: bool) -> None:
        if not accepted:
            self._close(request, REJECTED)

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        scheduler = self._scheduler
        usage = self._memory.usage(plan.held)
        queried = hit = copies = swaps_out = swaps_in = prunings = dropped = 0
        if plan.opened:
            for opening in plan.opened.values():
                if opening.parent is None:
                    queried += opening.known
                    hit += opening.hit
        waiting = len(scheduler.waiting)
        if self._tiers:
            waiting += len(scheduler.fetching)
        if plan.moves:
            moves = Counter(move.kind for move in plan.moves)
            copies, swaps_out, swaps_in = (moves[kind] for kind in _MOVES)
        if plan.keeps:
            prunings, dropped = len(plan.keeps), sum(keep.dropped for keep in plan.keeps)
        self._steps.append(
            start,
            ticks,
            len(scheduler.running),
            waiting,
            plan.tokens,
            *usage,
            queried,
            hit,
            len(plan.preempted),
            copies,
            swaps_out,
            swaps_in,
            prunings,
            dropped,
            self._memory.evictions,
        )
        if self._tiers:
            levels = [len(scheduler.fetching)]
            for tier in self._tiers:
                levels += len(tier), tier.hits, tier.evictions, tier.skipped, tier.fetching, tier.writing
            self._levels.append(*levels)

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        self._committed = plan.index + 1
        if ended:
            for request in served(ended):
                self._close(request, FINISHED)

    def finish(self) -> Record:
        """The run is over: what has not ended is `UNFINISHED`."""
        live = self._scheduler.live()
        for sequence in live:
            sequence.stop_streak(self._committed)
            sequence.request.computed_tokens += sequence.computed + sequence.dropped
            sequence.request.output_tokens += sequence.outputs
        for request in {sequence.request: None for sequence in live}:
            self._close(request, UNFINISHED)

        steps = {name: column[: self._committed] for name, column in self._steps.take(STEP_COLUMNS).items()}
        steps["evictions"] = np.diff(steps["evictions"], prepend=0)

        fetching, tiers, transfers = None, {}, {}
        if self._tiers is not None:
            fetching, *levels = self._levels.table()[: self._committed].T
            width = len(TIER_COLUMNS)
            for number, tier in enumerate(self._tiers):
                own = levels[number * width : (number + 1) * width]
                tiers[tier.name] = dict(zip(TIER_COLUMNS, own, strict=True))
                for name in ("hits", "evictions", "skipped"):
                    total = np.append(tiers[tier.name][name][:-1], getattr(tier, name))  # the last step's end included
                    tiers[tier.name][name] = np.diff(total, prepend=0)[: self._committed]
            transfers = self._tiers.log.columns(TRANSFER_COLUMNS)

        closed = self._requests.take(REQUEST_COLUMNS)
        requests = {}
        for name, column in closed.items():
            requests[name] = np.full(self._total, _UNSEEN.get(name, NEVER), np.int64)
            requests[name][closed["row"]] = column
        requests["row"] = np.arange(self._total)

        owners = np.array(self._scheduler.owners, np.int64)
        return Record(steps, requests, self._streaks.table(), owners, fetching, tiers, transfers)

    def _close(self, request: Request, status: int) -> None:
        self._requests.append(
            request.row,
            status,
            request.arrival,
            request.first_scheduled,
            request.first_token,
            request.finished,
            request.preemptions,
            request.query_tokens,
            request.hit_tokens_first,
            request.hit_tokens,
            request.tier_hit_tokens,
            request.computed_tokens,
            request.output_tokens,
            request.samples,
        )
        for sequence, first, steps in sorted(request.streaks) if request.samples > 1 else request.streaks:
            self._streaks.append(request.row, sequence, first, steps)


_UNSEEN = {"status": UNFINISHED} | dict.fromkeys(REQUEST_COLUMNS[REQUEST_COLUMNS.index("preemptions") :], 0)
"""What stands for a request that never arrived, where it is not NEVER."""

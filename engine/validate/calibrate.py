"""How long an engine's steps take, measured on steps that are drawn, and put into a few coefficients."""

import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter, thread_time
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from engine.executor import EngineExecutor, Text
from engine.meter import frozen_heap
from engine.models import CausalLM
from engine.tokens import TokenIds
from simcore.memory.base import Move, MoveKind
from simcore.scenario.calibration import Calibration
from simcore.serving.plan import StepPlan
from simcore.ticks import to_seconds
from simcore.timing import CalibratedTimer, Chunks
from simcore.workload.columns import Workload

Clock = Literal["wall", "cpu"]
CLOCKS: dict[Clock, Callable[[], float]] = {"wall": perf_counter, "cpu": thread_time}
"""By which steps are timed: the time that passes, or what this thread worked, which others do not disturb."""

ROUNDS = 3
"""Every step is taken so often, in another order each time; the median counts."""
MOVED = 16
"""Blocks that are moved at once where that is measured."""


@dataclass(frozen=True, slots=True)
class Case:
    """A step: so many new tokens of each row, behind so many that are stored."""

    starts: list[int]
    counts: list[int]

    @property
    def chunks(self) -> Chunks:
        """What the rows of several tokens add up to."""
        rows = [(start, count) for start, count in zip(self.starts, self.counts, strict=True) if count > 1]
        return Chunks(len(rows), sum(count for _, count in rows), sum(start + count for start, count in rows))

    @property
    def totals(self) -> tuple[int, int, int, int, Chunks]:
        """What a `StepTimer` is told."""
        tokens = sum(self.counts)
        pairs = sum(n * start + n * (n + 1) // 2 for start, n in zip(self.starts, self.counts, strict=True))
        return len(self.counts), tokens, sum(self.starts) + tokens, pairs, self.chunks


def calibrate(
    model: CausalLM,
    *,
    name: str,
    blocks: int,
    block_size: int,
    max_rows: int,
    max_tokens: int,
    max_model_len: int,
    cases: int = 240,
    seed: int = 0,
    path: str = "auto",
    clock: Clock = "wall",
) -> tuple[Calibration, NDArray[np.float64]]:
    """Measure steps that are drawn at random, and fit; also the relative error of the fit on each of its steps.

    blocks, block_size: the pool that steps read from, all of it full; max_rows, max_tokens: of a step; max_model_len:
    of a row.
    """
    rng = np.random.default_rng(seed)
    longest = min(max_model_len, (blocks - 1) * block_size)
    drawn = [_draw(rng, blocks, block_size, max_rows, max_tokens, longest) for _ in range(cases)]
    bench = _Bench(model, blocks, block_size, max(case.totals[0] for case in drawn), longest, path, clock)
    bench.time(drawn[0])  # the first steps of a process take longer
    seconds: list[list[float]] = [[] for _ in drawn]
    with frozen_heap():
        for _ in range(ROUNDS):
            for place in rng.permutation(len(drawn)).tolist():
                seconds[place].append(bench.time(drawn[place]))
    measured = np.array([median(times) for times in seconds])
    fitted = _fit([case.totals for case in drawn], measured)
    device = model.embed.weight.device
    calibration = Calibration(
        model=name,
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else f"{platform.machine()} CPU",
        software=f"torch {torch.__version__}, {torch.get_num_threads()} threads, decode: {bench.path}, {clock} clock",
        block_size=block_size,
        per_copied_block=bench.time_moves(MoveKind.COPY),
        per_swapped_block=bench.time_moves(MoveKind.SWAP_OUT),
        **fitted,  # type: ignore[arg-type]  # mypy cannot tell them apart
    )
    timer = CalibratedTimer(calibration)
    predicted = np.array([to_seconds(timer.ticks(*case.totals)) for case in drawn])
    return calibration, np.abs(predicted - measured) / measured


def _draw(rng: np.random.Generator, blocks: int, block_size: int, max_rows: int, max_tokens: int, longest: int) -> Case:
    """Decode rows, chunks, or both; small numbers are as likely as large ones."""
    kind = rng.choice(["decode", "chunks", "both"], p=[0.5, 0.2, 0.3])
    room = (blocks - 1) * block_size
    starts: list[int] = []
    counts: list[int] = []

    def add(start: int, count: int) -> None:
        nonlocal room
        needed = -(-(start + count) // block_size) * block_size
        if needed <= room and start + count <= longest and sum(counts) + count <= max_tokens:
            starts.append(start)
            counts.append(count)
            room -= needed

    if kind != "decode":
        for _ in range(int(rng.integers(1, 4))):
            count = _even(rng, 2, max(min(max_tokens, longest), 2))
            add(int(rng.integers(0, max(longest - count, 0) + 1)) * int(rng.integers(0, 2)), count)
    if kind != "chunks" or not counts:
        typical = _even(rng, 2, longest)
        for _ in range(_even(rng, 1, max_rows)):
            add(min(max(round(typical * rng.gamma(2.0, 0.5)), 0), longest - 1), 1)
    if not counts:
        add(0, 1)
    return Case(starts, counts)


def _even(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number, even on a logarithmic scale."""
    return round(float(np.exp(rng.uniform(np.log(low), np.log(max(high, low))))))


class _Bench:
    """An executor with a full cache and rows of any length, whose steps are timed."""

    def __init__(
        self, model: CausalLM, blocks: int, block_size: int, rows: int, longest: int, path: str, clock: Clock
    ) -> None:
        ones = np.ones(rows, np.int64)
        workload = Workload("calibration", np.zeros(rows), ones * longest, ones)
        ids = TokenIds(workload, model.shape.vocab_size)
        self._executor = EngineExecutor(
            model,
            workload,
            ids,
            blocks=blocks,
            block_size=block_size,
            host_blocks=MOVED,
            path=path,
            clock=CLOCKS[clock],
        )
        self._executor.cache.data.normal_()
        self._tokens = [ids.prompt(row) for row in range(rows)]
        self._blocks = np.random.default_rng(0).permutation(np.arange(1, blocks))
        self._index = 0

    @property
    def path(self) -> str:
        """How decode reads the cache."""
        return self._executor.path

    def time(self, case: Case) -> float:
        """Seconds of a step in which every row is given a token.

        Rows that decode did so in the step before too: what they read may still be in the processor's caches.
        """
        executor, size = self._executor, self._executor.cache.block_size
        taken = 0
        for row, (start, count) in enumerate(zip(case.starts, case.counts, strict=True)):
            end = start + count
            blocks = -(-end // size)
            executor.tables[row] = self._blocks[taken : taken + blocks].tolist()
            executor.branches[row] = (row, 0)
            taken += blocks
        decoding = [row for row, count in enumerate(case.counts) if count == 1]
        if decoding:
            self._step(case, decoding)
        return self._step(case, list(range(len(case.counts))))

    def _step(self, case: Case, rows: list[int]) -> float:
        plan = self._plan()
        plan.seqs = rows
        plan.starts, plan.counts = [case.starts[row] for row in rows], [case.counts[row] for row in rows]
        for row in rows:
            end = case.starts[row] + case.counts[row]
            self._executor.texts[row, 0] = Text(np.append(self._tokens[row][:end], 0), end)
        return self._take(plan)

    def time_moves(self, kind: MoveKind) -> float:
        """Seconds a block, moved in a step in which nothing else happens; the median of a few."""
        count = min(MOVED, (len(self._blocks)) // 2)
        sources, targets = self._blocks[:count].tolist(), self._blocks[-count:].tolist()
        if not count:
            return 0.0
        if kind is not MoveKind.COPY:
            targets = list(range(1, count + 1))
        self._executor.tables[0] = sources
        times = []
        for _ in range(7):
            plan = self._plan()
            moves = zip(range(count), sources, targets, strict=True)
            plan.moves = [Move(kind, 0, 0, place, source, target) for place, source, target in moves]
            times.append(self._take(plan))
        return median(times) / count

    def _plan(self) -> StepPlan:
        self._index += 1
        return StepPlan(self._index, 0, [])

    def _take(self, plan: StepPlan) -> float:
        self._executor.submit(plan)
        return to_seconds(self._executor.collect().ticks)


def _fit(
    totals: list[tuple[int, int, int, int, Chunks]], seconds: NDArray[np.float64]
) -> dict[str, float | list[float] | list[int]]:
    """Coefficients of at least 0 with the least squares of relative errors."""
    from scipy.optimize import nnls

    most = max(tokens for _, tokens, _, _, _ in totals)
    knots = [1]
    while knots[-1] < most:
        knots.append(min(knots[-1] * 2, most))
    names = ("per_row", "per_decode_key", "per_chunk", "per_chunk_key", "per_pair")
    table = list(_hats([tokens for _, tokens, _, _, _ in totals], knots))
    columns = [
        [seqs, context - chunks.context, chunks.rows, chunks.context, pairs - (context - chunks.context)]
        for seqs, _, context, pairs, chunks in totals
    ]
    matrix = np.hstack((np.array(table), np.array(columns, dtype=float)))
    scale = np.maximum(matrix.max(axis=0), 1.0)
    found, _ = nnls(matrix / scale / seconds[:, None], np.ones(len(seconds)))
    found /= scale
    return {
        "tokens": knots,
        "seconds": found[: len(knots)].tolist(),
        **dict(zip(names, found[len(knots) :].tolist(), strict=True)),
    }


def _hats(tokens: list[int], knots: list[int]) -> Iterator[list[float]]:
    """How much each knot of the table counts for a number of tokens: straight lines between."""
    for number in tokens:
        yield [float(np.interp(number, knots, np.eye(len(knots))[place])) for place in range(len(knots))]

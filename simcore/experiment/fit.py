"""The model of time, and the pool, that make a simulation meet what a server was measured to do.

Which steps a server took, and what they computed, a benchmark does not say. But the scheduler is known: given when each
step was over, it says what the next one computes; and a step is over when its tokens reach the clients, which was
measured. So the load is played through the simulated scheduler by the server's own clock, and how long its steps took
is put into coefficients: least squares of relative errors, none of them below 0, outliers held down. The coefficients
known, the pool's size and the delay between client and server are those with which a simulation errs least. Whether
that predicts anything is another matter: the load held out is simulated, too.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.experiment.measured import Difference, Mask, Measured, Scrape, differences
from simcore.geometry import pool_size
from simcore.record.recorder import FINISHED
from simcore.record.results import Results
from simcore.scenario import Scenario
from simcore.scenario.calibration import Calibration
from simcore.serving.plan import Outcome, StepPlan
from simcore.serving.request import Request
from simcore.serving.request import Sequence as Branch
from simcore.simulation import Simulation
from simcore.ticks import TICKS_PER_SECOND, Tick
from simcore.timing import CalibratedTimer, Chunks, StepTimer, make_timer
from simcore.workload.columns import Floats

KNOTS = (32, 64, 128, 256, 512, 1024, 2048)
"""Tokens of a step from which on each more may take longer: where arithmetic overtakes memory lies in between."""
FEATURES = ("step", "token", *(f"token_above_{knot}" for knot in KNOTS), "row", "decode_key", "chunk", "pair")
FAR = 1.5
"""Typical times between two tokens that a row may be apart from its step before it is brought back to it."""
GROUP = 8
"""Steps that put tokens out and are one interval."""
ENOUGH = 20
"""Intervals with a chunk, and without, from which coefficients can be found."""
WELL = 0.002
"""With so little error there is nothing to search for."""
LEAST = 1 << 20
"""Ticks, about a microsecond: what a step takes at least, whatever a clock that jitters says."""
TOLERATED = 0.05
"""Intervals whose length is this much off, as a share of it, or less, are no outliers."""
POOLS = (0.94, 0.97, 1.0, 1.03, 1.06, 1.1, 1.16, 1.25, 1.4)
"""The sizes that are tried where none is known, by the most blocks that requests held together."""
CLEARLY = 0.9
"""Another pool is believed only if it leaves at most this share of the error."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A calibration, and how well it does."""

    calibration: Calibration
    scenario: Scenario
    """the one that was given, with the pool that was found"""
    pool: str
    """where the pool's size is from"""
    error: float
    """the mean of |simulated - measured| / their mean, over the intervals of the part that was fitted"""
    held_out_error: float
    """the same of the load held out"""
    held_out: list[list[Difference]]
    """of every benchmark of which a part, or all, was held out: the numbers of that part"""
    names: list[str]
    """of those benchmarks"""


class _Replay:
    """Carries steps out by the server's clock: a step ends when its tokens reach their clients.

    The quick ones of these decide: others may have been held up on their way. A row whose next token is far off, since
    the scheduler here was early or late with it, waits for it, or passes over what was long ago. A step that puts no
    token out lasts as long as the model of time says. Several steps are one interval, in which it matters less if a
    request was taken up a step sooner or later.
    """

    def __init__(self, measured: Measured, timer: StepTimer) -> None:
        self._measured, self._timer = measured, timer
        self._prompt_len = measured.workload.prompt_len.tolist()
        self._far = FAR * _typical(measured) * TICKS_PER_SECOND
        self._times: dict[int, list[Tick]] = {}
        self._next = [0] * len(self._prompt_len)
        self._emitted = [0] * len(self._prompt_len)
        self._rows: dict[int, int] = {}
        self._outcomes: deque[Outcome] = deque()
        self._free = self._since = self._steps = 0
        self._pending, self._idle = np.zeros(len(FEATURES)), True
        self.sums: list[Floats] = []
        """[FEATURES] of each interval"""
        self.lasted: list[float] = []
        """s"""
        self.ended: list[float] = []
        """s"""
        self.after_idle: list[bool] = []
        """whether nothing ran before"""

    def arrived(self, request: Request, accepted: bool) -> None:
        row = request.row
        gaps, count = self._measured.gaps[row], int(self._measured.workload.output_len[row])
        passed = np.concatenate(([0.0], np.cumsum(gaps)))
        if len(passed) != count:  # some pieces were several tokens
            passed = passed[-1] * np.arange(count) / max(count - 1, 1)
        seconds = request.arrival / TICKS_PER_SECOND + self._measured.ttft[row] + passed
        self._times[row] = np.rint(seconds * TICKS_PER_SECOND).astype(np.int64).tolist()

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None: ...

    def committed(self, plan: StepPlan, ended: list[Branch]) -> None: ...

    def submit(self, plan: StepPlan) -> None:
        """Take a plan, and note what it computes."""
        start = max(plan.made, self._free)
        if start > self._free:  # there was nothing to do: what went before has no part in what comes
            self._close()
            self._since, self._idle = start, True
        for seq, opening in plan.opened.items():
            self._rows[seq] = opening.request
        rows, decoding = [], []
        for seq, first, count in zip(plan.seqs, plan.starts, plan.counts, strict=True):
            row = self._rows[seq]
            if first + count == self._prompt_len[row] + self._emitted[row]:
                self._emitted[row] += 1
                rows.append(row)
                if self._next[row] and self._next[row] < len(self._times[row]):
                    decoding.append(self._times[row][self._next[row]])
        ends = sorted(decoding or [self._times[row][self._next[row]] for row in rows if not self._next[row]])
        ticks = 0
        if plan.tokens:
            self._pending = self._pending + features_of(plan)
            ticks = max(ends[len(ends) // 5] - start if ends else predicted(self._timer, plan), LEAST)
        self._free = start + ticks
        for row in rows:
            times, place = self._times[row], self._next[row]
            if place < len(times) and times[place] <= self._free + self._far:
                place += 1
                while place < len(times) and times[place] <= self._free - self._far:
                    place += 1
            self._next[row] = place
        if ends:
            self._steps += 1
            if self._idle or self._steps == GROUP:
                self._close()
        self._outcomes.append(Outcome(plan.index, ticks))

    def _close(self) -> None:
        """An interval ends where the last step ended."""
        if self._steps:
            self.sums.append(self._pending)
            self.lasted.append((self._free - self._since) / TICKS_PER_SECOND)
            self.ended.append(self._free / TICKS_PER_SECOND)
            self.after_idle.append(self._idle)
        self._since, self._pending, self._steps, self._idle = self._free, np.zeros(len(FEATURES)), 0, False

    def collect(self) -> Outcome:
        """See `Executor.collect`."""
        return self._outcomes.popleft()


def features_of(plan: StepPlan) -> Floats:
    """[FEATURES] of a step that computes something."""
    decode_keys, tokens = plan.context - plan.chunk_context, plan.tokens
    above = [max(tokens - knot, 0) for knot in KNOTS]
    return np.array([1, tokens - 1, *above, plan.rows, decode_keys, plan.chunks, plan.pairs - decode_keys], float)


def predicted(timer: StepTimer, plan: StepPlan) -> Tick:
    """What a step lasts by a model of time."""
    chunks = Chunks(plan.chunks, plan.chunk_tokens, plan.chunk_context)
    return timer.ticks(plan.rows, plan.tokens, plan.context, plan.pairs, chunks)


@dataclass(frozen=True, slots=True)
class _Run:
    """A simulation of a benchmark's load."""

    measured: Measured
    results: Results


@dataclass(frozen=True, slots=True)
class _Intervals:
    measured: Floats
    """[intervals] s"""
    simulated: Floats

    @property
    def error(self) -> float:
        """The mean of |simulated - measured| / their mean."""
        return float(np.mean(np.abs(self.simulated - self.measured) / ((self.simulated + self.measured) / 2)))


def fit(
    scenario: Scenario,
    benchmarks: Sequence[Measured],
    *,
    scrape: Scrape | None = None,
    hold_out: Sequence[Measured] = (),
    share: float = 0.7,
    source: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> Fit:
    """Fit the model of time to benchmarks of a server that is set up as the scenario says.

    The workload of the scenario does not count, and its model of time is where the search begins. The pool is that of
    the `scrape`; without one, that of the scenario, or the one near it that leaves clearly less error. What is held
    out are the benchmarks in `hold_out`, or without any the requests that arrive last, 1 - `share` of each. Raises
    InputError where the scenario cannot be run.
    """
    if not 0.1 <= share <= 0.95:
        raise InputError(f"the share of the load to fit must be from 0.1 to 0.95, not {share}")
    if scrape is not None and scrape.block_size is not None and scrape.blocks is not None:
        scenario = _with_pool(scenario, scrape.blocks, scrape.block_size)
        pool = "as the server's metrics say"
    else:
        pool = "as the scenario says"
    parts = [np.ones(len(each.ttft), np.bool_) if hold_out else _first(each, share) for each in benchmarks]
    theta = _coefficients(scenario, benchmarks, parts)
    search = _Search(benchmarks, parts, theta, progress)
    found = search.at(scenario, 0.0)
    if scrape is None and found.error > WELL:
        other = search.pool(found)
        if other.error < CLEARLY * found.error:
            found, pool = other, "fitted: it leaves less error than that of the scenario"
    found = search.delay(found)
    tested = list(hold_out) or list(benchmarks)
    masks = [
        np.ones(len(each.ttft), np.bool_) if hold_out else ~part for each, part in zip(tested, parts, strict=False)
    ]
    timer = CalibratedTimer(found.calibration())
    runs = [_simulate(found.scenario, _sent(each, found.delay), timer) for each in tested]
    error = float(np.mean([_intervals(run, mask).error for run, mask in zip(runs, masks, strict=True)]))
    return Fit(
        calibration=found.calibration(f"{source}, error on load held out {error:.1%}".removeprefix(", ")),
        scenario=found.scenario,
        pool=pool,
        error=found.error,
        held_out_error=error,
        held_out=[
            differences(each, run.results, mask, delay=found.delay)
            for each, run, mask in zip(tested, runs, masks, strict=True)
        ],
        names=[each.name for each in tested],
    )


@dataclass(frozen=True, slots=True)
class _Found:
    scenario: Scenario
    theta: Floats
    """[FEATURES] s"""
    delay: float
    """s between client and server"""
    error: float

    def calibration(self, software: str = "") -> Calibration:
        """The coefficients as a calibration."""
        return _calibration(self.scenario, self.theta, self.delay, software)


def _coefficients(scenario: Scenario, benchmarks: Sequence[Measured], parts: Sequence[Mask]) -> Floats:
    """[FEATURES] s, from the server's own clock. Neither its pool nor the delay matters to that."""
    size = scenario.memory.block_size
    tokens = max(int((each.workload.prompt_len + each.workload.output_len + size).sum()) for each in benchmarks)
    endless, timer = _with_pool(scenario, tokens // size + 2, size), make_timer(scenario)
    for _ in range(2):  # the second time, the time of steps that put nothing out is split as the coefficients have it
        replays = [_replay(endless, each, timer, part) for each, part in zip(benchmarks, parts, strict=True)]
        theta = _solved(*(np.concatenate(columns) for columns in zip(*replays, strict=True)))
        timer = CalibratedTimer(_calibration(endless, theta))
    return theta


@dataclass(frozen=True, slots=True)
class _Search:
    """Looks for the pool and the delay with which a simulation errs least."""

    benchmarks: Sequence[Measured]
    parts: Sequence[Mask]
    theta: Floats
    progress: Callable[[str], None]

    def at(self, scenario: Scenario, delay: float) -> _Found:
        """The error of a simulation with a pool and a delay."""
        timer = CalibratedTimer(_calibration(scenario, self.theta))
        sent = [_sent(each, delay) for each in self.benchmarks]
        pairs = zip(sent, self.parts, strict=True)
        error = _joined([_intervals(_simulate(scenario, each, timer), part) for each, part in pairs]).error
        self.progress(f"{pool_size(scenario).blocks:,} blocks, {delay * 1000:.1f} ms delay: error {error:.1%}")
        return _Found(scenario, self.theta, delay, error)

    def delay(self, found: _Found) -> _Found:
        """Part of the shortest first token: tenths, then ever closer to the best."""
        least = min(float(each.ttft.min()) for each in self.benchmarks)
        best, step = found, 0.1 * least
        for tenth in range(1, 10):
            if best.error > WELL:
                best = min(best, self.at(found.scenario, tenth * step), key=_error_of)
        for _ in range(4):
            step /= 2
            for delay in (best.delay - step, best.delay + step):
                if best.error > WELL and delay > 0:
                    best = min(best, self.at(found.scenario, delay), key=_error_of)
        return best

    def pool(self, found: _Found) -> _Found:
        """Around what requests held together at most, then ever closer to the best."""
        scenario, size = found.scenario, found.scenario.memory.block_size
        held = max(_peak(each, size) for each in self.benchmarks)

        def at(blocks: float) -> _Found:
            return self.at(_with_pool(scenario, max(round(blocks), 2), size), found.delay)

        best = min([found, *(at(held * share) for share in POOLS)], key=_error_of)
        for step in (1.015, 1.007, 1.003):
            blocks = pool_size(best.scenario).blocks
            if best.error > WELL:
                best = min(best, at(blocks / step), at(blocks * step), key=_error_of)
        return best


def _error_of(found: _Found) -> float:
    return found.error


def _sent(measured: Measured, delay: float) -> Measured:
    """The benchmark as the server saw it: requests reach it later than they were sent."""
    arrival = measured.workload.arrival + delay
    return replace(measured, workload=replace(measured.workload, arrival=arrival), ttft=measured.ttft - delay)


def _just_in_time(measured: Measured) -> Measured:
    """Requests that come when the server took them up: in the step before the one that ended with their first token.

    Whatever they waited for until then, a link, a block or others, the scheduler need not know.
    """
    half = _typical(measured) / 2
    sent = measured.sent
    first = sent + measured.ttft
    later = [first[row] + np.cumsum(gaps) for row, gaps in enumerate(measured.gaps)]
    tokens = np.sort(np.concatenate([first, *later]))
    last = tokens[np.maximum(np.searchsorted(tokens, first - half) - 1, 0)]  # of the step before, held up as it may be
    began = tokens[np.searchsorted(tokens, last - 1.6 * half)]
    taken = np.where(last < first, np.maximum(sent, began - half), sent)
    order = np.argsort(taken, kind="stable")
    workload = replace(measured.workload.take(order), arrival=taken[order], after=None)
    ttft, gaps = (first - taken)[order], tuple(measured.gaps[row] for row in order.tolist())
    return replace(measured, workload=workload, ttft=ttft, gaps=gaps)


def _typical(measured: Measured) -> float:
    """The median time between two tokens, in s."""
    return float(np.median(np.concatenate([np.zeros(1), *measured.gaps])))


def _replay(scenario: Scenario, measured: Measured, timer: StepTimer, part: Mask) -> tuple[Floats, Floats]:
    """[intervals, FEATURES] what was computed in each interval, and [intervals] how long it lasted, in s.

    What ended after the first request that is held out was sent is left out; and, if there is enough without, what
    followed a time without work: how long a request was on its way then is not known.
    """
    taken = _just_in_time(measured)
    replay = _Replay(taken, timer)
    Simulation(scenario, workload=taken.workload, executor=replay, observers=[replay]).run()
    if not replay.lasted:
        raise InputError(f"{measured.name}: none of its requests could be served in the scenario's setting")
    sums, lasted = np.array(replay.sums), np.array(replay.lasted)
    known = np.ones(len(lasted), np.bool_)
    if not part.all():
        known &= np.array(replay.ended) < measured.sent[~part].min()
    busy = known & ~np.array(replay.after_idle)
    chunk = sums[:, FEATURES.index("chunk")] > 0
    for choice in (busy, known):
        if (choice & chunk).sum() >= ENOUGH and (choice & ~chunk).sum() >= ENOUGH:
            return sums[choice], lasted[choice]
    return sums, lasted


def _solved(sums: Floats, lasted: Floats) -> Floats:
    """Coefficients of at least 0 by least squares of the errors relative to the mean of both, reweighted (Huber).

    Intervals with a chunk of a prompt count as much together as those without, which are many more.
    """
    from scipy.optimize import nnls

    with_chunks = sums[:, FEATURES.index("chunk")] > 0
    counted = np.where(with_chunks, 1 / max(with_chunks.sum(), 1), 1 / max((~with_chunks).sum(), 1))
    expected, trust = np.maximum(lasted, np.median(lasted)), np.ones_like(lasted)
    scale = np.maximum(sums.max(axis=0), 1e-300)
    for _ in range(8):
        weight = np.sqrt(trust * counted) / ((lasted + expected) / 2)
        solved, _ = nnls(sums / scale * weight[:, None], lasted * weight)
        expected = np.maximum(sums / scale @ solved, 1e-9)
        apart = np.abs(lasted - expected) / ((lasted + expected) / 2)
        trust = np.minimum(1.0, TOLERATED / np.maximum(apart, 1e-12))
    return np.asarray(solved / scale)


def _peak(measured: Measured, block_size: int) -> int:
    """The most blocks that requests held at one time between their first and last tokens: no pool was smaller."""
    arrival, prompt = measured.sent, measured.workload.prompt_len
    change: list[tuple[float, int]] = []
    for row, gaps in enumerate(measured.gaps):
        times = arrival[row] + measured.ttft[row] + np.concatenate(([0.0], np.cumsum(gaps)))
        blocks = -(-(prompt[row] + np.arange(len(times))) // block_size)
        grown = np.diff(blocks, prepend=0)
        change += zip(times[grown > 0].tolist(), grown[grown > 0].tolist(), strict=True)
        change.append((float(times[-1]), -int(blocks[-1])))
    return int(np.cumsum([blocks for _, blocks in sorted(change)]).max())


def _simulate(scenario: Scenario, measured: Measured, timer: StepTimer) -> _Run:
    return _Run(measured, Simulation(scenario, workload=measured.workload, timer=timer).run())


def _intervals(run: _Run, wanted: Mask) -> _Intervals:
    """Until the first token, and from it to the last, of the requests that were served in both."""
    requests, measured = run.results.record.requests, run.measured
    rows = np.flatnonzero(wanted & (requests["status"] == FINISHED))
    arrival, first, last = (requests[name][rows] / TICKS_PER_SECOND for name in ("arrival", "first_token", "finished"))
    seconds = np.concatenate((measured.ttft[rows], measured.decode[rows]))
    simulated = np.concatenate((first - arrival, last - first))
    some = (seconds > 0) & (simulated > 0)
    return _Intervals(seconds[some], simulated[some])


def _joined(parts: Sequence[_Intervals]) -> _Intervals:
    return _Intervals(*(np.concatenate([getattr(part, name) for part in parts]) for name in _Intervals.__slots__))


def _first(measured: Measured, share: float) -> NDArray[np.bool_]:
    """The requests that came first."""
    count = len(measured.ttft)
    if count < 10:
        raise InputError(f"{measured.name}: has {count} requests, and 10 are needed to fit to some and test on others")
    return np.arange(count) < round(count * share)


def _with_pool(scenario: Scenario, blocks: int, block_size: int) -> Scenario:
    data = scenario.model_dump(mode="json", exclude_none=True)
    data["memory"].pop("utilization", None)
    data["memory"] |= {"blocks": blocks, "block_size": block_size}
    return Scenario.model_validate(data, strict=False)


def _calibration(scenario: Scenario, theta: Floats, delay: float = 0.0, software: str = "") -> Calibration:
    """The coefficients as a calibration; a table of straight lines between the knots says the same as they do."""
    known = dict(zip(FEATURES, theta.tolist(), strict=True))
    tokens = [1, *KNOTS, 2 * KNOTS[-1]]

    def seconds(number: int) -> float:
        above = sum(known[f"token_above_{knot}"] * max(number - knot, 0) for knot in KNOTS)
        return float(known["step"] + known["token"] * (number - 1) + above)

    hardware = scenario.hardware.resolve()
    return Calibration(
        model=scenario.model.resolve().name,
        device=f"{hardware.count} x {hardware.name}",
        software=software,
        block_size=scenario.memory.block_size,
        blocks=pool_size(scenario).blocks,
        tokens=tokens,
        seconds=[seconds(number) for number in tokens],
        per_row=known["row"],
        per_decode_key=known["decode_key"],
        per_chunk=known["chunk"],
        per_pair=known["pair"],
        delay=delay,
    )

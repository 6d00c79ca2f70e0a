"""How much load a setting carries within limits on latency, what stops it there, and how sure that is.

The highest rate is found by bisection for each replication by itself, so that its interval is that of independent
searches. Limits are checked after the first tenth of a run, in which the server fills. The setting is improved one key
at a time: a value is worth a search only if it carries clearly more than the best rate so far.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.experiment.asked import conditions_of
from simcore.experiment.measures import LATENCIES, STATISTICS
from simcore.experiment.statistics import t_interval
from simcore.experiment.workers import cores
from simcore.geometry import pool_size
from simcore.record.results import Results
from simcore.scenario import Scenario
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request
from simcore.serving.request import Sequence as Branch
from simcore.simulation import Simulation
from simcore.study.workers import each
from simcore.ticks import TICKS_PER_SECOND, Tick
from simcore.timing import NO_CHUNKS, CalibratedTimer, Chunks, RooflineTimer, StepTimer, make_timer
from simcore.workload import Workload, make_workload

GRID: dict[str, tuple[int, ...]] = {
    "scheduler.max_num_batched_tokens": (512, 1024, 2048, 4096, 8192),
    "scheduler.max_num_seqs": (64, 128, 256, 512),
    "memory.block_size": (16, 32, 64),
}
"""What is tried of each key, one key after the other."""
WORTH = 1.03
"""Another value of a key is taken only if it carries so many times the load."""
TOLERANCE = 0.04
"""The share of a rate to which it is found."""
WARMUP = 0.1
EFFICIENCY = 0.1
"""By how much steps are taken to be quicker or slower, to see what hangs on the model of time."""
WAITS = ("ttft", "queue", "e2e")
"""Times in which a wait counts."""
CLIENTS = ("ttft", "e2e")
"""Measured by a client, who is further away than the server itself."""
LOWEST, HIGHEST = 1e-3, 1e5


@dataclass(frozen=True, slots=True)
class Limit:
    """The most that a number of the summary may be."""

    metric: str
    statistic: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.metric}.{self.statistic} <= {self.seconds:g} s"

    def of(self, summary: dict[str, Any]) -> float:
        """The number, in s; infinite where nothing was finished."""
        value = summary[self.metric][self.statistic]
        return float("inf") if value is None else float(value)


def limits_of(text: str, option: str = "slo") -> list[Limit]:
    """Limits as a person writes them: `ttft.p99<0.5s, tpot.p99<50ms`; see `conditions_of`. Raises InputError."""
    found = []
    for condition in conditions_of(text, option):
        metric, _, statistic = condition.metric.name.partition(".")
        if metric not in LATENCIES or condition.relation not in ("<", "<="):
            raise InputError(
                f"{option}: {condition}, but a limit must be one of {', '.join(LATENCIES)}, a dot, one of "
                f"{', '.join(STATISTICS)}, < and a time, as in ttft.p99 < 0.5s"
            )
        if not 0 < condition.limit < 1e6:
            raise InputError(f"{option}: {condition}, but a time must be above 0 and below 1,000,000 s")
        found.append(Limit(metric, statistic, condition.limit))
    return found


@dataclass(frozen=True, slots=True)
class Level:
    """A run at some rate."""

    rate: float
    """requests/s"""
    kept: bool
    numbers: tuple[float, ...]
    """s, of each limit"""
    output_tokens_per_s: float
    running_mean: float
    running_peak: int
    memory_wait: float
    """share of the waiting, request by request, in which neither of the next two was the reason: the pool was full"""
    seats_wait: float
    """share of the waiting in which max_num_seqs were running"""
    budget_wait: float
    """share of the waiting in which the step's token budget was used up"""
    computing: float
    """share of the time in steps that arithmetic held up longer than memory did; of all time that requests waited, if a
    wait is what breaks"""
    preemptions: int
    rejected: float
    """share of the requests that are too long for the model, or the pool, at any rate"""


@dataclass(frozen=True, slots=True)
class Choice:
    """A value of a key that was tried, and the highest rate with it; None: it did not carry more."""

    key: str
    value: int
    rate: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What a setting carries."""

    scenario: Scenario
    """with the values that were found best, at the rate that was found"""
    limits: tuple[Limit, ...]
    rates: tuple[float, ...]
    """requests/s, of each replication; 0: not even a trickle keeps the limits"""
    low: float
    high: float
    """the 95 % interval of the mean rate"""
    kept: Level | None
    """at the highest rate of the first replication; None: there is none"""
    broken: Level
    """at the lowest rate at which it does not keep the limits"""
    choices: tuple[Choice, ...]
    slower: float
    quicker: float
    """requests/s, with every step 10 % slower and quicker"""
    pool: int
    pool_tokens: int
    timing: str
    """the model of time, and the calibration that it is by"""

    @property
    def rate(self) -> float:
        """requests/s, the mean of the replications."""
        return float(np.mean(self.rates))

    @property
    def bound(self) -> Limit:
        """The limit that breaks first: the one most exceeded."""
        shares = [number / limit.seconds for number, limit in zip(self.broken.numbers, self.limits, strict=True)]
        return self.limits[int(np.argmax(shares))]

    @property
    def limited_by(self) -> str:
        """What stands in the way where the limits break."""
        level = self.broken
        if self.bound.metric in WAITS:
            if level.memory_wait > 0.5:
                return "memory"
            if level.seats_wait > 0.5:
                return "scheduler.max_num_seqs"
        return "compute" if level.computing > 0.5 else "bandwidth"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        levels = {
            name: None if level is None else {key: getattr(level, key) for key in Level.__slots__}
            for name, level in (("kept", self.kept), ("broken", self.broken))
        }
        return {
            "rate": self.rate, "rates": list(self.rates), "low": self.low, "high": self.high,
            "users": None if self.kept is None else self.kept.running_mean,
            "limits": [str(limit) for limit in self.limits], "bound": str(self.bound), "limited_by": self.limited_by,
            "setting": {key: _get(self.scenario, key) for key in GRID},
            "tried": [{"key": each.key, "value": each.value, "rate": each.rate} for each in self.choices],
            "slower_steps": self.slower, "quicker_steps": self.quicker,
            "pool_blocks": self.pool, "pool_tokens": self.pool_tokens, "timing": self.timing, **levels,
        }  # fmt: skip


def plan(
    scenario: Scenario,
    limits: Sequence[Limit],
    *,
    replications: int = 3,
    improve: bool = True,
    jobs: int | None = 1,
    progress: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Find the highest rate at which the scenario's requests are served within the limits, and the best setting.

    A drawn workload keeps its lengths, and its arrivals their kind where they have a rate; otherwise they are Poisson.
    A trace keeps its arrivals, played faster or slower. `jobs`: processes that share the searches which do not wait for
    one another, those of the interval; None: one for each core. Raises InputError where the scenario cannot be run.
    """
    if replications < 2:
        raise InputError(f"an interval needs at least 2 replications, not {replications}")
    search = _Search(_open(scenario), tuple(limits), progress)
    best = search.scenario
    kept, broken = search.highest(best, 0)
    choices: list[Choice] = []
    if improve and kept is not None:
        for key, values in GRID.items():
            for value in values:
                other = _changed(best, key, value)
                if other is None or value == _get(best, key):
                    continue
                better = search.above(other, kept.rate)
                choices.append(Choice(key, value, better[0].rate if better else None))
                if better:
                    best, (kept, broken) = other, better
    first = 0.0 if kept is None else kept.rate
    rates, slower, quicker = [first] * replications, 0.0, 0.0
    if kept is not None:
        asked = [(number, 1.0) for number in range(1, replications)] + [(0, 1 + EFFICIENCY), (0, 1 - EFFICIENCY)]
        shared = best.model_dump(mode="json", exclude_none=True), search.limits, first
        found = []
        for rate, lines in each(_searcher, shared, asked, jobs or cores()):
            found.append(rate)
            for line in lines:
                progress(line)
        *rates[1:], slower, quicker = found
    interval = t_interval(rates, 0.95)
    timing: str = best.timing.model
    if best.timing.calibration is not None:
        timing += f", {best.timing.calibration}"
        if delay := _delay(best):
            timing += f", with its {delay * 1000:.1f} ms between client and server in {' and '.join(CLIENTS)}"
    pool = pool_size(best).blocks
    return Plan(
        scenario=best if kept is None else search.at(best, kept.rate, 0),
        limits=tuple(limits),
        rates=tuple(rates),
        low=max(interval.low or 0.0, 0.0),
        high=interval.high or 0.0,
        kept=kept,
        broken=broken,
        choices=tuple(choices),
        slower=slower,
        quicker=quicker,
        pool=pool,
        pool_tokens=(pool - 1) * best.memory.block_size,
        timing=timing,
    )


@dataclass(slots=True)
class _Search:
    scenario: Scenario
    limits: tuple[Limit, ...]
    progress: Callable[[str], None]
    _workloads: dict[int, tuple[Workload, float]] = field(default_factory=dict)

    def at(self, scenario: Scenario, rate: float, replication: int) -> Scenario:
        """The scenario at a rate."""
        if scenario.workload.trace is not None:
            return _changed(scenario, "workload.rate_scale", rate / self._workload(replication)[1]) or scenario
        return _changed(scenario, "workload.arrivals.rate", rate) or scenario

    def highest(
        self, scenario: Scenario, replication: int, near: float = 0.0, pace: float = 1.0, first: Level | None = None
    ) -> tuple[Level | None, Level]:
        """The level at the highest rate that keeps the limits, and at the lowest that does not.

        `near`: where the search begins; `first`: the level there, if it is known.
        """
        timer = _Paced(make_timer(scenario), pace)
        rate = near or self._guess(scenario, timer, replication)
        kept: Level | None = None
        broken: Level | None = None
        step = 1.15 if near else 2.0
        while broken is None or (kept is None and rate > LOWEST):
            level, first = first or self._level(scenario, rate, replication, timer), None
            if level.kept:
                kept, rate = level, rate * step
            else:
                broken, rate = level, rate / step
            if rate > HIGHEST:
                if kept is not None and pace != 1:  # a rate that only quicker steps carry is no reason to give up
                    return kept, kept
                long = (
                    f"{level.rejected:.1%} of the requests are too long for the model, or the pool, and are refused; "
                )
                raise InputError(
                    f"no rate up to {HIGHEST:,.0f} requests/s breaks {' or '.join(map(str, self.limits))}: "
                    f"{long if level.rejected else ''}take more requests, or narrower limits"
                )
            step = min(step * 1.5, 8.0)
        while kept is not None and broken.rate > kept.rate * (1 + TOLERANCE):
            level = self._level(scenario, (kept.rate * broken.rate) ** 0.5, replication, timer)
            kept, broken = (level, broken) if level.kept else (kept, level)
        return kept, broken

    def above(self, scenario: Scenario, rate: float) -> tuple[Level, Level] | None:
        """The same, if it is clearly above a rate."""
        timer = _Paced(make_timer(scenario), 1.0)
        first = self._level(scenario, rate * WORTH, 0, timer)
        if not first.kept:
            return None
        kept, broken = self.highest(scenario, 0, near=first.rate, first=first)
        return None if kept is None else (kept, broken)

    def _workload(self, replication: int) -> tuple[Workload, float]:
        """Requests that arrive at the rate that is given with them; another rate is another clock for the same."""
        if replication not in self._workloads:
            seed = int(np.random.SeedSequence([self.scenario.seed, replication]).generate_state(1, np.uint64)[0] >> 1)
            workload = make_workload(self.scenario.workload, seed if replication else self.scenario.seed)
            opening = workload.arrival if workload.after is None else workload.arrival[workload.after < 0]
            span = float(opening[-1] - opening[0])
            if len(opening) < 20 or span <= 0:
                raise InputError("a plan needs at least 20 requests, or conversations, that arrive one after another")
            self._workloads[replication] = workload, (len(opening) - 1) / span * len(workload) / len(opening)
        return self._workloads[replication]

    def _guess(self, scenario: Scenario, timer: StepTimer, replication: int) -> float:
        """The rate at which as many decode as there is room for, by steps of nothing else; halved."""
        workload, _ = self._workload(replication)
        length = float(workload.prompt_len.mean() + workload.output_len.mean() / 2)
        room = (pool_size(scenario).blocks - 1) * scenario.memory.block_size
        rows = int(max(min(room / length, scenario.scheduler.max_num_seqs), 1))
        keys = int(rows * length)
        seconds = timer.ticks(rows, rows, keys, keys) / TICKS_PER_SECOND
        return max(rows / (seconds * float(workload.output_len.mean())) / 2, LOWEST)

    def _level(self, scenario: Scenario, rate: float, replication: int, timer: StepTimer) -> Level:
        workload, own = self._workload(replication)
        waits = np.zeros(len(workload), np.bool_) if workload.after is None else workload.after >= 0
        arrival = np.where(waits, workload.arrival, workload.arrival * (own / rate))
        warmup = WARMUP * float(arrival[~waits].max())
        watch = _Watch(scenario)
        simulation = Simulation(
            _changed(scenario, "metrics.warmup", min(warmup, 1e7)) or scenario,
            workload=replace(workload, arrival=arrival),
            timer=timer,
            observers=[watch],
        )
        level = _level_of(simulation.run(), rate, self.limits, scenario, watch, warmup, _delay(scenario))
        numbers = ", ".join(f"{limit.metric}.{limit.statistic} {number:.4g} s" for limit, number in zip(
            self.limits, level.numbers, strict=True))  # fmt: skip
        self.progress(f"{rate:.4g} requests/s: {numbers}, {'kept' if level.kept else 'broken'}")
        return level


def _searcher(
    shared: tuple[dict[str, Any], tuple[Limit, ...], float],
) -> Callable[[tuple[int, float]], tuple[float, list[str]]]:
    """Finds the highest rate of a replication at a pace, near to that of the first, and says how it got there."""
    described, limits, near = shared
    scenario = Scenario.model_validate(described)
    lines: list[str] = []
    search = _Search(scenario, limits, lines.append)

    def find(asked: tuple[int, float]) -> tuple[float, list[str]]:
        lines.clear()
        replication, pace = asked
        return _rate(search.highest(scenario, replication, near=near, pace=pace)), [*lines]

    return find


class _Paced:
    """Every step takes so many times as long."""

    def __init__(self, timer: StepTimer, pace: float) -> None:
        self._timer, self._pace = timer, pace

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        """See `StepTimer.ticks`."""
        ticks = self._timer.ticks(seqs, tokens, context, pairs, chunks)
        return ticks if self._pace == 1 else round(ticks * self._pace)

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        """See `StepTimer.move_ticks`."""
        return self._timer.move_ticks(copies, swaps)


class _Watch:
    """Whether arithmetic or memory held each step up."""

    def __init__(self, scenario: Scenario) -> None:
        self._memory, self._arithmetic = _terms(scenario)
        self.computing: list[bool] = []
        """of each step: whether arithmetic held it up longer"""

    def arrived(self, request: Request, accepted: bool) -> None: ...

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        chunks = Chunks(plan.chunks, plan.chunk_tokens, plan.chunk_context)
        step = plan.rows, plan.tokens, plan.context, plan.pairs, chunks
        self.computing.append(self._arithmetic.ticks(*step) > self._memory.ticks(*step))

    def committed(self, plan: StepPlan, ended: list[Branch]) -> None: ...


ENDLESS = 1e9
"""A share of what the hardware reaches with which nothing takes time."""


def _terms(scenario: Scenario) -> tuple[StepTimer, StepTimer]:
    """What a step would take by its memory alone, and by its arithmetic alone.

    Of a calibration: what every step takes and what its keys add, and what its tokens and pairs add; the other models
    of time know nothing of either, and memory stands for both.
    """
    timing = scenario.timing
    timer = make_timer(scenario)
    if isinstance(timer, RooflineTimer):
        model, hardware = scenario.model.resolve(), scenario.hardware.resolve()
        shares = timing.compute_efficiency or 1.0, timing.bandwidth_efficiency or 1.0
        return (
            RooflineTimer(model, hardware, compute_efficiency=ENDLESS, bandwidth_efficiency=shares[1]),
            RooflineTimer(model, hardware, compute_efficiency=shares[0], bandwidth_efficiency=ENDLESS),
        )
    if isinstance(timer, CalibratedTimer):
        known = timer.calibration
        none = {"per_row": 0.0, "per_decode_key": 0.0, "per_chunk": 0.0, "per_chunk_key": 0.0, "per_pair": 0.0}
        fixed = known.seconds[0]
        memory = none | {"per_decode_key": known.per_decode_key, "per_chunk_key": known.per_chunk_key}
        work = none | {"per_row": known.per_row, "per_chunk": known.per_chunk, "per_pair": known.per_pair}
        above = [max(seconds - fixed, 0.0) for seconds in known.seconds]
        return (
            CalibratedTimer(known.model_copy(update=memory | {"seconds": [fixed] * len(known.tokens)})),
            CalibratedTimer(known.model_copy(update=work | {"seconds": above})),
        )
    return timer, _Paced(timer, 0.0)


def _level_of(
    results: Results,
    rate: float,
    limits: Sequence[Limit],
    scenario: Scenario,
    watch: "_Watch",
    warmup: float,
    delay: float,
) -> Level:
    steps, summary = results.record.steps, results.summary
    begin, end = warmup * TICKS_PER_SECOND, results.record.requests["arrival"].max()
    after = (steps["t"] >= begin) & (steps["t"] <= end)  # once nobody comes any more, the server only empties
    lasted = steps["dt"] * after
    total = float(lasted.sum()) or 1.0
    waited = steps["waiting"] * lasted
    seats = steps["running"] >= scenario.scheduler.max_num_seqs
    budget = ~seats & (steps["scheduled_tokens"] >= scenario.scheduler.max_num_batched_tokens)
    shares = [
        float((waited * reason).sum()) / (float(waited.sum()) or 1.0) for reason in (~seats & ~budget, seats, budget)
    ]
    numbers = tuple(limit.of(summary) + (delay if limit.metric in CLIENTS else 0.0) for limit in limits)
    worst = max(zip(numbers, limits, strict=True), key=lambda pair: pair[0] / pair[1].seconds)[1]
    counts = waited if worst.metric in WAITS and waited.any() else lasted
    return Level(
        rate=rate,
        kept=not results.stalled
        and all(number <= limit.seconds for number, limit in zip(numbers, limits, strict=True)),
        numbers=numbers,
        output_tokens_per_s=summary["throughput"]["output_tokens_per_s"] or 0.0,
        running_mean=float((steps["running"] * lasted).sum()) / total,
        running_peak=int(steps["running"][after].max(initial=0)),
        memory_wait=shares[0],
        seats_wait=shares[1],
        budget_wait=shares[2],
        computing=float((counts * np.array(watch.computing)).sum()) / (float(counts.sum()) or 1.0),
        preemptions=summary["preemptions"],
        rejected=summary["requests"]["rejected"] / summary["requests"]["total"],
    )


def _delay(scenario: Scenario) -> float:
    """s between client and server, which a calibration knows of."""
    timer = make_timer(scenario)
    return timer.calibration.delay if isinstance(timer, CalibratedTimer) else 0.0


def _open(scenario: Scenario) -> Scenario:
    """With arrivals that have a rate."""
    if scenario.workload.trace is not None or hasattr(scenario.workload.arrivals, "rate"):
        return scenario
    return _changed(scenario, "workload.arrivals", {"process": "poisson", "rate": 1.0}) or scenario


def _changed(scenario: Scenario, key: str, value: Any) -> Scenario | None:
    """The scenario with another value of a key; None: it does not go with the others, or cannot be run."""
    data = scenario.model_dump(mode="json", exclude_none=True)
    table = data
    *tables, name = key.split(".")
    for step in tables:
        table = table[step]
    table[name] = value
    try:
        changed = Scenario.model_validate(data, strict=False)
        pool_size(changed)
    except ValueError:  # of pydantic, and InputError
        return None
    return changed


def _get(scenario: Scenario, key: str) -> int:
    section, name = key.split(".")
    return int(getattr(getattr(scenario, section), name))


def _rate(found: tuple[Level | None, Level]) -> float:
    return 0.0 if found[0] is None else found[0].rate


def sentences(found: Plan) -> Iterator[str]:
    """What a plan says, for a person."""
    setting = ", ".join(f"{key.split('.')[1]} {_get(found.scenario, key):,}" for key in GRID)
    model, hardware = found.scenario.model.resolve(), found.scenario.hardware.resolve()
    yield f"{model.name} on {hardware.count} x {hardware.name}, {setting}"
    yield f"pool of {found.pool:,} blocks, {found.pool_tokens:,} tokens; timing: {found.timing}"
    kept, broken = found.kept, found.broken
    if kept is None:
        yield f"Not even {broken.rate:.3g} requests/s keep {found.bound}."
    else:
        yield (
            f"{found.rate:.3g} requests/s within {', '.join(map(str, found.limits))}: 95 % interval {found.low:.3g} to "
            f"{found.high:.3g}, over {len(found.rates)} replications"
        )
        yield (
            f"in the first of them {kept.rate:.3g} requests/s: {kept.running_mean:.3g} users at once on average, "
            f"{kept.running_peak:,} at most; "
            f"{kept.output_tokens_per_s:,.0f} output tokens/s, {kept.preemptions:,} preemptions"
        )
    yield (
        f"limited by {found.limited_by}: at {broken.rate:.3g} requests/s {found.bound} breaks; of the waiting "
        f"{broken.memory_wait:.0%} is for memory, {broken.seats_wait:.0%} for a seat, {broken.budget_wait:.0%} for the "
        f"token budget; arithmetic holds steps up longer than memory {broken.computing:.0%} of that time"
    )
    if broken.rejected:
        yield f"{broken.rejected:.1%} of the requests are too long for the model, or the pool, and are refused"
    if kept is not None:
        yield (
            f"with every step {EFFICIENCY:.0%} slower the first replication carries {found.slower:.3g} requests/s, "
            f"{EFFICIENCY:.0%} quicker " + ("any rate" if found.quicker > HIGHEST / 10 else f"{found.quicker:.3g}")
        )

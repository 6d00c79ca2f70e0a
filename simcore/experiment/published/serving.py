"""Published tables of serving systems, played: `assets/published/*.toml` has the setting and the figures.

Each figure is the mean of several replications with the seeds 0, 1, ...; all figures of a setting share its model of
time and its distributions of lengths. Then each assumption is made 10 % larger, and all are played again on the same
seeds.
"""

import tomllib
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from importlib.resources import files
from math import erf, log, sqrt
from typing import Any, NamedTuple

import numpy as np

from simcore.experiment.published.rows import Row
from simcore.scenario import Scenario
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.simulation import Simulation
from simcore.study.workers import each
from simcore.ticks import TICKS_PER_SECOND, Tick, to_ticks

REPLICATIONS = 4
STUDENT = 3.182
"""Student's t with three degrees of freedom, two-sided 95 %."""
MOVED_REPLICATIONS = 2
"""Of what is compared on common seeds, which varies less."""
MOVED = 1.1
WARMUP = 0.1
"""Share of a run that is left out, while queues build up and lengths mix."""


class Case(NamedTuple):
    """What is played: a system under a load."""

    dataset: str
    system: str
    rate: float
    """1/s"""
    seconds: float
    samples: int = 1
    beam_switch: float = 0.0


class Run(NamedTuple):
    """A case, once."""

    case: Case
    moved: str
    """key of the assumption that is 10 % larger; empty: none"""
    seed: int


class Measured(NamedTuple):
    """Means over the time after the warm-up."""

    running: float
    """requests in the batch"""
    stored: float
    """share of the pool's slots that hold a token"""
    saved: float
    """blocks that sharing saves, as a share of those that there would be without it"""
    completed: float
    """requests that ended, 1/s"""


class ServingTable:
    """A published table of serving systems."""

    def __init__(self, setting: str, name: str) -> None:
        """A table of `assets/published/{setting}.toml`."""
        self._data = _read(setting)
        self._table = self._data["tables"][name]
        self.title = self._table["title"]
        self._said = [*self._data["assumptions"], *self._table["assumptions"]]
        keys = [item["key"] for item in self._said if "key" in item]
        figures = self._table["figures"]
        cases = {_case(figure): None for figure in figures}
        cases |= {_case(figure, figure["over"]): None for figure in figures if "over" in figure}
        self.runs = [Run(case, "", seed) for case in cases for seed in range(REPLICATIONS)]
        self.runs += [
            Run(case, key, seed)
            for key in keys
            for case in cases
            if _scenario(self._data, case, key) != _scenario(self._data, case)
            for seed in range(MOVED_REPLICATIONS)
        ]
        self._keys = keys

    def play(self, jobs: int, done: Callable[[], None]) -> list[Row]:
        """The rows. `done` is called after each of `runs`, which so many processes share."""
        measured = {}
        for run, result in zip(self.runs, each(_player, self._data, self.runs, jobs), strict=True):
            measured[run] = result
            done()
        return [self._row(figure, measured) for figure in self._table["figures"]]

    def _row(self, figure: Mapping[str, Any], measured: Mapping[Run, Measured]) -> Row:
        case = _case(figure)

        def ours(key: str, seeds: int) -> list[float]:
            """What the figure is in each replication."""
            runs = [Run(case, key, seed) for seed in range(seeds)]
            if "over" not in figure:
                return [getattr(_found(measured, run), self._table["quantity"]) for run in runs]
            rival = _case(figure, figure["over"])
            return [
                _found(measured, run).completed / _found(measured, run._replace(case=rival)).completed for run in runs
            ]

        values = ours("", REPLICATIONS)
        low, *high = np.atleast_1d(figure["published"]).tolist()
        relative, bound = self._table["relative"], figure.get("bound")
        notes = [figure["note"]] if "note" in figure else []
        few = range(MOVED_REPLICATIONS)
        return Row(
            name=self._name(figure),
            published=low,
            published_to=high[0] if high else None,
            ours=float(np.mean(values)),
            interval=STUDENT * float(np.std(values, ddof=1)) / sqrt(len(values)),
            bound=bound * low if relative and bound is not None else bound,
            unit="times" if "over" in figure else self._table["unit"],
            relative=relative,
            assumptions=(*(item["text"] for item in self._said), *notes),
            moved={key: sum(ours(key, len(few))) / sum(values[seed] for seed in few) - 1 for key in self._keys},
        )

    def _name(self, figure: Mapping[str, Any]) -> str:
        systems, case = self._data["systems"], _case(figure)
        name = f"{self._data['datasets'][case.dataset]['name']}, {case.rate:g} requests/s: "
        if case.samples > 1:
            return f"{name}{case.samples} {'beams' if case.beam_switch else 'samples'}"
        if "over" in figure:
            return f"{name}rate of {systems[case.system]['name']} over {systems[figure['over']]['name']}"
        return name + str(systems[case.system]["name"])


def scenario_of(setting: str, case: Case, *, moved: str = "", seed: int = 0) -> Scenario:
    """The scenario that a run plays."""
    return Scenario.model_validate(_scenario(_read(setting), case, moved) | {"seed": seed})


def play(scenario: Scenario, seconds: float) -> Measured:
    """Play a scenario up to a time, and take means from a tenth of it on."""
    end = to_ticks(seconds)
    until = _Until(end)
    simulation = Simulation(scenario, observers=[until])
    until.stop = simulation.stop
    record = simulation.run().record
    steps, begin = record.steps, round(end * WARMUP)
    lasted = (steps["t"] + steps["dt"]).clip(begin, end) - steps["t"].clip(begin, end)
    weights = lasted / (end - begin)
    slots = (simulation.pool.blocks - 1) * scenario.memory.block_size
    saved, used = weights @ steps["blocks_saved"], weights @ steps["blocks_used"]
    ended = record.requests["finished"]
    return Measured(
        running=float(weights @ steps["running"]),
        stored=float(weights @ steps["tokens_stored"]) / slots,
        saved=float(saved / (saved + used)),
        completed=int(((ended > begin) & (ended <= end)).sum()) / ((end - begin) / TICKS_PER_SECOND),
    )


def log_normal_mean(mean: float, cv: float, most: float) -> float:
    """The mean that a log-normal length of a CV must have before it is cut at `most`, so that `mean` is left.

    Raises ValueError where there is none. With m and s of the logarithm, what is left is
    exp(m + s^2/2) P(Z < (log most - m)/s - s) + most P(Z > (log most - m)/s).
    """
    spread = sqrt(log(1 + cv * cv))
    if not 0 < mean < most:
        raise ValueError(f"lengths cut at {most} cannot have a mean of {mean}")

    def left(whole: float) -> float:
        place = (log(most) - log(whole) + spread * spread / 2) / spread
        return whole * _normal(place - spread) + most * _normal(-place)

    low = high = mean
    while left(high) < mean:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) < mean else (low, middle)
    return high


def _normal(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


class _Until:
    """Ends a run at a time: what happens later is not looked at."""

    stop: Callable[[], None]

    def __init__(self, end: Tick) -> None:
        self._end = end

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        if start + ticks >= self._end:
            self.stop()

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        pass


def _player(data: dict[str, Any]) -> Callable[[Run], Measured]:
    def played(run: Run) -> Measured:
        scenario = Scenario.model_validate(_scenario(data, run.case, run.moved) | {"seed": run.seed})
        return play(scenario, run.case.seconds)

    return played


def _found(measured: Mapping[Run, Measured], run: Run) -> Measured:
    """A run that its assumption does not concern was not played again."""
    return measured[run] if run in measured else measured[run._replace(moved="")]


def _read(setting: str) -> dict[str, Any]:
    data: dict[str, Any] = tomllib.loads(files("assets").joinpath("published", f"{setting}.toml").read_text("utf-8"))
    return data


def _case(figure: Mapping[str, Any], system: str | None = None) -> Case:
    own = {name: figure[name] for name in Case._fields if name in figure}
    return Case(**own | ({"system": system} if system else {}))


def _scenario(data: Mapping[str, Any], case: Case, moved: str = "") -> dict[str, Any]:
    """The data of a scenario without its seed."""
    scenario: dict[str, Any] = deepcopy(data["scenario"])
    system = data["systems"][case.system]
    for section in ("memory", "scheduler"):
        scenario[section] = scenario.get(section, {}) | system.get(section, {})
    expected = case.rate * case.seconds
    scenario["workload"] = {
        "requests": round(expected + 5 * sqrt(expected)) + 1,  # that they end too soon has a chance of 3e-7
        "arrivals": {"process": "poisson", "rate": case.rate},
        "samples": case.samples,
        "beam_switch": case.beam_switch,
        **{name: dict(data["datasets"][case.dataset][name]) for name in ("prompt", "output")},
    }
    scenario["name"] = f"{case.dataset}-{case.system}"
    if moved:
        _move(scenario, moved.split("."))
    for name in ("prompt", "output"):
        length = scenario["workload"][name]
        mean = log_normal_mean(length["mean"], length["cv"], length["max"])
        scenario["workload"][name] = length | {"distribution": "lognormal", "mean": mean}
    return scenario


def _move(scenario: dict[str, Any], path: Iterable[str]) -> None:
    """Make a number 10 % larger, in place."""
    *tables, name = path
    table = scenario
    for step in tables:
        table = table[step]
    value = table[name] * MOVED
    table[name] = round(value) if isinstance(table[name], int) else value

"""The design of an experiment: factors and levels, settings, and the runs with their seeds."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np

import simcore
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.scenario.describe import toml_value
from simcore.schema import shown

MSER5 = "mser5"
MOST_RUNS = 1_000_000


@dataclass(frozen=True)
class Factor:
    """A key of the scenario, and the values that it takes, as TOML has them: texts, numbers, truth values, tables."""

    key: str
    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise InputError(f"{self.key}: a factor needs at least one value")
        seen: set[str] = set()
        for value in self.values:
            if (text := toml_value(value)) in seen:
                raise InputError(f"{self.key}: {level_label(value)} is there twice")
            seen.add(text)


@dataclass(frozen=True)
class Setting:
    """One level of each factor, and the scenario that it makes."""

    index: int
    levels: dict[str, Any]
    label: str
    """short, as in "s3-fifo, 16"; no two settings have the same"""
    scenario: Scenario


@dataclass(frozen=True)
class Run:
    """One replication of a setting."""

    setting: Setting
    replication: int
    scenario: Scenario
    """with a seed of its own"""
    key: str
    """the same for runs whose results must be the same: their scenario, the files that it reads, and the version"""
    warmup: str | None = None
    """`mser5`: the warm-up is to be found; None: it is the scenario's"""


@dataclass(frozen=True)
class Experiment:
    """A scenario, what varies in it, and how often each setting is run."""

    scenario: Scenario
    factors: tuple[Factor, ...] = ()
    replications: int = 10
    baseline: Mapping[str, Any] | None = None
    """levels of some factors; each setting is compared with the one that has these, and otherwise its own levels.
    None: all are compared with the first setting."""
    warmup: float | str | None = None
    """s, or "mser5"; None: the scenario's own"""
    confidence: float = 0.95
    policies: tuple[Path, ...] = ()
    """Python files of policies, which each worker runs"""
    source: str = field(default="vary", compare=False)
    """what errors call the place where the factors are given"""
    windows: bool = False
    """replication r plays the r-th of as many equal windows of the trace's time; otherwise each plays all of it"""

    def __post_init__(self) -> None:
        if self.replications < 1:
            raise InputError(f"replications is {self.replications}, but must be at least 1")
        if not 0.5 <= self.confidence < 1:
            raise InputError(f"confidence is {self.confidence}, but must be from 0.5 to below 1")
        if isinstance(self.warmup, str) and self.warmup != MSER5:
            raise InputError(f'warmup is {shown(self.warmup)}, but must be a number of seconds or "{MSER5}"')
        if isinstance(self.warmup, int | float) and not 0 <= self.warmup <= 1e7:
            raise InputError(f"warmup is {self.warmup}, but must be from 0 to 10,000,000 (s)")
        keys = [factor.key for factor in self.factors]
        if twice := next((key for i, key in enumerate(keys) if key in keys[:i]), None):
            raise InputError(f"{self.source}: {twice} is varied twice")
        count = self.replications
        for factor in self.factors:
            count *= len(factor.values)
        if count > MOST_RUNS:
            raise InputError(f"the experiment has {count:,} runs, and at most {MOST_RUNS:,} are possible")
        for key, level in (self.baseline or {}).items():
            levels = next((factor.values for factor in self.factors if factor.key == key), None)
            if levels is None:
                raise InputError(f"baseline: {key} is not varied; {', '.join(keys) or 'nothing'} is")
            if not _is_among(level, levels):
                known = ", ".join(map(level_label, levels))
                raise InputError(f"baseline: {key} is {level_label(level)}, but must be one of {known}")
        if self.windows:
            self._check_windows(keys)

    def _check_windows(self, keys: Sequence[str]) -> None:
        """Raises InputError where windows of the trace cannot be taken, or would not be the same in all settings."""
        workload = self.scenario.workload
        if workload.trace is None:
            raise InputError("windows are taken of a trace, and the workload is drawn: its replications differ anyway")
        if workload.arrivals is not None or workload.limit is not None:
            raise InputError("windows are of a trace's own time: leave out workload.arrivals and workload.limit")
        for key in keys:
            if key in ("workload", *(f"workload.{name}" for name in ("trace", "start", "end", "limit", "arrivals"))):
                raise InputError(f"{key} is varied, but with windows it must be the same in all settings")
        if self.replications < 2:
            raise InputError("one window is the whole trace: with windows, take at least 2 replications")

    @cached_property
    def spans(self) -> list[tuple[float, float]]:
        """[replications] of each window its start and its end (s of the trace's time), the end excluded.

        Empty without windows. Reads the trace. Raises InputError.
        """
        if not self.windows:
            return []
        from simcore.workload import make_workload

        section = self.scenario.workload
        played = make_workload(section.model_copy(update={"rate_scale": 1.0}), self.scenario.seed)
        if played.after is not None and (played.after >= 0).any():
            raise InputError(f"{section.trace}: its requests wait for one another, so there are no windows of its time")
        start = section.start or 0.0
        last = start + float(played.arrival.max()) if section.end is None else section.end
        edges = [float(f"{edge:.12g}") for edge in np.linspace(start, last, self.replications + 1).tolist()]
        if section.end is None:
            edges[-1] = float(f"{last + 0.001:.12g}")  # the last request is in the last window
        return list(pairwise(edges))

    @cached_property
    def settings(self) -> list[Setting]:
        """Every combination of levels, the last factor varying fastest. Raises InputError where one is no scenario."""
        made: list[Setting] = []
        for index, values in enumerate(product(*(factor.values for factor in self.factors))):
            levels = {factor.key: value for factor, value in zip(self.factors, values, strict=True)}
            changes = [f"{key}={toml_value(value)}" for key, value in levels.items()]
            if self.warmup is not None and self.warmup != MSER5:
                changes.append(f"metrics.warmup={float(self.warmup)!r}")
            label = ", ".join(map(level_label, values)) or self.scenario.name
            try:
                scenario = self.scenario.overridden(changes)
            except InputError as error:
                raise type(error)(str(error).replace("--set:", f"{self.source}:")) from None
            made.append(Setting(index, levels, label, scenario))
        return made

    def baseline_of(self, setting: Setting) -> Setting:
        """What a setting is compared with; itself, if it is a baseline."""
        if self.baseline is None:
            return self.settings[0]
        wanted = {**setting.levels, **self.baseline}
        return next(
            each
            for each in self.settings
            if all(_is_among(level, (wanted[key],)) for key, level in each.levels.items())
        )

    def runs(self) -> Iterator[Run]:
        """All runs, replication by replication, so that an experiment that is ended early has some of each setting."""
        own = tuple(_content(path) for path in self.policies)
        warmup = MSER5 if self.warmup == MSER5 else None
        for replication in range(self.replications):
            for setting in self.settings:
                changes: dict[str, Any] = {"seed": seed_of(setting.scenario.seed, replication)}
                if self.windows:
                    start, end = self.spans[replication]
                    window = {"start": start, "end": end}
                    changes["workload"] = setting.scenario.workload.model_copy(update=window)
                scenario = setting.scenario.model_copy(update=changes)
                yield Run(setting, replication, scenario, _key(scenario, own, warmup), warmup)


def seed_of(seed: int, replication: int) -> int:
    """The seed of a replication, the same in every setting: common random numbers.

    Replications of one seed, and those of two seeds, are independent streams of numpy's SeedSequence.
    """
    words = np.random.SeedSequence(seed, spawn_key=(replication,)).generate_state(1, np.uint64)
    return int(words[0] >> np.uint64(1))


def level_label(value: Any) -> str:
    """A level as a table shows it: s3-fifo, 16, true, s3-fifo(small=0.1)."""
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        (first, name), *rest = value.items() or [("", "{}")]
        inner = ", ".join(f"{key}={level_label(item)}" for key, item in rest)
        if isinstance(name, str) and first in ("policy", "process", "distribution", "preset"):
            return f"{name}({inner})" if inner else name
    return toml_value(value)


def _is_among(value: Any, others: Iterable[Any]) -> bool:
    """Equal as TOML: true is not 1, though Python says so; 1 and 1.0 are one level."""
    return any(value == other and isinstance(value, bool) == isinstance(other, bool) for other in others)


def _key(scenario: Scenario, policies: tuple[str, ...], warmup: str | None) -> str:
    data = scenario.model_dump()
    del data["name"]
    described = json.dumps([_with_contents(data), policies, warmup, code_version()], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()


def _with_contents(value: Any) -> Any:
    """The same data with the content of a file in the place of its name."""
    match value:
        case dict():
            return {name: _with_contents(item) for name, item in value.items()}
        case list() | tuple():
            return [_with_contents(item) for item in value]
        case Path():
            return _content(value)
        case _:
            return value


def _content(path: Path) -> str:
    """A digest of all that a file, or a folder of files, holds. Raises InputError where it cannot be read."""
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        marks = tuple((file, file.stat().st_size, file.stat().st_mtime_ns) for file in files)
        return _digest(path, marks)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


@cache
def _digest(path: Path, marks: tuple[tuple[Path, int, int], ...]) -> str:
    """Files are read again only when they have changed."""
    digest = hashlib.sha256()
    for file, _, _ in marks:
        with file.open("rb") as opened:
            name = "" if file == path else str(file.relative_to(path))
            digest.update(f"{name}\0{hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    return digest.hexdigest()


@cache
def code_version() -> str:
    """What computes the results: the version, and a digest of the source, which may have changed without one."""
    try:
        number = version("kvscope")
    except PackageNotFoundError:
        number = "?"
    digest = hashlib.sha256()
    home = Path(simcore.__file__).parent
    for file in sorted(home.rglob("*.py")):
        digest.update(file.relative_to(home).as_posix().encode() + b"\0" + file.read_bytes())
    return f"{number}+{digest.hexdigest()[:12]}, numpy {np.__version__}"

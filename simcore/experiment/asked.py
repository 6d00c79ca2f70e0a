"""An experiment as a person asks for it: `KEY=1,2,4`, `KEY=1:10:2`, `e2e.p99 < 2s`, or a TOML file."""

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.experiment.design import Experiment, Factor
from simcore.experiment.measures import BY_NAME, Metric
from simcore.scenario import Scenario
from simcore.scenario.load import parse_toml, read_text
from simcore.schema import shown

MOST_LEVELS = 10_000
UNITS = {"": 1.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "%": 1e-2}
"""What a limit may be given in."""
_RELATIONS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
FILE_KEYS = (
    "scenario", "set", "factors", "replications", "baseline", "warmup", "confidence", "windows", "metrics", "until",
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """A limit on a metric, as in `e2e.p99 < 2s`."""

    metric: Metric
    relation: str
    """<, <=, > or >="""
    limit: float
    """in the metric's unit"""

    def holds(self, value: float) -> bool:
        """Whether a value keeps the limit."""
        return _RELATIONS[self.relation](value, self.limit)

    def __str__(self) -> str:
        unit = "" if self.metric.unit == "1" else f" {self.metric.unit}"
        return f"{self.metric.name} {self.relation} {self.limit:g}{unit}"


def metric_of(name: str, place: str = "") -> Metric:
    """A metric by its name. Raises InputError, which begins with `place`, and says what may have been meant."""
    if name not in BY_NAME:
        near = get_close_matches(name.lower(), BY_NAME, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(BY_NAME)}"
        raise InputError(f"{place}there is no metric {shown(name)}; {hint}")
    return BY_NAME[name]


def conditions_of(text: str, option: str = "until") -> list[Condition]:
    """Conditions with commas or "and" between them, as in `ttft.p99 < 500ms, e2e.p99 < 2s`. Raises InputError.

    A number alone is in the metric's own unit. `option` is what errors call the place where they are given.
    """
    return [_condition(part.strip(), f"{option} {shown(part.strip())}") for part in re.split(r",|\band\b", text)]


def _condition(text: str, place: str) -> Condition:
    match = re.fullmatch(r"([\w.]+)\s*(<=|>=|<|>)\s*([\d.eE+-]+)\s*(s|ms|us|%|)", text)
    try:
        limit = float(match[3]) if match else float("nan")
    except ValueError:
        match = None
    if match is None or not np.isfinite(limit):
        raise InputError(f"{place}: must be METRIC < NUMBER with its unit, as in e2e.p99 < 2s")
    if limit < 0:
        raise InputError(f"{place}: the limit is {match[3]}, but no metric is ever below 0")
    metric = metric_of(match[1], f"{place}: ")
    known = ("", "s", "ms", "us") if metric.unit == "s" else ("", "%") if metric.unit == "1" else ("",)
    if match[4] not in known:
        words = {"s": "s, ms or us", "1": "%, or a number alone"}.get(metric.unit, f"{metric.unit}, a number alone")
        raise InputError(f"{place}: {metric.name} is in {words}")
    return Condition(metric, match[2], limit * UNITS[match[4]])


def factor_of(text: str, option: str = "--vary") -> Factor:
    """A factor from `KEY=VALUES`. Raises InputError.

    Values are a list with commas between them, each as TOML has it or a bare word; or a range FIRST:LAST:STEP, both
    ends included; or log:FIRST:LAST:COUNT, so many values with equal ratios.
    """
    key, equals, values = (part.strip() for part in text.partition("="))
    if not equals or not values or not all(key.split(".")):
        raise InputError(f"{option} {shown(text)}: must be KEY=VALUE,VALUE as in memory.eviction=lru,arc")
    levels = _range(values, f"{option} {key}") if re.fullmatch(r"(log:)?[^:,\[{\"']+:[^,\[{\"']+", values) else None
    if levels is None:
        levels = [_level(each, key, option) for each in _split(values)]
    try:
        return Factor(key, tuple(levels))
    except InputError as error:
        raise InputError(f"{option} {error}") from None


def levels_of(texts: Iterable[str], option: str = "--baseline") -> dict[str, Any]:
    """One level of each factor, from KEY=VALUE with commas between them. Raises InputError."""
    levels: dict[str, Any] = {}
    for text in texts:
        for part in _split(text):
            factor = factor_of(part, option)
            levels[factor.key] = factor.values[0]
    return levels


def _range(text: str, place: str) -> list[Any] | None:
    """The numbers of a range; None: it is none, as a text with a colon may be."""
    logarithmic = text.startswith("log:")
    try:
        parts = [_number(part) for part in text.removeprefix("log:").split(":")]
    except ValueError:
        return None
    if len(parts) not in ((3,) if logarithmic else (2, 3)):
        raise InputError(f"{place}: {shown(text)} must be FIRST:LAST:STEP, or log:FIRST:LAST:COUNT")
    first, last, step = parts if len(parts) == 3 else (*parts, 1)
    if logarithmic:
        if not (0 < first < last and isinstance(step, int) and 2 <= step <= MOST_LEVELS):
            raise InputError(
                f"{place}: {shown(text)} must be log:FIRST:LAST:COUNT with 0 < FIRST < LAST, COUNT 2 or more"
            )
        values = np.geomspace(first, last, step).tolist()
        whole = isinstance(first, int) and isinstance(last, int)
        return list(dict.fromkeys(round(value) for value in values)) if whole else [float(f"{v:.6g}") for v in values]
    if step <= 0 or last < first:
        raise InputError(f"{place}: {shown(text)} must be FIRST:LAST:STEP with FIRST <= LAST, STEP above 0")
    if (last - first) / step > MOST_LEVELS:
        raise InputError(f"{place}: {shown(text)} gives more than {MOST_LEVELS:,} values")
    count = int((last - first) / step * (1 + 1e-12)) + 1
    values = [first + i * step for i in range(count)]
    return values if isinstance(first + step, int) else [float(f"{value:.12g}") for value in values]


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not np.isfinite(value):
            raise ValueError from None
        return value


def _split(text: str) -> list[str]:
    """The parts between commas that stand in no brackets and no quotes."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter in "[{(":
            depth += 1
        elif letter in "]})":
            depth -= 1
        if letter == "," and not quote and depth <= 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def _level(text: str, key: str, option: str) -> Any:
    """A value as TOML has it; a bare word is a text."""
    if not text:
        raise InputError(f"{option} {key}: a value is missing between two commas")
    try:
        data = parse_toml(f"value = {text}", key)
    except InputError:
        if text[0] in "[{\"'":
            raise InputError(f"{option} {key}: {shown(text)} is no TOML value") from None
        return text
    return data["value"] if len(data) == 1 else text


@dataclass(frozen=True)
class Asked:
    """An experiment's file."""

    experiment: Experiment
    metrics: tuple[Metric, ...]
    """those to be shown; empty: the usual ones"""
    until: tuple[Condition, ...]
    """what the highest rate is to keep; empty: nothing is searched"""


def is_experiment(path: Path) -> bool:
    """Whether a TOML file describes an experiment, and not a scenario. Raises InputError where it cannot be read."""
    return "factors" in parse_toml(read_text(path), str(path))


def read_experiment(path: Path, load: Callable[[str, list[str]], Scenario]) -> Asked:
    """An experiment from its TOML file: keys as `FILE_KEYS`, factors as a table of lists or of texts as in `--vary`.

    `load` makes a scenario of what `scenario` says (a file, relative to this one, or a preset) and of the overrides in
    `set`. Raises InputError that names the file and the key.
    """
    data = parse_toml(read_text(path), str(path))
    for name in data:
        if name not in FILE_KEYS:
            near = get_close_matches(name, FILE_KEYS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"an experiment has {', '.join(FILE_KEYS)}"
            raise InputError(f"{path}: {name} is not a key; {hint}")
    name = _typed(data, path, "scenario", str, "default")
    beside = path.parent / name
    changes = [_typed({"set": each}, path, "set", str, "") for each in _typed(data, path, "set", list, [])]
    given = _flat(_typed(data, path, "factors", dict, {}))
    warmup = data.get("warmup")
    if warmup is not None and not isinstance(warmup, str):  # of a text the experiment says what it must be
        warmup = _number_of(data, path, "warmup", 0.0)
    named, until = _typed(data, path, "metrics", list, []), _typed(data, path, "until", str, "")
    baseline = dict(_flat(_typed(data, path, "baseline", dict, {}))) if "baseline" in data else None
    try:
        factors = [_factor(key, values, path) for key, values in given]
        experiment = Experiment(
            load(str(beside) if name.endswith(".toml") else name, changes),
            tuple(factors),
            _typed(data, path, "replications", int, 10),
            baseline,
            warmup,
            _number_of(data, path, "confidence", 0.95),
            source=str(path),
            windows=_typed(data, path, "windows", bool, False),
        )
        metrics = tuple(metric_of(str(each)) for each in named)
        conditions = tuple(conditions_of(until)) if until else ()
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(str(path)) else f"{path}: {error}") from None
    return Asked(experiment, metrics, conditions)


def _factor(key: str, values: Any, path: Path) -> Factor:
    if isinstance(values, str):
        return factor_of(f"{key}={values}", f"{path}: factors")
    if not isinstance(values, list):
        raise InputError(f"{path}: factors: {key} is {shown(values)}, but must be a list of values, or a text")
    if not all(key.split(".")):
        raise InputError(f"{path}: factors: {shown(key)} is no key of a scenario")
    return Factor(key, tuple(values))


def _flat(table: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`memory.eviction = [...]` is two tables to TOML; quoted, it is one key."""
    found: list[tuple[str, Any]] = []
    for name, value in table.items():
        place = f"{prefix}{name}"
        if isinstance(value, dict) and not _is_level(value):
            found += _flat(value, f"{place}.")
        else:
            found.append((place, value))
    return found


def _is_level(table: dict[str, Any]) -> bool:
    """Whether a table chooses something, and is no mere place of keys."""
    return any(isinstance(table.get(name), str) for name in ("policy", "process", "distribution"))


def _number_of(data: dict[str, Any], path: Path, name: str, default: float) -> float:
    try:
        return float(_typed(data, path, name, (int, float), default))
    except OverflowError:
        raise InputError(f"{path}: {name} is a number with hundreds of digits") from None


def _typed(data: dict[str, Any], path: Path, name: str, kind: Any, default: Any) -> Any:
    value = data.get(name, default)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        words = {str: "text", list: "a list", dict: "a table", int: "a whole number", bool: "true or false"}.get(
            kind, "a number"
        )
        raise InputError(f"{path}: {name} is {shown(value)}, but must be {words}")
    return value

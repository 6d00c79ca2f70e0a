"""A comparison back from the folder that `simcore.export.report.write` made of it."""

from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.experiment.comparison import Comparison
from simcore.experiment.design import Experiment, Factor
from simcore.experiment.measures import METRICS
from simcore.export.report.folder import DESIGN, LATENCIES, RUNS, SAMPLES, SCENARIO
from simcore.export.report.stored import read_frame
from simcore.scenario import Scenario
from simcore.scenario.load import parse_toml, read_text

KEYS = {
    "scenario": str, "replications": int, "confidence": (int, float), "warmup": (int, float, str), "policies": list,
    "baseline": dict, "vary": dict,
}  # fmt: skip
"""Of experiment.toml, and what each may be."""


def load(directory: str | Path) -> Comparison:
    """What was written into a folder, as it was before.

    Policies that a person brought must be loaded first (`simcore.load_policy`): no code of the folder is run. Raises
    InputError that names the file which is missing, broken or does not fit the others.
    """
    place = Path(directory)
    if not place.is_dir():
        raise InputError(f"{place}: is no folder of results")
    experiment = _experiment(place)
    runs, samples, latencies = (read_frame(place / name) for name in (RUNS, SAMPLES, LATENCIES))
    _check(place / RUNS, runs, experiment)
    for name, frame, wanted in (
        (SAMPLES, samples, {"setting", "metric", "q", "value"}),
        (LATENCIES, latencies, {"setting", "replication", "metric", "count", "values"}),
    ):
        if missing := sorted(wanted - set(frame.columns)):
            raise InputError(f"{place / name}: has no column {missing[0]}")
    return Comparison(experiment, runs, samples, latencies)


def _experiment(place: Path) -> Experiment:
    source = place / DESIGN
    data = parse_toml(read_text(source), str(source))
    for key, value in data.items():
        if key not in KEYS:
            raise InputError(f"{source}: {key} is no key of it; there are {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise InputError(f"{source}: {key} is {value!r}, which is of another kind than it must be")
    vary: dict[str, Any] = data.get("vary", {})
    for key, values in vary.items():
        if not isinstance(values, list):
            raise InputError(f"{source}: vary: {key} must be a list of values")
    scenario = place / SCENARIO
    experiment = Experiment(
        Scenario.load(scenario),
        tuple(Factor(key, tuple(values)) for key, values in vary.items()),
        data.get("replications", 10),
        data.get("baseline"),
        data.get("warmup"),
        data.get("confidence", 0.95),
        tuple(map(Path, map(str, data.get("policies", [])))),
        source=str(scenario),
    )
    if not experiment.settings:
        raise InputError(f"{source}: has no settings")
    return experiment


def _check(path: Path, runs: Any, experiment: Experiment) -> None:
    """The runs are of this experiment."""
    factors = [factor.key for factor in experiment.factors]
    for name in ("setting", "label", *factors, "replication", "seed", "key", "status", "error", "warmup"):
        if name not in runs.columns:
            raise InputError(f"{path}: has no column {name}, so it is not of this experiment")
    for metric in METRICS:
        if metric.name not in runs.columns:
            raise InputError(f"{path}: has no column {metric.name}: it was written by another version")
    labels = [setting.label for setting in experiment.settings]
    found = set(zip(runs["setting"].to_list(), runs["label"].to_list(), strict=True))
    if strange := sorted(found - set(enumerate(labels)), key=str):
        raise InputError(f"{path}: has a setting {strange[0][1]!r} that is not in {DESIGN}")

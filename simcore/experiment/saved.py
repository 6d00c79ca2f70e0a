"""A comparison back from the folder that `simcore.export.report.write` made of it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.experiment.asked import read_experiment
from simcore.experiment.comparison import Comparison
from simcore.experiment.design import Experiment
from simcore.experiment.measures import METRICS
from simcore.export.report.folder import DESIGN, LATENCIES, RUNS, SAMPLES
from simcore.export.report.stored import read_frame
from simcore.scenario import Scenario
from simcore.scenario.policies import load_policy


def load(directory: str | Path, policies: Sequence[str | Path] = ()) -> Comparison:
    """What was written into a folder, as it was before.

    `policies`: Python files of policies that its settings name; no code that the folder names is run. Raises InputError
    that names the file which is missing, broken or does not fit the others.
    """
    for file in policies:
        load_policy(file)
    place = Path(directory)
    if not place.is_dir():
        raise InputError(f"{place}: is no folder of results")
    experiment = read_experiment(place / DESIGN, lambda name, changes: Scenario.load(name, changes)).experiment
    experiment = replace(experiment, policies=tuple(map(Path, policies)))
    runs, samples, latencies = (read_frame(place / name) for name in (RUNS, SAMPLES, LATENCIES))
    _check_runs(place / RUNS, runs, experiment)
    for name, frame, wanted in (
        (SAMPLES, samples, ("setting", "metric", "q", "value")),
        (LATENCIES, latencies, ("setting", "replication", "metric", "count", "values")),
    ):
        if missing := [column for column in wanted if column not in frame.columns]:
            raise InputError(f"{place / name}: has no column {missing[0]}")
    return Comparison(experiment, runs, samples, latencies)


def _check_runs(path: Path, runs: Any, experiment: Experiment) -> None:
    """They are of this experiment, and of this version."""
    factors = (factor.key for factor in experiment.factors)
    for name in ("setting", "label", *factors, "replication", "seed", "key", "status", "error", "warmup"):
        if name not in runs.columns:
            raise InputError(f"{path}: has no column {name}, so its runs are not those of {DESIGN}")
    for metric in METRICS:
        if metric.name not in runs.columns:
            raise InputError(f"{path}: has no column {metric.name}: it was written by another version")
    settings = {(setting.index, setting.label) for setting in experiment.settings}
    found = set(zip(runs["setting"].to_list(), runs["label"].to_list(), strict=True))
    if strange := sorted(found - settings, key=str):
        raise InputError(f"{path}: has a setting {strange[0][1]!r}, which {DESIGN} does not have")

"""One run, as a worker does it: from plain data to plain data, so that it may be done anywhere."""

import atexit
import hashlib
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from simcore.errors import InputError
from simcore.experiment.design import MSER5, Run, code_version
from simcore.experiment.measures import LATENCIES, measured
from simcore.experiment.statistics import mser5, sketch
from simcore.policies.families import blame
from simcore.record import metrics
from simcore.record.results import Results
from simcore.scenario import Scenario
from simcore.scenario.policies import load_policy
from simcore.simulation import simulate
from simcore.ticks import TICKS_PER_SECOND, to_ticks

DONE, STALLED, FAILED = "done", "stalled", "failed"


@dataclass(frozen=True)
class PolicyFile:
    """A Python file that a person brought, with its text: another machine does not have the file."""

    path: str
    text: str

    @classmethod
    def read(cls, path: Path) -> "PolicyFile":
        """Raises InputError where it cannot be read."""
        try:
            return cls(os.path.abspath(path), path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read: {error}") from None


@dataclass(frozen=True)
class Task:
    """What a worker is told."""

    key: str
    scenario: dict[str, Any]
    """as TOML has it"""
    warmup: str | None
    policies: tuple[PolicyFile, ...] = ()
    version: str = field(default_factory=code_version)

    @classmethod
    def of(cls, run: Run, policies: Sequence[PolicyFile] = ()) -> "Task":
        """What has to be done for a run."""
        return cls(run.key, run.scenario.model_dump(mode="json", exclude_none=True), run.warmup, tuple(policies))


@dataclass(frozen=True)
class Outcome:
    """What came of a run."""

    key: str
    status: str
    """done, stalled or failed"""
    error: str | None = None
    """a sentence, unless it is done; of a run that is done, what to beware of"""
    warmup: float = 0.0
    """s; what was left out at the beginning"""
    metrics: dict[str, float | None] = field(default_factory=dict)
    latencies: dict[str, tuple[int, list[float]]] = field(default_factory=dict)
    """of each metric how many values there are, and a sketch of them (s)"""
    worker: str = ""
    """the process that did it"""
    cpu_s: float = 0.0


def play(task: Task) -> Outcome:
    """Do a run. Whatever goes wrong with it is part of the outcome."""
    begun = time.process_time()
    try:
        outcome = _play(task)
    except InputError as error:
        outcome = Outcome(task.key, FAILED, str(error))
    except MemoryError:
        outcome = Outcome(task.key, FAILED, "there is not enough memory for this run")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a policy that was brought may raise anything; the other runs go on
        outcome = Outcome(task.key, FAILED, blame(error) or f"{type(error).__name__}: {error}")
    return replace(outcome, worker=f"{socket.gethostname()}:{os.getpid()}", cpu_s=time.process_time() - begun)


def _play(task: Task) -> Outcome:
    if task.version != code_version():
        raise InputError(f"the worker has KVScope {code_version()}, and {task.version} is wanted")
    for policy in task.policies:
        _load(policy)
    scenario = Scenario.model_validate(task.scenario)
    results, error = simulate(scenario), None
    if task.warmup == MSER5:
        warmup, steady = _warmup(results)
        error = None if steady else "MSER-5 finds no steady part: take more requests, or a lower rate"
        settled = scenario.metrics.model_copy(update={"warmup": warmup})
        results = replace(results, scenario=scenario.model_copy(update={"metrics": settled}))
    status = DONE
    if results.stalled:
        left = len(results.unfinished)
        status, error = STALLED, f"it could not go on; {left:,} requests were not served"
    return Outcome(
        task.key, status, error, results.scenario.metrics.warmup, measured(results.summary), _latencies(results)
    )


def _warmup(results: Results) -> tuple[float, bool]:
    """The time until which MSER-5 leaves requests out, and whether what is left is steady.

    By their times to the first token, in order of arrival: these feel both the queue and the cache, and unlike whole
    times do not vary with the length of the output.
    """
    ttft, arrival = metrics.latencies(results.record).ttft, results.record.requests["arrival"]
    served = np.flatnonzero(~np.isnan(ttft))
    served = served[np.argsort(arrival[served], kind="stable")]
    first, steady = mser5(ttft[served])
    return float(arrival[served[first]] / TICKS_PER_SECOND) if first else 0.0, steady


def _latencies(results: Results) -> dict[str, tuple[int, list[float]]]:
    record = results.record
    late = record.requests["arrival"] >= to_ticks(results.scenario.metrics.warmup)
    times, found = metrics.latencies(record), {}
    for name in LATENCIES:
        if name == "itl":
            ticks, often = metrics.TokenGaps(record).distribution(late)
            found[name] = sketch(ticks[often > 0] / TICKS_PER_SECOND, often[often > 0])
        else:
            values = getattr(times, name)[late]
            found[name] = sketch(values[~np.isnan(values)])
    return found


_loaded: dict[str, str] = {}
"""The policies that this process has, by the path of their file: its text."""


def _load(policy: PolicyFile) -> None:
    """Unless it is there already. The file itself, if this machine has it, so that errors name it."""
    if _loaded.get(policy.path) == policy.text:
        return
    path = Path(policy.path)
    try:
        there = path.read_text(encoding="utf-8") == policy.text
    except (OSError, UnicodeDecodeError):
        there = False
    if there:
        load_policy(path)
    else:
        copy = _copies() / hashlib.sha256(policy.path.encode()).hexdigest()[:12] / path.name
        copy.parent.mkdir(exist_ok=True)  # always the same place, so that a new text replaces the old policy
        copy.write_text(policy.text, encoding="utf-8")
        load_policy(copy)
    _loaded[policy.path] = policy.text


@cache
def _copies() -> Path:
    """Where this process puts the files of others, until it ends."""
    folder = TemporaryDirectory(prefix="kvscope-policies-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return Path(folder.name)

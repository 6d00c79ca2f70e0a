"""Synthetic workloads as a whole: common random numbers, repeatability, size."""

import tracemalloc
from hashlib import sha256
from typing import Any

import numpy as np
import pytest

from simcore.scenario.workload import WorkloadSection
from simcore.workload import Workload, make_workload

CONVERSATIONS = {"turns": {"distribution": "geometric", "mean": 4.0}, "system_prompts": 8}


def make(seed: int = 0, **keys: Any) -> Workload:
    return make_workload(WorkloadSection.model_validate({"requests": 2000} | keys), seed)


def digest(workload: Workload) -> str:
    """A checksum of every column."""
    columns: list[np.ndarray[Any, Any] | None]
    columns = [workload.arrival, workload.prompt_len, workload.output_len, workload.after, workload.output_source]
    if workload.runs is not None:
        columns += [workload.runs.offsets, workload.runs.source, workload.runs.length]
    wide = [column.astype("<f8").tobytes() for column in columns if column is not None]
    return sha256(b"".join(wide)).hexdigest()[:16]


def test_requests_without_conversations_share_nothing() -> None:
    workload = make()
    assert len(workload) == 2000
    assert (workload.format, workload.dropped, workload.skipped) == ("synthetic", 0, 0)
    assert [workload.runs, workload.output_source, workload.after, workload.samples] == [None] * 4


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"output": {"distribution": "uniform"}}, ["arrival", "prompt_len"]),
        ({"prompt": {"distribution": "zipf"}}, ["arrival", "output_len"]),
        ({"arrivals": {"process": "bursts"}}, ["prompt_len", "output_len"]),
    ],
)
def test_a_change_of_one_thing_leaves_the_others(changed: dict[str, Any], same: list[str]) -> None:
    before, after = make(), make(**changed)
    columns = ["arrival", "prompt_len", "output_len"]
    assert [name for name in columns if np.array_equal(getattr(before, name), getattr(after, name))] == same


def test_a_higher_rate_is_the_same_course_of_events() -> None:
    slow, fast = (make(arrivals={"process": "poisson", "rate": rate}) for rate in (1.0, 4.0))
    assert fast.arrival * 4 == pytest.approx(slow.arrival, abs=0.01)


def test_longer_outputs_cut_conversations_but_keep_arrivals_and_messages() -> None:
    short, long = (
        make(conversations=CONVERSATIONS, output={"distribution": "fixed", "tokens": tokens}) for tokens in (10, 10_000)
    )
    assert short.after is not None
    assert long.after is not None
    few, many = short.arrival[short.after == -1], long.arrival[long.after == -1]
    assert len(few) < len(many)
    assert many[: len(few)].tolist() == few.tolist()


def test_seeds_differ() -> None:
    assert digest(make(1)) != digest(make(2))
    assert digest(make(1, conversations=CONVERSATIONS)) != digest(make(2, conversations=CONVERSATIONS))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, "7830625f39fe3293"),
        ({"conversations": CONVERSATIONS}, "b24f3a1f41ae4b73"),
        ({"prompt": {"distribution": "pareto-mixture"}, "output": {"distribution": "exponential"}}, "f869454303370618"),
        ({"prompt": {"distribution": "zipf"}, "arrivals": {"process": "closed-loop"}}, "f3bcfc3c66035ac9"),
    ],
)
def test_same_bits_on_every_platform(keys: dict[str, Any], expected: str) -> None:
    assert digest(make(seed=3, **keys)) == expected


def test_parallel_samples_are_data() -> None:
    workload = make(samples=4)
    assert workload.samples is not None
    assert set(workload.samples.tolist()) == {4}


@pytest.mark.parametrize(
    ("requests", "keys", "bytes_each"), [(1_000_000, {}, 80), (100_000, {"conversations": CONVERSATIONS}, 400)]
)
def test_a_million_requests_fit_in_memory(requests: int, keys: dict[str, Any], bytes_each: int) -> None:
    tracemalloc.start()
    try:
        workload = make(requests=requests, **keys)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(workload) == requests
    assert peak < requests * bytes_each

"""A cache study misses exactly where libCacheSim does (tests/data/eviction/README.md)."""

import csv
import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore.policies.eviction import EVICTION, Setting

DATA = Path(__file__).parents[1] / "data" / "eviction"
SIZES = (1000, 5000, 10000, 50000)
FEW_SIZES = (1000, 10000)
EQUAL = {
    "lru": "LRU",
    "fifo": "FIFO",
    "lfu": "LFU",
    "clock": "Clock",
    "2q": "2Q",
    "arc": "ARC",
    "sieve": "SIEVE",
    "s3-fifo": "S3-FIFO",
    "min": "Belady",
}
EQUAL_TOO = {"lru-k": "LRU-2", "slru": "SLRU"}
CLOSE = {"gdsf": ("GDSF", 0.001), "lfuda": ("LFUDA", 0.001), "w-tinylfu": ("W-TinyLFU", 0.02)}


@cache
def zipf() -> list[int]:
    weights = np.arange(1, 100_001) ** -1.0
    draws = np.random.default_rng(1).random(1_000_000)
    names = np.searchsorted(np.cumsum(weights) / np.sum(weights), draws, side="right").astype("<i8")
    assert hashlib.sha256(names.tobytes()).hexdigest().startswith("ec7df219bb0e7bf86c33015c0bd2744e6b38590c1800bd7b")
    return list(map(int, names))


@cache
def misses() -> dict[tuple[str, int], int]:
    with (DATA / "zipf.csv").open(encoding="utf-8") as file:
        return {(row["policy"], int(row["cache_size"])): int(row["misses"]) for row in csv.DictReader(file)}


def replay(policy: str, names: list[int], capacity: int, **parameters: Any) -> bytearray:
    order = EVICTION[policy](**parameters)
    order.begin(Setting(capacity, seed=1))
    return order.replay(names, capacity)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("policy", EQUAL)
def test_misses_are_those_of_libcachesim(policy: str, size: int) -> None:
    assert replay(policy, zipf(), size).count(0) == misses()[EQUAL[policy], size]


@pytest.mark.parametrize("size", FEW_SIZES)
@pytest.mark.parametrize("policy", EQUAL_TOO)
def test_misses_of_others_are_too(policy: str, size: int) -> None:
    assert replay(policy, zipf(), size).count(0) == misses()[EQUAL_TOO[policy], size]


@pytest.mark.parametrize("size", FEW_SIZES)
@pytest.mark.parametrize("policy", CLOSE)
def test_misses_are_close_to_those_of_libcachesim(policy: str, size: int) -> None:
    theirs, tolerance = CLOSE[policy]
    assert replay(policy, zipf(), size).count(0) == pytest.approx(misses()[theirs, size], rel=tolerance)


@pytest.mark.parametrize("size", FEW_SIZES)
def test_random_misses_as_often_as_fifo_when_accesses_are_independent(size: int) -> None:
    """In the long run exactly (E. Gelenbe, IEEE Trans. Computers C-22, 1973, page 611)."""
    assert replay("random", zipf(), size).count(0) == pytest.approx(misses()["FIFO", size], rel=0.003)


@pytest.mark.parametrize("policy", [*EQUAL, *EQUAL_TOO])
def test_the_same_accesses_hit(policy: str) -> None:
    tiny = json.loads((DATA / "tiny.json").read_text(encoding="utf-8"))
    assert (
        "".join(map(str, replay(policy, tiny["names"], tiny["capacity"]))) == tiny["hits"][(EQUAL | EQUAL_TOO)[policy]]
    )


def test_parameters_count() -> None:
    names = zipf()[:100_000]
    assert replay("lru-k", names, 1000, k=1) == replay("lru", names, 1000)
    others: dict[str, dict[str, Any]] = {
        "s3-fifo": {"small": 0.5},
        "2q": {"fresh": 0.5},
        "slru": {"segments": 2},
        "w-tinylfu": {"window": 0.5},
    }
    for policy, parameters in others.items():
        assert replay(policy, names, 1000, **parameters) != replay(policy, names, 1000)

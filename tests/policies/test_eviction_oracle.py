"""Eviction policies against libCacheSim's counts, miss for miss."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore.policies.eviction import EVICTION, Setting
from simcore.policies.eviction.base import NEVER_AGAIN
from simcore.policies.eviction.random import RandomChoice

DATA = Path(__file__).parents[1] / "data" / "eviction"
ZIPF = json.loads((DATA / "zipf.json").read_text())
TINY = json.loads((DATA / "tiny.json").read_text())
SAME = {
    "lru": "LRU",
    "fifo": "FIFO",
    "lfu": "LFU",
    "clock": "Clock",
    "2q": "2Q",
    "arc": "ARC",
    "sieve": "SIEVE",
    "s3-fifo": "S3-FIFO",
    "min": "Belady",
    "lru-k": "LRU-2",
    "slru": "SLRU",
}
CLOSE = {"gdsf": "GDSF", "lfuda": "LFUDA"}
"""How they break ties is not published."""


@pytest.fixture(scope="module")
def stream() -> tuple[list[int], list[int]]:
    """The ids, and the next access to each."""
    share = np.cumsum(np.arange(1, 100_001) ** -1.0)
    ids = np.searchsorted(share / share[-1], np.random.default_rng(1).random(1_000_000), side="right").astype("<i8")
    assert sha256(ids.tobytes()).hexdigest() == ZIPF["sha256"]
    names = (ids + 1).tolist()
    return names, next_uses(names)


def next_uses(names: list[int]) -> list[int]:
    following: dict[int, int] = {}
    uses = [NEVER_AGAIN] * len(names)
    for access in range(len(names) - 1, -1, -1):
        uses[access] = following.get(names[access], NEVER_AGAIN)
        following[names[access]] = access
    return uses


def misses(policy: str, capacity: int, stream: tuple[list[int], list[int]], seed: int = 0) -> int:
    order = EVICTION[policy]()
    order.begin(Setting(capacity, seed))
    names, uses = stream
    return order.replay(names, capacity, uses).count(0)


def counted(theirs: str) -> list[tuple[int, dict[str, Any]]]:
    return [(int(size), row) for size, row in ZIPF["policies"][theirs].items()]


@pytest.mark.parametrize("policy", SAME)
def test_as_many_misses(policy: str, stream: tuple[list[int], list[int]]) -> None:
    for size, row in counted(SAME[policy]):
        assert misses(policy, size, stream) == row["misses"], size


@pytest.mark.parametrize("policy", CLOSE)
def test_nearly_as_many_misses(policy: str, stream: tuple[list[int], list[int]]) -> None:
    for size, row in counted(CLOSE[policy]):
        assert misses(policy, size, stream) == pytest.approx(row["misses"], rel=0.01), size


def test_random_eviction_draws_from_a_hash_table(stream: tuple[list[int], list[int]]) -> None:
    """Within three standard deviations of libCacheSim's mean; theirs leave out what another hash function would do."""
    for size, row in counted("Random"):
        assert abs(misses("random", size, stream) - row["mean"]) <= 3 * row["std"], size


def test_random_eviction_without_a_table_is_uniform(stream: tuple[list[int], list[int]]) -> None:
    """For independent accesses it misses as often as FIFO (Gelenbe, 1973), but for the start."""
    for size, row in counted("FIFO"):
        if size <= 10_000:
            order = RandomChoice(load=0)
            order.begin(Setting(size))
            assert order.replay(stream[0], size).count(0) == pytest.approx(row["misses"], rel=0.003), size


@pytest.mark.parametrize("theirs", TINY["hits"])
def test_request_by_request(theirs: str) -> None:
    names = {name: policy for policy, name in SAME.items()}
    if theirs not in names:
        pytest.skip(f"{theirs} is none of ours")
    order = EVICTION[names[theirs]]()
    order.begin(Setting(TINY["cap"]))
    ids = [name + 1 for name in TINY["ids"]]
    hits = "".join(map(str, order.replay(ids, TINY["cap"], next_uses(ids))))
    assert hits == TINY["hits"][theirs]

"""LRU's curve has the hits of LRU at every capacity."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import InputError
from simcore.policies.eviction import LRU, Setting
from simcore.study import ORDERS, Stream, lru_curve, read_stream, sampled_curve, stream_of
from tests.study.streams import objects_by_definition, random_stream, usable_by_definition
from tests.study.test_study_play import TRACES


@given(st.lists(st.integers(0, 12), min_size=1, max_size=80))
def test_objects_at_every_capacity(ids: list[int]) -> None:
    curve = lru_curve(stream_of(ids))
    names = stream_of(ids).names.tolist()
    for capacity in range(1, 15):
        policy = LRU()
        policy.begin(Setting(capacity))
        assert curve.at(np.array(capacity))[0] == policy.replay(names, capacity).count(1)
    assert curve.prefix_hits is None


@given(st.lists(st.lists(st.integers(1, 12), max_size=9), min_size=1, max_size=15).filter(any))
def test_usable_hits_at_every_capacity(requests: list[list[int]]) -> None:
    offsets = np.concatenate(([0], np.cumsum([len(blocks) for blocks in requests]))).astype(np.int64)
    stream = Stream("mooncake", np.array(sum(requests, []), np.int64), offsets, 512, np.zeros(len(requests)))  # noqa: RUF017
    for order in ORDERS:
        curve = lru_curve(stream, order)
        capacities = np.arange(1, 15)
        objects, usable = curve.at(capacities)
        assert usable is not None
        assert objects.tolist() == [objects_by_definition(stream, capacity, order) for capacity in range(1, 15)]
        assert usable.tolist() == [usable_by_definition(stream, capacity, order) for capacity in range(1, 15)]


@pytest.mark.parametrize(("name", "sessions"), TRACES)
def test_published_traces(name: str, sessions: str, shared: Path) -> None:
    known = json.loads((shared / "traces" / "REFERENCE.json").read_text(encoding="utf-8"))[name]
    counts = known.get("sim") or known[f"sim_{sessions}"]
    stream = read_stream(shared / "traces" / name, sessions=sessions)
    capacities = np.array([int(capacity) for capacity in counts["lru"]])
    for order, key in zip(ORDERS, ("prefix_fwd", "prefix_rev"), strict=True):
        curve = lru_curve(stream, order)
        objects, usable = curve.at(capacities)
        assert usable is not None
        assert usable.tolist() == [each[key] for each in counts["lru"].values()]
        if key == "prefix_fwd":
            assert objects.tolist() == [each["classic"] for each in counts["lru"].values()]
        assert (curve.distinct, curve.object_hits[-1]) == (counts["unique"], counts["inf_block_hits"])
        assert curve.prefix_hits is not None
        assert curve.prefix_hits[-1] == counts["inf_prefix_hits"]


def zipf(accesses: int) -> Stream:
    rng = np.random.default_rng(1)
    weights = np.arange(1, 100_001) ** -1.0
    return stream_of(np.searchsorted(np.cumsum(weights) / weights.sum(), rng.random(accesses), side="right"))


def test_a_sample_estimates_the_curve() -> None:
    """A tenth of the contents: within 1 % of the accesses on average from 1,000 blocks on, and 3 % at worst."""
    stream = zipf(300_000)
    exact = lru_curve(stream)
    capacities = np.unique(np.geomspace(1000, 100_000, 100).astype(int))
    for seed in range(5):
        sampled = sampled_curve(stream, 0.1, seed=seed)
        error = np.abs(sampled.at(capacities)[0] - exact.at(capacities)[0]) / len(stream.names)
        assert error.mean() < 0.01
        assert error.max() < 0.03


def test_all_of_it_is_no_estimate() -> None:
    stream = random_stream(2)
    exact, sampled = lru_curve(stream), sampled_curve(stream, 1.0)
    assert sampled.at(exact.capacity)[0].tolist() == exact.object_hits.tolist()
    assert sampled.prefix_hits is None


@pytest.mark.parametrize("rate", [0.0, -1.0, 1.5, float("nan"), 1e-12])
def test_a_share_that_is_none(rate: float) -> None:
    with pytest.raises(InputError, match="share"):
        sampled_curve(random_stream(0), rate)

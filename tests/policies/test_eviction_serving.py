"""What the policies for LLM serving decide, in cases small enough to follow; and what the oracle does."""

from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from simcore.errors import InputError
from simcore.policies.eviction import EVICTION, Setting, Use
from simcore.policies.eviction.base import Eviction, EvictionOrder, by_place
from simcore.policies.eviction.min import MIN
from simcore.ticks import to_ticks


class Cache:
    """Sequences that come and go one after another; a block's number is its name."""

    def __init__(self, policy: str, cost: Callable[[int], float] = by_place, **parameters: Any) -> None:
        self.order: EvictionOrder = EVICTION[policy](**parameters)
        self.order.begin(Setting(100, cost=cost))
        self.cached: set[int] = set()
        self.use = Use()

    def serve(self, *names: int, at: float = 0.0, category: int = 0, priority: int = 0) -> None:
        self.use.now = to_ticks(at)
        self.use.category, self.use.priority = category, priority
        found = [name for name in names if name in self.cached]
        fresh = [name for name in names if name not in self.cached]
        self.order.shared(found, found, found, self.use)
        self.use.place = len(found)
        self.order.registered(fresh, fresh, self.use)
        self.use.place = len(names)
        self.order.released(names[::-1], self.use)
        self.cached.update(names)

    @property
    def victims(self) -> list[int]:
        return list(self.order)


def test_length_aware_evicts_late_blocks_first_then_the_least_recently_used() -> None:
    cache = Cache("length-aware")
    cache.serve(1, 2, 3)
    cache.serve(11, 12)
    cache.serve(1)
    assert cache.victims == [3, 2, 12, 11, 1]


def test_cost_aware_keeps_what_is_dear_to_compute_or_used_often() -> None:
    cache = Cache("cost-aware", cost=lambda place: 10.0 * (place + 1))
    cache.serve(1, 2, 3)
    for _ in range(4):
        cache.serve(1)
    assert cache.victims == [2, 3, 1]  # 20, 30, 5 * 10
    assert cache.order.victims(2) == [2, 3]
    cache.serve(4)
    assert cache.victims == [4, 1]  # what is new starts at the age of 30: 40
    cache.serve(5, 6)
    assert cache.victims == [4, 5, 1, 6]  # 40, 40, 50, 50


def test_what_is_too_old_expires_and_each_use_starts_the_time_anew() -> None:
    cache = Cache("ttl", seconds=10.0)
    cache.serve(1, at=0)
    cache.serve(2, at=4)
    cache.serve(1, at=6)
    assert cache.order.expired(to_ticks(13.5)) == []
    assert cache.order.expired(to_ticks(14)) == [2]
    assert cache.victims == [1]
    assert cache.order.expired(to_ticks(16)) == [1]


def test_what_is_held_does_not_expire_before_it_is_released() -> None:
    cache = Cache("ttl", seconds=10.0)
    cache.order.registered([1], [1], cache.use)
    cache.use.now = to_ticks(30)
    assert cache.order.expired(to_ticks(30)) == []
    cache.order.released([1], cache.use)
    assert cache.order.expired(to_ticks(39)) == []
    assert cache.order.expired(to_ticks(40)) == [1]


def test_retention_keeps_the_blocks_of_urgent_requests_and_is_lru_among_equals() -> None:
    cache = Cache("retention")
    cache.serve(1, priority=-1)
    cache.serve(2, priority=3)
    cache.serve(3)
    cache.serve(4)
    cache.serve(5, priority=1000)
    assert cache.victims == [5, 2, 3, 4, 1]


def test_a_retention_priority_falls_to_the_default_in_time_and_rises_to_it_too() -> None:
    cache = Cache("retention", duration=10.0)
    cache.serve(1, at=0, priority=-1)
    cache.serve(2, at=1, priority=1)
    cache.serve(3, at=9)
    assert cache.victims == [2, 3, 1]
    cache.serve(4, at=10)
    assert cache.victims == [2, 3, 4, 1]
    cache.serve(5, at=11)
    assert cache.victims == [3, 4, 5, 1, 2]


def test_workload_aware_learns_which_category_comes_back() -> None:
    cache = Cache("workload-aware")
    for turn in range(20):
        cache.serve(1, 2, at=turn, category=1)
        cache.serve(100 + turn, at=turn, category=2)
    assert cache.victims[-2:] == [2, 1]
    assert cache.victims[:3] == [100, 101, 102]


def test_workload_aware_learns_how_soon_a_category_comes_back() -> None:
    """Both are always reused, one every second and one every 50: what waited 10 s is over for the first."""
    cache = Cache("workload-aware")
    for second in range(200):
        cache.serve(1, at=second, category=1)
        if second % 50 == 0:
            cache.serve(2, at=second, category=2)
    cache.serve(2, at=200, category=2)
    cache.serve(3, at=210)
    assert cache.order.victims(1) == [1]


@pytest.mark.parametrize("policy", ["queue-informed", "look-ahead"])
def test_what_waiting_requests_will_look_up_is_spared(policy: str) -> None:
    cache = Cache(policy)
    cache.serve(1, 2)
    cache.serve(3)
    cache.serve(4)
    assert cache.victims == [2, 1, 3, 4]
    cache.order.expect([1, 2])
    cache.order.expect([1])
    assert cache.victims[:2] == [3, 4]
    cache.order.unexpect([1, 2])
    assert cache.victims == [2, 3, 4, 1]
    cache.order.unexpect([1])
    assert cache.victims == [2, 1, 3, 4]


def test_look_ahead_looks_at_the_front_of_the_queue_and_gives_up_its_last_request_first() -> None:
    cache = Cache("look-ahead", window=2)
    for name in (1, 2, 3, 4):
        cache.serve(name)
        cache.order.expect([name])
    assert cache.victims == [3, 4, 2, 1]
    cache.order.unexpect([1])
    assert cache.victims == [1, 4, 3, 2]


def test_all_blocks_of_one_content_are_spared() -> None:
    cache = Cache("queue-informed")
    cache.order.registered([1, 2], [7, 7], cache.use)
    cache.order.registered([3], [8], cache.use)
    cache.order.released([1, 2, 3], cache.use)
    cache.order.expect([7])
    assert cache.victims == [3, 1, 2]


def test_a_policy_that_foresees_evicts_what_comes_back_last_and_the_end_of_a_sequence_before_its_start() -> None:
    policy = MIN()
    policy.begin(Setting(10, next_use=lambda name, row: {1: 5, 2: 5, 3: 9}[name]))
    policy.registered([1, 2, 3], [1, 2, 3], Use())
    policy.released([3, 2, 1], Use())
    assert list(policy) == [3, 2, 1]


@pytest.mark.parametrize("capacity", [1, 2, 3, 10, 50])
def test_the_quick_optimum_is_the_optimum(capacity: int) -> None:
    random = Random(capacity)
    names = [int(random.paretovariate(0.7)) % 200 for _ in range(5000)]
    quick, plain = MIN(), MIN()
    for policy in (quick, plain):
        policy.begin(Setting(capacity))
    assert quick.replay(names, capacity) == Eviction.replay(plain, names, capacity)


@pytest.mark.parametrize(
    ("policy", "parameters"),
    [
        ("2q", {"fresh": 1.0}),
        ("s3-fifo", {"small": 0.0}),
        ("lru-k", {"k": 0}),
        ("slru", {"segments": 1}),
        ("w-tinylfu", {"window": 1.0}),
        ("ttl", {"seconds": 0.0}),
        ("retention", {"default": 101}),
        ("workload-aware", {"memory": 1.0}),
        ("look-ahead", {"window": 0}),
    ],
)
def test_parameters_out_of_range_are_refused(policy: str, parameters: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{policy}: {next(iter(parameters))} is"):
        EVICTION[policy](**parameters)

"""What must hold of every eviction policy, whatever it decides."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Results, Scenario, simulate
from simcore.policies.eviction import EVICTION, Setting, Use
from simcore.policies.eviction.base import NEVER_AGAIN, EvictionOrder
from simcore.record.journal import Event
from simcore.ticks import TICKS_PER_SECOND

EVERY = pytest.mark.parametrize("policy", EVICTION)
SPECIAL: dict[str, dict[str, Any]] = {
    "ttl": {"seconds": 7.0},
    "retention": {"duration": 5.0},
    "look-ahead": {"window": 2},
}
"""parameters with which a short test shows more than with the default ones"""

PROMPTS = [
    [10 * prompt + place + 1 if place else prompt % 2 + 1 for place in range(prompt % 4 + 1)] for prompt in range(9)
]
"""names of blocks; half of the prompts begin alike"""


def make(policy: str) -> EvictionOrder:
    return EVICTION[policy](**SPECIAL.get(policy, {}))


def next_use(name: int, row: int) -> int:
    return row + 1 + (7 * name + row) % 5 if name % 3 else NEVER_AGAIN


class Pool:
    """Holds blocks for sequences as a server does, and checks each answer of the policy."""

    def __init__(self, policy: str, blocks: int) -> None:
        self.order = make(policy)
        self.order.begin(Setting(blocks, seed=3, next_use=next_use))
        self.use = Use()
        self.free = list(range(1, blocks + 1))
        self.names: dict[int, int] = {}
        """of the cached blocks"""
        self.holders: Counter[int] = Counter()
        self.running: list[tuple[list[int], int]] = []
        """the table of each sequence and how many blocks of it are cached"""
        self.waiting: list[list[int]] = []

    @property
    def idle(self) -> set[int]:
        return {block for block in self.names if not self.holders[block]}

    def wait(self, names: list[int]) -> None:
        self.waiting.append(names)
        if self.order.hears_queue:
            self.order.expect(names)

    def admit(self, place: int, cached: int, category: int, priority: int) -> None:
        """A waiting request hits what it finds and gets new blocks for the rest, some of which are cached."""
        if not self.waiting:
            return
        names = self.waiting[place % len(self.waiting)]
        by_name = {self.names[block]: block for block in sorted(self.names, reverse=True)}
        found = []
        for name in names:
            if name not in by_name:
                break
            found.append(by_name[name])
        need = len(names) - len(found)
        if need > len(self.free) + len(self.idle - set(found)):
            return
        self.waiting.pop(place % len(self.waiting))
        self.use.row, self.use.category, self.use.priority = self.use.row + 1, category, priority
        if self.order.hears_queue:
            self.order.unexpect(names)
        self.order.shared(found, names[: len(found)], [block for block in found if not self.holders[block]], self.use)
        self.holders.update(found)
        new = [self.free.pop() for _ in range(min(need, len(self.free)))]
        if need > len(new):
            new += self.evict(need - len(new))
        self.holders.update(new)
        fresh = new[:cached]
        if fresh:
            self.use.place = len(found)
            self.use.before = names[len(found) - 1] if found else 0
            self.order.registered(fresh, names[len(found) : len(found) + len(fresh)], self.use)
            self.names.update(zip(fresh, names[len(found) :], strict=False))
        self.running.append((found + new, len(found) + len(fresh)))

    def evict(self, count: int) -> list[int]:
        foreseen = list(self.order)
        assert sorted(foreseen) == sorted(self.idle)
        assert list(self.order) == foreseen
        victims = self.order.victims(count)
        assert victims == foreseen[:count]
        for block in victims:
            del self.names[block]
        return victims

    def finish(self, place: int) -> None:
        if not self.running:
            return
        table, cached = self.running.pop(place % len(self.running))
        self.holders.subtract(table)
        self.use.place, self.use.before = cached, 0
        self.order.released([block for block in reversed(table[:cached]) if not self.holders[block]], self.use)
        self.free += [block for block in table[cached:] if not self.holders[block]]

    def unregister(self, place: int) -> None:
        """The last cached block of a sequence is not to be filled, if nobody else holds it."""
        if not self.running:
            return
        place %= len(self.running)
        table, cached = self.running[place]
        if cached and self.holders[table[cached - 1]] == 1:
            self.order.unregistered([table[cached - 1]])
            del self.names[table[cached - 1]]
            self.running[place] = table, cached - 1

    def pass_time(self, seconds: int) -> None:
        self.use.now += seconds * TICKS_PER_SECOND
        if self.order.expires:
            expired = self.order.expired(self.use.now)
            assert len(expired) == len(set(expired))
            assert set(expired) <= self.idle
            for block in expired:
                del self.names[block]
            self.free += expired


SMALL = st.integers(0, 8)
WAIT = st.tuples(st.just("wait"), SMALL)
ADMIT = st.tuples(st.just("admit"), SMALL, st.integers(0, 4), st.integers(0, 2), st.integers(-5, 5))
FINISH = st.tuples(st.just("finish"), SMALL)
UNREGISTER = st.tuples(st.just("unregister"), SMALL)
PASS_TIME = st.tuples(st.just("pass_time"), SMALL)
EVENTS = st.lists(st.one_of(WAIT, ADMIT, FINISH, ADMIT, WAIT, FINISH, UNREGISTER, PASS_TIME), min_size=40, max_size=80)


@EVERY
@given(blocks=st.integers(3, 9), events=EVENTS)
@settings(max_examples=60)
def test_a_pool_gets_every_idle_block_once_and_no_other(
    policy: str, blocks: int, events: list[tuple[Any, ...]]
) -> None:
    pool = Pool(policy, blocks)
    for action, *arguments in events:
        if action == "wait":
            pool.wait(PROMPTS[arguments[0]])
        else:
            getattr(pool, action)(*arguments)
    while pool.running:
        pool.finish(0)
    assert sorted(pool.order) == sorted(pool.idle)
    pool.free += pool.evict(len(pool.idle))
    assert list(pool.order) == []
    assert sorted(pool.free) == list(range(1, blocks + 1))


STREAM = st.lists(st.one_of(st.integers(1, 6), st.integers(1, 40)), min_size=100, max_size=300)


def replay(policy: str, names: list[int], capacity: int) -> bytearray:
    order = make(policy)
    order.begin(Setting(capacity, seed=3))
    return order.replay(names, capacity)


@EVERY
@given(names=STREAM, capacity=st.integers(1, 30))
@settings(max_examples=60)
def test_a_study_misses_first_accesses_and_no_less_than_the_optimum(
    policy: str, names: list[int], capacity: int
) -> None:
    hits = replay(policy, names, capacity)
    assert len(hits) == len(names)
    assert hits.count(1) <= replay("min", names, capacity).count(1)
    seen: set[int] = set()
    for name, hit in zip(names, hits, strict=True):
        assert not (hit and name not in seen)
        assert hit or name not in seen or len(seen) > capacity
        seen.add(name)
    assert replay(policy, names, capacity) == hits


@EVERY
@given(names=STREAM, capacity=st.integers(1, 12))
@settings(max_examples=20)
def test_what_hits_is_among_the_blocks_that_are_cached(policy: str, names: list[int], capacity: int) -> None:
    """Step by step with one access after another, and never more of them than fit."""
    order = make(policy)
    order.begin(Setting(capacity, seed=3, next_use=next_use))
    use = Use()
    cached: set[int] = set()
    for use.row, name in enumerate(names):
        use.place = 0
        if name in cached:
            order.shared([name], [name], [name], use)
        else:
            if len(cached) == capacity:
                cached -= set(order.victims(1))
            order.registered([name], [name], use)
            cached.add(name)
        use.place = 1
        order.released([name], use)
        assert len(cached) <= capacity
    assert set(order) == cached


@given(names=STREAM, capacity=st.integers(1, 30))
def test_lru_hits_the_same_and_more_in_a_larger_cache(names: list[int], capacity: int) -> None:
    smaller, larger = replay("lru", names, capacity), replay("lru", names, capacity + 1)
    assert all(one <= other for one, other in zip(smaller, larger, strict=True))


def run(policy: str) -> Results:
    small = ["workload.requests=250", "workload.arrivals.rate=20", "memory.blocks=1500", f'memory.eviction="{policy}"']
    return simulate(Scenario.preset("chat", small), journal=True)


@EVERY
def test_a_server_ends_with_no_block_held_and_does_the_same_again(policy: str) -> None:
    results = run(policy)
    assert results.summary["requests"]["finished"] == 250
    assert results.summary["evictions"] > 100
    assert results.journal is not None
    held: Counter[int] = Counter()
    for entry in results.journal.since(0):
        if entry.event in (Event.ALLOCATE, Event.HIT):
            held[entry.block] += 1
        elif entry.event == Event.FREE:
            held[entry.block] -= 1
        elif entry.event == Event.EVICT:
            assert not held[entry.block]
    assert not any(held.values())
    assert run(policy).summary == results.summary

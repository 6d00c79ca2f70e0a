"""A radix tree evicts leaves only, whatever the policy below it says."""

import random
from collections import Counter

import pytest

from simcore import Scenario, simulate
from simcore.policies.eviction import EVICTION, LRU, Setting, Use
from simcore.policies.eviction.leaves import LeavesFirst
from simcore.record.journal import Event


def test_a_parent_waits_for_its_children() -> None:
    policy = LeavesFirst(LRU())
    policy.begin(Setting(10))
    use = Use()
    policy.registered([1, 2, 3], [11, 12, 13], use)
    policy.released([1, 2, 3], use)  # the head first, which no pool does
    assert list(policy) == [3, 2, 1]
    assert policy.victims(1) == [3]
    policy.shared([1], [11], [1], use)
    policy.released([1], use)
    assert policy.victims(2) == [2, 1]


@pytest.mark.parametrize("name", EVICTION)
@pytest.mark.parametrize("seed", range(2))
def test_nothing_is_cached_that_cannot_be_hit(name: str, seed: int) -> None:
    overrides = [
        f"memory.eviction={name}",
        "memory.structure=radix",
        f"memory.blocks={random.Random(seed).randint(300, 500)}",
    ]
    scenario = Scenario.preset("chat", [*overrides, "workload.requests=40", f"seed={seed}"])
    results = simulate(scenario, journal=True)
    assert results.summary["requests"]["unfinished"] == 0
    assert results.journal is not None
    before: dict[int, int] = {}
    copies: Counter[int] = Counter()
    last: dict[int, int] = {}
    evictions = 0
    for entry in results.journal.since(0):
        if entry.event == Event.HIT:
            last[entry.sequence] = entry.key
        elif entry.event == Event.REGISTER:
            before.setdefault(entry.key, last.get(entry.sequence, 0))
            last[entry.sequence] = entry.key
            copies[entry.key] += 1
        elif entry.event == Event.FREE:
            last.pop(entry.sequence, None)
        elif entry.event == Event.EVICT:
            copies[entry.key] -= 1
            evictions += 1
            if not copies[entry.key]:
                assert not any(copies[key] for key, parent in before.items() if parent == entry.key)
    assert evictions > 100


def test_under_lru_it_evicts_what_the_flat_pool_evicts() -> None:
    """A sequence lets go of its last block first: LRU comes to leaves first by itself."""
    overrides = ["memory.blocks=600", "workload.requests=150"]
    flat, tree = (
        simulate(Scenario.preset("chat", [*overrides, f"memory.structure={structure}"]))
        for structure in ("hash", "radix")
    )
    assert flat.summary == tree.summary
    assert flat.summary["evictions"] > 1000

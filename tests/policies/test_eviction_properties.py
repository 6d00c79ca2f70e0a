"""What holds for every eviction policy, whatever a pool does with it."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore import Scenario, simulate
from simcore.policies.eviction import EVICTION, EvictionOrder, Setting, Use
from simcore.policies.eviction.base import NEVER_AGAIN
from simcore.ticks import to_ticks
from tests.policies.test_eviction_oracle import next_uses

POLICIES = list(EVICTION)
CAPACITY = 12


class Pool:
    """Does with a policy what a block pool may do, at random, and checks its answers."""

    def __init__(self, policy: EvictionOrder, seed: int) -> None:
        self.policy = policy
        self.rng = random.Random(seed)
        self.use = Use()
        self.held: dict[int, list[int]] = {}  # the sequences that hold each cached block
        self.names: dict[int, int] = {}
        self.unused = list(range(1, CAPACITY + 1))
        self.sequences: dict[int, list[int]] = {}
        self.expected: list[tuple[int, ...]] = []
        self.number = 0
        policy.begin(Setting(CAPACITY, seed, next_use=lambda name, row: row + name if name % 3 else NEVER_AGAIN))

    @property
    def idle(self) -> set[int]:
        return {block for block in self.names if not self.held[block]}

    def step(self) -> None:
        self.use.now += to_ticks(self.rng.choice([0, 0, 1, 50, 400]))
        self.use.row = self.number
        self.use.priority = self.rng.randint(-3, 3)
        self.use.category = self.rng.randint(0, 2)
        if self.policy.expires:
            for block in self.policy.expired(self.use.now):
                assert block in self.idle
                self.forget(block)
        self.rng.choice([self.admit, self.admit, self.leave, self.undo, self.wait])()

    def admit(self) -> None:
        chain = [self.rng.randint(1, 3)]
        while len(chain) < 5 and self.rng.random() < 0.7:
            chain.append(chain[-1] * 4 + self.rng.randint(0, 2))
        found: list[int] = []
        for name in chain:
            block = next((block for block, cached in self.names.items() if cached == name), None)
            if block is None:
                break
            found.append(block)
        if len(chain) - len(found) > len(self.unused) + len(self.idle - set(found)):
            return
        woken = [block for block in found if not self.held[block]]
        self.use.place = self.use.before = 0
        self.policy.shared(found, chain[: len(found)], woken, self.use)
        sequence = self.number = self.number + 1
        for block in found:
            self.held[block].append(sequence)
        taken = self.take(len(chain) - len(found))
        for block, name in zip(taken, chain[len(found) :], strict=True):
            self.names[block] = name
            self.held[block] = [sequence]
        self.use.place, self.use.before = len(found), chain[len(found) - 1] if found else 0
        self.policy.registered(taken, chain[len(found) :], self.use)
        self.sequences[sequence] = found + taken

    def take(self, count: int) -> list[int]:
        blocks = [self.unused.pop() for _ in range(min(count, len(self.unused)))]
        wanted = count - len(blocks)
        if wanted:
            if self.rng.random() < 0.5:
                assert list(self.policy)[:wanted] == (victims := self.policy.victims(wanted))
            else:
                victims = self.policy.victims(wanted)
            assert len(set(victims)) == wanted
            for block in victims:
                assert block in self.idle
                self.forget(block)
                self.unused.remove(block)
            blocks += victims
        return blocks

    def leave(self) -> None:
        if self.sequences:
            sequence = self.rng.choice(list(self.sequences))
            table = self.sequences.pop(sequence)
            idle = []
            for block in reversed(table):
                self.held[block].remove(sequence)
                if not self.held[block]:
                    idle.append(block)
            self.use.place = len(table)
            self.policy.released(idle, self.use)

    def undo(self) -> None:
        """The last block of a sequence that nobody else holds will not be filled after all."""
        for sequence, table in self.sequences.items():
            if table and self.held[table[-1]] == [sequence]:
                block = table.pop()
                self.policy.unregistered([block])
                self.forget(block)
                return

    def wait(self) -> None:
        if self.expected and self.rng.random() < 0.5:
            self.policy.unexpect(self.expected.pop(self.rng.randrange(len(self.expected))))
        else:
            self.expected.append(tuple(sorted({self.rng.randint(1, 15) for _ in range(self.rng.randint(0, 4))})))
            self.policy.expect(self.expected[-1])

    def forget(self, block: int) -> None:
        del self.names[block], self.held[block]
        self.unused.append(block)


@pytest.mark.parametrize("name", POLICIES)
def test_a_pool_may_do_what_it_likes(name: str) -> None:
    @settings(max_examples=60)
    @given(st.integers(0, 2**32))
    def check(seed: int) -> None:
        pool = Pool(EVICTION[name](), seed)
        for _ in range(60):
            pool.step()
            assert set(pool.policy) == pool.idle
        while pool.sequences:
            pool.leave()
        idle = pool.idle
        assert set(pool.policy.victims(len(idle))) == idle
        assert list(pool.policy) == []

    check()


def streams() -> Iterator[tuple[list[int], int]]:
    for seed in range(12):
        rng = random.Random(seed)
        most = rng.choice([4, 10, 40])
        yield [1 + int(rng.paretovariate(0.8)) % most for _ in range(300)], rng.choice([1, 2, 3, 7, 20])


@pytest.mark.parametrize("name", POLICIES)
def test_none_misses_less_than_min(name: str) -> None:
    for names, capacity in streams():
        hits = {}
        for policy in ("min", name):
            order = EVICTION[policy]()
            order.begin(Setting(capacity))
            hits[policy] = order.replay(names, capacity, next_uses(names)).count(1)
        assert hits[name] <= hits["min"]
        assert hits["min"] <= len(names) - len(set(names))
        if capacity >= len(set(names)):
            assert hits[name] == len(names) - len(set(names))


def test_more_room_never_costs_lru_a_hit() -> None:
    for names, _ in streams():
        hits = []
        for capacity in range(1, 41):
            order = EVICTION["lru"]()
            order.begin(Setting(capacity))
            hits.append(order.replay(names, capacity).count(1))
        assert hits == sorted(hits)


@pytest.mark.parametrize("structure", ["hash", "radix"])
@pytest.mark.parametrize("name", POLICIES)
def test_a_simulation_ends_with_all_blocks_free(name: str, structure: str) -> None:
    overrides = ["memory.blocks=500", "workload.requests=80", f"memory.structure={structure}"]
    scenario = Scenario.preset("chat", [*overrides, f"memory.eviction={name}"])
    first, second = simulate(scenario), simulate(scenario)
    assert first.summary == second.summary
    assert first.summary["requests"]["unfinished"] == 0
    assert first.summary["evictions"] > 0
    used, cached, free = (first.timeline[f"blocks_{kind}"] for kind in ("used", "cached", "free"))
    assert ((used + cached + free) == 499).all()

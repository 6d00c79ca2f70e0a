"""What is worth keeping."""

from dataclasses import dataclass

import pytest

from simcore import Scenario, simulate
from simcore.memory.pool import BlockPool
from simcore.policies.admission import ADMISSION, Admission, Prompts, SecondUse
from simcore.policies.eviction import LRU, Name, Setting, Use

SMALL = ["memory.blocks=600", "workload.requests=200"]


def hits(*overrides: str) -> int:
    results = simulate(Scenario.preset("chat", [*SMALL, *overrides]))
    assert results.summary["requests"]["finished"] == 200
    tokens: int = results.summary["hits"]["hit_tokens"]
    return tokens


def test_second_use_remembers_as_many_names_as_it_is_told() -> None:
    policy = SecondUse(memory=1.0)
    policy.start(Setting(2))
    use = Use()
    assert [policy.admits(name, use) for name in (1, 2, 1, 3, 2, 3)] == [False, False, True, False, False, True]


def test_prompts_end_where_the_prompt_does() -> None:
    policy = Prompts(longest=40)
    policy.start(Setting(10, block_size=16))
    use = Use()
    use.prompt = 4
    admitted = []
    for use.place in range(6):
        admitted.append(policy.admits(1, use))
    assert admitted == [True, True, False, False, False, False]


@dataclass
class Even(Admission):
    """Admit even names.

    https://example.org
    """

    name = "even"

    def admits(self, name: Name, use: Use) -> bool:
        return name % 2 == 0


def test_after_a_refusal_a_sequence_offers_no_more() -> None:
    pool = BlockPool(10, LRU(), admission=Even())
    table = pool.take(4, 0)
    assert pool.register(table, [2, 4, 5, 6], 0) == 2
    assert pool.find([2, 4, 5, 6], 4) == table[:2]
    pool.release(table, 2, 0)
    assert (pool.free, pool.idle) == (9, 2)


def test_where_there_is_room_for_all_prompts_hit_less_than_everything_and_more_than_their_beginnings() -> None:
    room = "memory.blocks=50000"
    everything = hits(room)
    prompts = hits(room, "memory.admission=prompts")
    beginnings = hits(room, "memory.admission={policy='prompts', longest=64}")
    assert 0 < beginnings < prompts < everything


@pytest.mark.parametrize("name", ADMISSION)
def test_every_policy_leaves_a_pool_that_adds_up(name: str) -> None:
    scenario = Scenario.preset("chat", [*SMALL, f"memory.admission={name}", "memory.eviction=fifo"])
    first, second = simulate(scenario), simulate(scenario)
    assert first.summary == second.summary
    last = first.timeline.tail(1)
    assert last["blocks_used"][0] + last["blocks_cached"][0] + last["blocks_free"][0] == 599


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("switch", [0.0, 0.3])
def test_what_is_refused_is_asked_for_blocks_in_time(samples: int, switch: float) -> None:
    """No sequence holds more tokens than its blocks have room for, and no block is cached twice by two branches."""
    for admission in ADMISSION:
        overrides = [f"memory.admission={admission}", f"workload.samples={samples}", f"workload.beam_switch={switch}"]
        scenario = Scenario.preset("default", [*overrides, "memory.blocks=300", "workload.requests=40"])
        results = simulate(scenario)
        assert results.summary["requests"]["unfinished"] == 0
        for name in ("tokens_stored", "tokens_reserved", "tokens_internal"):
            assert (results.timeline[name] >= 0).all()

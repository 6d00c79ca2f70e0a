"""State-space layers in the pool: one block a request and table, however long it is, and nobody else's."""

from typing import Any

import numpy as np
import pytest

from simcore import InputError, Results, Scenario, Workload, simulate
from simcore.memory.base import Hit, Move, MoveKind
from simcore.memory.grouped import GroupedMemory
from simcore.memory.kinds import Kind, kinds_of, longest_held
from simcore.memory.pool import BlockPool
from simcore.policies.eviction import LRU
from simcore.scenario.model import STATE
from simcore.serving.request import Request, Sequence

LONG = 10_000


def memory_of(windows: list[int], blocks: int = 100) -> GroupedMemory:
    """With blocks of 16 tokens."""
    pool = BlockPool(blocks, LRU(), enter_private=True)
    return GroupedMemory(pool, 16, None, windows, max_model_len=LONG, step_tokens=256)


def admitted(memory: GroupedMemory, row: int, prompt: int) -> Sequence:
    sequence = Sequence(row, Request(row=row, id=f"r{row}", arrival=0, prompt_len=prompt, output_len=900), LONG)
    hit = memory.lookup(sequence)
    assert hit == Hit(0, 0, [[] for _ in range(memory.tables)], [])
    assert memory.admit(sequence, prompt, hit, 0, whole=True)
    sequence.computed = sequence.length = prompt
    return sequence


def test_a_state_needs_one_block_however_long_the_sequence_is() -> None:
    kind = Kind(STATE, 16, LONG)
    assert [kind.needs(blocks) for blocks in (0, 1, 500)] == [0, 1, 1]
    assert (kind.below(500), kind.tail) == (0, 0)
    kinds = kinds_of([0, STATE, STATE], 16, in_flight=32, max_model_len=LONG)
    assert [longest_held(kinds, blocks) for blocks in (3, 12, 20)] == [1, 10, 18]
    assert longest_held(kinds[1:], 2) is None


def test_only_the_table_of_attention_grows() -> None:
    memory = memory_of([STATE, 0, STATE])
    sequence = admitted(memory, 0, 40)
    assert sequence.tables == [[1], [2, 3, 4], [5]]
    assert memory.usage(40)[:6] == (5, 0, 94, 2 * 16 + 40, 0, 8), "a state fills its block"
    assert memory.grow(sequence, 9) == [(1, [6])]
    sequence.computed = 49
    assert sequence.tables == [[1], [2, 3, 4, 6], [5]]
    memory.release(sequence, 49, returns=False)
    assert memory.free == 99
    assert memory.usage(0) == (0, 0, 99, 0, 0, 0, 0, 0)


def test_without_attention_nothing_grows_and_nobody_asks() -> None:
    memory = memory_of([STATE], blocks=3)
    sequences = [admitted(memory, row, 500) for row in (0, 1)]
    assert [sequence.tables for sequence in sequences] == [[[1]], [[2]]]
    assert memory.grow(sequences[0], 300) == []
    assert sequences[0].horizon >= sequences[0].end, "it need not be asked again"
    waiting = Sequence(2, Request(row=2, id="r2", arrival=0, prompt_len=1, output_len=1), LONG)
    assert not memory.admit(waiting, 1, memory.lookup(waiting), 0, whole=False)
    assert memory.fits(10**9, 1), "of any length"


def test_who_forks_takes_a_copy_of_the_state_before_it_writes() -> None:
    memory = memory_of([0, STATE])
    parent = admitted(memory, 0, 32)
    child = Sequence(1, parent.request, LONG, branch=1)
    child.computed = child.length = 32
    memory.fork(parent, child)
    assert child.tables == parent.tables == [[1, 2], [3]]
    assert memory.usage(64)[:4] == (3, 0, 96, 48)
    assert memory.grow(parent, 1) == [(0, [5])], "full blocks of tokens stay shared"
    assert memory.moves == [Move(MoveKind.COPY, 0, 1, 0, 3, 4)]
    assert memory.grow(child, 1) == [(0, [6])], "the last one that holds the state may write into it"
    assert (parent.tables, child.tables) == ([[1, 2, 5], [4]], [[1, 2, 6], [3]])
    assert memory.usage(66)[:4] == (6, 0, 93, 2 * 16 + 2 + 2 * 16)


def run(preset: str, **options: Any) -> Results:
    workload = Workload("test", np.zeros(30), np.full(30, 500), np.full(30, 20))
    scenario = Scenario.model_validate(
        {
            "model": {"preset": preset},
            "memory": {"blocks": 61, "prefix_caching": False} | options,
            "scheduler": {"max_model_len": 1000},
            "timing": {"model": "constant", "step": 0.01},
        }
    )
    return simulate(scenario, workload=workload)


def test_states_in_a_run() -> None:
    """Jamba: 7 blocks for the states of 28 layers, and 7 for 519 tokens of 4 layers with attention."""
    assert run("mamba-2.8b").summary["memory"]["used_peak"] == 30
    jamba = run("jamba-v0.1", block_size=80)
    assert jamba.summary["memory"]["used_peak"] == 4 * 14
    assert jamba.summary["requests"]["finished"] == 30
    assert jamba.timeline["blocks_used"].max() == 56
    with pytest.raises(InputError, match=r"room for the state of a layer, .*: take 80"):
        run("jamba-v0.1")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"prefix_caching": True}, "must be false for a model with state-space layers"),
        ({"structure": "radix"}, "state-space layers cannot be simulated"),
        ({"allocator": "contiguous"}, "state-space layers cannot be simulated"),
    ],
)
def test_what_does_not_go_with_states(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        run("mamba-2.8b", **options)

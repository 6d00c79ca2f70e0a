"""Several block tables in one pool, by hand: what vLLM's own tests assert of windows, and a run of its scheduler."""

import json
from io import StringIO

import numpy as np
import pytest

from simcore import Scenario, Simulation, Workload
from simcore.memory.base import Hit
from simcore.memory.grouped import GroupedMemory
from simcore.memory.keys import BlockKeys, key_in
from simcore.memory.kinds import Kind, kinds_of, longest_held
from simcore.memory.pool import BlockPool
from simcore.policies.eviction import LRU
from simcore.serving.request import Request, Sequence
from simcore.workload.columns import Runs

LONG = 10_000


def memory_of(
    windows: list[int], block_size: int, blocks: int = 100, retention: int = -1, step_tokens: int = 256
) -> GroupedMemory:
    """For requests that are equal but for their lengths, up to 256 tokens."""
    source = np.ones(9, np.int64)
    runs = Runs(offsets=np.arange(10), source=source, length=source * 256)
    workload = Workload("test", np.zeros(9), source * 256, source * 9, runs=runs)
    pool = BlockPool(blocks, LRU(), enter_private=True)
    keys = BlockKeys(workload, block_size, len(windows))
    return GroupedMemory(
        pool, block_size, keys, windows, retention=retention, max_model_len=LONG, step_tokens=step_tokens
    )


def sequence_of(row: int, prompt: int) -> Sequence:
    return Sequence(row, Request(row=row, id=f"r{row}", arrival=0, prompt_len=prompt, output_len=9), LONG)


def admitted(memory: GroupedMemory, row: int, prompt: int, tokens: int | None = None) -> tuple[Sequence, Hit]:
    sequence = sequence_of(row, prompt)
    hit = memory.lookup(sequence)
    computed = prompt - hit.tokens if tokens is None else tokens
    assert memory.admit(sequence, computed, hit, 0, whole=False)
    sequence.computed = hit.tokens + computed
    return sequence, hit


def test_what_slides_out_of_a_window() -> None:
    kind = Kind(window=4, block_size=2, most_tokens=LONG)
    assert [kind.below(computed) for computed in (0, 3, 4, 5, 6, 7, 11)] == [0, 0, 0, 1, 1, 2, 4]
    memory = memory_of([4], 2)
    sequence, _ = admitted(memory, 0, 11, tokens=7)
    assert sequence.tables == [[1, 2, 3, 4]]
    assert memory.grow(sequence, 4) == [(0, [5, 6])]
    assert sequence.tables == [[0, 0, 3, 4, 5, 6]]
    assert list(memory.pool.free_queue())[-2:] == [2, 1], "cached blocks, the later one first"
    sequence.computed = 11
    assert memory.usage(11)[:4] == (4, 2, 93, 7)


def test_what_a_plan_in_flight_reads_is_kept() -> None:
    memory = memory_of([4], 2)
    sequence, _ = admitted(memory, 0, 11, tokens=7)
    sequence.in_flight = 7
    memory.grow(sequence, 4)
    assert sequence.tables == [[1, 2, 3, 4, 5, 6]]


@pytest.mark.parametrize(
    ("cached", "hit"),
    [
        *(("---", 0), ("T--", 1), ("TF-", 1), ("TT-", 2), ("TTF", 2), ("TTT", 3)),
        *(("TTFTFFTTFTTT", 12), ("TTFTFFTTFTTF", 11), ("TTFTFFTTFTFT", 8)),
    ],
)
def test_a_hit_ends_with_enough_blocks_in_a_row(cached: str, hit: int) -> None:
    """A window of 4 tokens in blocks of 2 sees two blocks before the next token."""
    memory = memory_of([4], 2)
    sequence = sequence_of(0, 2 * len(cached) + 1)
    memory.lookup(sequence)
    for place, letter in enumerate(cached):
        if letter == "T":
            memory.pool.register(memory.pool.take(1, 9), [key_in(0, sequence.keys[place])], 9)
    found = memory.lookup(sequence)
    (table,) = found.blocks
    assert (found.tokens, len(table)) == (2 * hit, hit)
    assert [bool(block) for block in table] == [place >= hit - 2 for place in range(hit)]


def test_a_prefix_is_hit_in_all_groups() -> None:
    memory = memory_of([0, 32, 32], 16)
    first, _ = admitted(memory, 0, 55)
    assert first.tables == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]
    second, hit = admitted(memory, 1, 55)
    assert hit == Hit(48, 48, [[1, 2, 3], [0, 6, 7], [0, 10, 11]], [])
    assert second.tables == [[1, 2, 3, 13], [0, 6, 7, 14], [0, 10, 11, 15]]
    memory.pool.unregister([7])
    assert admitted(memory, 2, 55)[1].blocks == [[1, 2], [5, 6], [9, 10]], "the last block of any group shortens it"
    memory.pool.unregister([1])
    assert not any(memory.lookup(sequence_of(3, 55)).blocks)


@pytest.mark.parametrize(("retention", "kept"), [(64, {3, 7, 11, 14, 15}), (0, {14}), (-1, set(range(16)))])
def test_which_blocks_of_a_window_stay_cached(retention: int, kept: set[int]) -> None:
    memory = memory_of([16], 16, retention=retention)
    sequence, _ = admitted(memory, 0, 256)
    (table,) = sequence.tables
    assert {place for place in range(16) if memory.pool.entered(table[place])} == kept
    memory.release(sequence, 256, returns=False)
    assert list(memory.pool.free_queue())[: 16 - len(kept)] == [table[i] for i in range(15, -1, -1) if i not in kept]
    assert memory.lookup(sequence_of(1, 256)).tokens == 240


def test_a_prompt_longer_than_the_window_is_admitted_as_a_whole() -> None:
    """At most 15 tokens before a step of 32, which may begin in the middle of a block: 4 blocks of 16."""
    (kind,) = kinds_of([16], 16, in_flight=32, max_model_len=LONG)
    assert (kind.most, kind.needs(3), kind.needs(16)) == (4, 3, 4)
    memory = memory_of([16], 16, blocks=5, step_tokens=32)
    sequence = sequence_of(0, 256)
    hit = memory.lookup(sequence)
    assert not memory.admit(sequence, 32, hit, 1, whole=True)
    assert memory.admit(sequence, 32, hit, 0, whole=True)


def test_the_longest_sequence_that_a_pool_can_hold() -> None:
    kinds = kinds_of([0, 16, 16], 16, in_flight=32, max_model_len=LONG)
    assert [longest_held(kinds, blocks) for blocks in (2, 3, 12, 13, 20)] == [0, 1, 4, 5, 12]
    assert [longest_held(kinds[1:], blocks) for blocks in (6, 7, 8)] == [3, 3, None]


@pytest.mark.parametrize(("windows", "hit"), [([26, 8], 8), ([8, 26], 0), ([0, 26, 8], 8)])
def test_a_junction_is_where_the_first_kind_could_go_on(windows: list[int], hit: int) -> None:
    """A recorded run of vLLM's scheduler: with sparse retention, the second request keeps what the third one hits."""
    runs = Runs(
        offsets=np.array([0, 3, 5, 7]),
        source=np.array([1, 10, 12, 1, 29, 1, 30]),
        length=np.array([8, 9, 4, 16, 36, 16, 5]),
    )
    workload = Workload("test", np.array([0.0, 1.0, 2.0]), np.array([21, 52, 21]), np.array([2, 3, 1]), runs=runs)
    shape = {"query_heads": 1, "head_dim": 64, "layer_groups": [{"layers": 1, "window": window} for window in windows]}
    scenario = Scenario.model_validate(
        {
            "model": shape,
            "memory": {"blocks": 30, "block_size": 8, "prefix_retention": 0},
            "scheduler": {"max_num_seqs": 5, "max_num_batched_tokens": 14, "max_model_len": 1000},
            "timing": {"model": "constant", "step": 0.01},
        }
    )
    log = StringIO()
    results = Simulation(scenario, workload=workload, step_log=log).run()
    assert results.requests["hit_tokens"].to_list() == [0, 0, hit]
    steps = [json.loads(line) for line in log.getvalue().splitlines()]
    if windows == [26, 8]:
        assert steps[3]["blocks"] == {"r1": [[6, 5], [3, 7]]}
        assert steps[-1]["blocks"] == {"r2": [[1, 10, 11], [3, 13, 5]]}

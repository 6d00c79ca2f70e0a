"""Block keys are equal exactly where the tokens up to the block's end are."""

from dataclasses import replace

import numpy as np
import pytest

from simcore.memory.keys import PRIVATE_KEYS, BlockKeys
from simcore.workload.columns import PRIVATE, VOCABULARY, Runs, Workload


def random_workload(rng: np.random.Generator, requests: int = 12) -> Workload:
    """Prompts of a few runs from a few sources, so that many have prefixes in common."""
    offsets, source, start, length, prompts = [0], [], [], [], []
    for _ in range(requests):
        before: tuple[int, int] | None = None
        total = 0
        for _ in range(int(rng.integers(0, 5))):
            name, count = int(rng.integers(0, 4)), int(rng.integers(1, 9))
            begin = int(rng.integers(0, 3)) if name == VOCABULARY else 0
            if before == (name, begin):
                continue  # a longer run, not two
            source.append(name), start.append(begin), length.append(count)
            before, total = (name, begin + count), total + count
        offsets.append(len(source))
        prompts.append(total + int(rng.integers(0 if total else 1, 6)))
    return Workload(
        format="synthetic",
        arrival=np.zeros(requests),
        prompt_len=np.array(prompts),
        output_len=rng.integers(1, 12, requests),
        runs=Runs(*(np.array(column, np.int64) for column in (offsets, source, length, start))),
        output_source=rng.choice([PRIVATE, 5, 6], requests),
    )


def tokens_of(workload: Workload, row: int) -> list[tuple[object, int]]:
    """The names of all tokens of a request, one by one."""
    assert workload.runs is not None
    assert workload.output_source is not None
    named = [(s, t) for s, first, n in workload.runs.of(row) for t in range(first, first + n)]
    rest = [(f"private to {row}", t) for t in range(int(workload.prompt_len[row]) - len(named))]
    output: list[tuple[object, int]] = [
        (f"output of {row}" if workload.output_source[row] == PRIVATE else int(workload.output_source[row]), t)
        for t in range(int(workload.output_len[row]))
    ]
    return [*named, *rest, *output]


@pytest.mark.parametrize("seed", range(60))
def test_equal_keys_mean_equal_tokens(seed: int) -> None:
    workload = random_workload(np.random.default_rng(seed))
    for block_size in (1, 2, 3, 4, 7):
        keys = BlockKeys(workload, block_size)
        content_of: dict[int, tuple[object, ...]] = {}
        key_of: dict[tuple[object, ...], int] = {}
        for row in range(len(workload)):
            tokens = tokens_of(workload, row)
            of_row = list(keys.of(row))
            assert len(of_row) == len(tokens) // block_size
            for k, key in enumerate(of_row):
                prefix = tuple(tokens[: (k + 1) * block_size])
                assert 0 < key < 1 << 63
                assert content_of.setdefault(key, prefix) == prefix
                assert key_of.setdefault(prefix, key) == key


def test_the_key_of_a_private_block_says_so() -> None:
    workload = Workload("synthetic", np.zeros(2), np.array([40, 8]), np.array([8, 8]))
    keys = BlockKeys(workload, 16)
    assert list(keys.of(0)) == [PRIVATE_KEYS + 16, PRIVATE_KEYS + 32, PRIVATE_KEYS + 48]
    assert min(keys.of(1)) >= PRIVATE_KEYS


def test_a_hash_of_512_tokens_is_32_blocks_of_16() -> None:
    runs = Runs(np.array([0, 2, 4]), np.array([1, 2, 1, 3]), np.array([512, 512, 512, 512]))
    workload = Workload("mooncake", np.zeros(2), np.array([1024, 1024]), np.array([1, 1]), runs=runs, block=512)
    keys = BlockKeys(workload, 16)
    first, second = list(keys.of(0)), list(keys.of(1))
    assert first[:32] == second[:32]
    assert not set(first[32:]) & set(second)


@pytest.mark.parametrize("seed", range(20))
def test_how_sources_are_numbered_changes_no_key(seed: int) -> None:
    """Numbers close together are looked up in columns, others in a dictionary; PRIVATE stays what it is."""
    workload = random_workload(np.random.default_rng(seed))
    assert workload.runs is not None
    assert workload.output_source is not None
    far = replace(
        workload,
        runs=replace(workload.runs, source=workload.runs.source * 10**6),
        output_source=np.where(workload.output_source == PRIVATE, PRIVATE, workload.output_source * 10**6),
    )
    for block_size in (1, 3):
        near_keys, far_keys = BlockKeys(workload, block_size), BlockKeys(far, block_size)
        assert len(near_keys._first) > 0
        assert len(far_keys._first) == 0
        for row in range(len(workload)):
            assert list(near_keys.of(row)) == list(far_keys.of(row))

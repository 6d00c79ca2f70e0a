"""The number of threads that decode steps take is the one on which they were quickest."""

import time
from collections.abc import Iterator

import pytest
import torch

from engine.threads import TRIES, DecodeThreads


@pytest.fixture(autouse=True)
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("quickest", [1, 2, 4])
def test_all_are_tried_and_the_quickest_stays(quickest: int) -> None:
    threads, taken = DecodeThreads(), []
    for _ in range(5 * TRIES):
        with threads.step(32):
            taken.append(torch.get_num_threads())
            time.sleep(0.001 if taken[-1] == quickest else 0.005)
        assert torch.get_num_threads() == 4
    assert sorted(taken[: 3 * TRIES]) == sorted([1, 2, 4] * TRIES)
    assert taken[3 * TRIES :] == [quickest] * (2 * TRIES)


def test_steps_of_other_sizes_are_tried_for_themselves() -> None:
    threads = DecodeThreads()
    for _ in range(3 * TRIES):
        with threads.step(32):
            time.sleep(0.001 * torch.get_num_threads())
    with threads.step(40):  # 32 to 63 rows are one size
        assert torch.get_num_threads() == 1
    with threads.step(64):
        assert torch.get_num_threads() == 4


def test_an_error_leaves_all_threads() -> None:
    with pytest.raises(ValueError, match="no"), DecodeThreads().step(1):
        raise ValueError("no")
    assert torch.get_num_threads() == 4

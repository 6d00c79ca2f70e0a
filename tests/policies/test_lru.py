"""LRU with lazy deletion does what a plain list does."""

import numpy as np
import pytest

from simcore.policies.eviction import LRU, Setting, Use

USE = Use()


def lru() -> LRU:
    policy = LRU()
    policy.begin(Setting(30))
    return policy


@pytest.mark.parametrize("seed", range(20))
def test_lru_equals_a_plain_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    policy, queue, held = lru(), [], list(range(30))
    for _ in range(400):
        match int(rng.integers(3)):
            case 0 if held:
                blocks = [held.pop(int(rng.integers(len(held)))) for _ in range(int(rng.integers(1, len(held) + 1)))]
                policy.released(blocks, USE)
                queue += blocks
            case 1 if queue:
                blocks = [queue.pop(int(rng.integers(len(queue)))) for _ in range(int(rng.integers(1, len(queue) + 1)))]
                policy.shared(blocks, blocks, blocks, USE)
                held += blocks
            case 2 if queue:
                count = int(rng.integers(1, len(queue) + 1))
                victims, queue = queue[:count], queue[count:]
                assert policy.victims(count) == victims
                held += victims
        assert list(policy) == queue


def test_hits_without_evictions_do_not_pile_up() -> None:
    policy = lru()
    policy.released(range(10), USE)
    for _ in range(1000):
        policy.shared([3, 4], [3, 4], [3, 4], USE)
        policy.released([3, 4], USE)
    assert len(policy._queue) <= 2 * 10 + 2
    assert policy.victims(10) == [0, 1, 2, 5, 6, 7, 8, 9, 3, 4]

"""The order of the free queue, as vLLM's own tests state it (tests/v1/core/test_prefix_caching.py)."""

from simcore.memory.pool import BlockPool
from simcore.policies.eviction import LRU


def test_blocks_are_handed_out_in_order() -> None:
    pool = BlockPool(6, LRU())
    assert pool.take(3, 0) == [1, 2, 3]
    assert list(pool.free_queue()) == [4, 5]
    assert pool.take(2, 0) == [4, 5]
    assert pool.free == 0


def test_uncached_blocks_go_to_the_front_last_first_and_cached_ones_to_the_tail() -> None:
    pool = BlockPool(11, LRU())
    prefix = pool.take(3, 0)
    pool.register(prefix, [101, 102, 103], 0)
    first = prefix + pool.take(1, 0)
    pool.share(pool.find([101, 102, 103], 3), [101, 102, 103], 1)
    second = prefix + pool.take(1, 1)
    assert (first, second) == ([1, 2, 3, 4], [1, 2, 3, 5])
    pool.release(first, 3, 0)
    pool.release(second, 3, 1)
    assert list(pool.free_queue()) == [5, 4, 6, 7, 8, 9, 10, 3, 2, 1]
    assert (pool.free, pool.idle) == (10, 3)


def test_a_hit_takes_blocks_out_of_the_middle_of_the_queue() -> None:
    pool = BlockPool(11, LRU())
    a, b = pool.take(6, 0), pool.take(4, 1)
    pool.register(a[:5], [1, 2, 3, 4, 5], 0)
    pool.register(b[:3], [11, 12, 13], 1)
    pool.release(b, 3, 1)
    pool.release(a, 5, 0)
    assert list(pool.free_queue()) == [6, 10, 9, 8, 7, 5, 4, 3, 2, 1]
    pool.share(pool.find([1, 2], 2), [1, 2], 2)
    assert list(pool.free_queue()) == [6, 10, 9, 8, 7, 5, 4, 3]


def test_of_two_blocks_with_one_key_the_older_is_found_until_it_is_evicted() -> None:
    pool = BlockPool(4, LRU())
    for sequence in (0, 1):
        pool.register(pool.take(1, sequence), [77], sequence)
    assert pool.find([77], 1) == [1]
    pool.release([1], 1, 0)
    pool.release([2], 1, 1)
    assert pool.take(2, 2) == [3, 1]
    assert (pool.evictions, pool.find([77], 1)) == (1, [2])
    assert pool.take(1, 2) == [2]
    assert pool.find([77], 1) == []


def test_a_pool_costs_nothing_until_it_is_used() -> None:
    pool = BlockPool(10**12, LRU())
    assert pool.take(2, 0) == [1, 2]
    pool.release([1, 2], 0, 0)
    assert pool.take(3, 0) == [2, 1, 3]

"""The block tensors: what is written, copied, swapped or packed is the same bits elsewhere; nothing else changes."""

import pytest
import torch

from engine.kv_cache import KVCache

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def filled(dtype=torch.float32, blocks=6, block_size=4):
    cache = KVCache(3, blocks, block_size, 2, 5, dtype)
    draw = torch.Generator().manual_seed(0)
    cache.data.copy_(torch.randn(cache.data.shape, generator=draw))
    return cache


def test_size_and_layout():
    cache = KVCache(3, 6, 4, 2, 5, torch.bfloat16)
    assert cache.data.shape == (3, 2, 6, 4, 2, 5)
    assert cache.nbytes == 3 * 2 * 6 * 4 * 2 * 5 * 2
    assert cache.token_bytes == 2 * 2 * 5 * 2
    assert (cache.block_size, cache.slots, cache.dtype) == (4, 24, torch.bfloat16)
    assert cache.data.isnan().all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_slot_is_a_block_and_an_offset(dtype):
    cache = KVCache(3, 6, 4, 2, 5, dtype)
    k, v = torch.randn(2, 3, 2, 5).to(dtype)
    cache.write(1, torch.tensor([9, 4, 23]), k, v)
    for which, (block, offset) in enumerate([(2, 1), (1, 0), (5, 3)]):
        assert torch.equal(cache.data[1, 0, block, offset], k[which])
        assert torch.equal(cache.data[1, 1, block, offset], v[which])
    assert cache.data.isnan().sum() == cache.data.numel() - 2 * 3 * 2 * 5


def test_copies_read_all_before_they_write_any():
    cache = filled()
    before = cache.data.clone()
    cache.copy([1, 2, 5], [2, 1, 3])
    assert torch.equal(cache.data[:, :, [0, 1, 2, 3, 4, 5]], before[:, :, [0, 2, 1, 5, 4, 5]])


@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_swapped_out_come_back_bit_for_bit_to_other_places(dtype):
    cache = filled(dtype)
    before = cache.data.clone()
    host = cache.host(4)
    assert host.nbytes == 4 * cache.nbytes // 6
    cache.swap_out(host, [1, 5, 2], [3, 0, 1])
    assert host.data[2].isnan().all()
    cache.poison([1, 5, 2])
    assert cache.data[:, :, [1, 5, 2]].isnan().all()
    cache.swap_in(host, [0, 1, 3], [2, 4, 1])
    assert torch.equal(cache.data[:, :, [0, 1, 2, 3, 4]], before[:, :, [0, 1, 5, 3, 2]])
    assert cache.data[:, :, 5].isnan().all()


@pytest.mark.parametrize("kept", [7, 4, 1, 0])
@pytest.mark.parametrize("target", [[4, 2], [4], [4, 3], [1, 2], [5]])
def test_each_head_keeps_tokens_of_its_own_and_the_rest_is_poisoned(kept, target):
    if kept > len(target) * 4:
        target = [*target, 0]
    cache = filled()
    before = cache.data.clone()
    draw = torch.Generator().manual_seed(kept)
    places = torch.rand(3, 2, 7, generator=draw).argsort(-1)[..., :kept].sort(-1).values
    cache.compact([4, 2], target, places)
    old, new = before.view(3, 2, 24, 2, 5), cache.data.view(3, 2, 24, 2, 5)
    slots, front = ([block * 4 + offset for block in table for offset in range(4)] for table in ([4, 2], target))
    for layer in range(3):
        for head in range(2):
            chosen = [slots[place] for place in places[layer, head]]
            assert torch.equal(new[layer, :, front[:kept], head], old[layer, :, chosen, head])
    assert new[:, :, front[kept:]].isnan().all()
    others = [block for block in range(6) if block not in target]
    assert torch.equal(cache.data[:, :, others], before[:, :, others])


def test_scratch_is_the_same_memory_until_more_is_needed():
    cache = KVCache(1, 2, 4, 2, 5)
    assert cache.scratch_nbytes == 0
    small = cache.scratch(8)
    assert cache.scratch(8).data_ptr() == cache.scratch(3).data_ptr() == small.data_ptr()
    assert cache.scratch(100).shape == (100, 2, 5)
    assert cache.scratch_nbytes == 125 * 2 * 5 * 4


def test_nothing_to_do():
    cache = filled()
    before = cache.data.clone()
    cache.copy([], [])
    cache.poison([])
    cache.swap_out(cache.host(1), [], [])
    cache.swap_in(cache.host(1), [], [])
    cache.write(0, torch.tensor([], dtype=torch.int64), torch.empty(0, 2, 5), torch.empty(0, 2, 5))
    assert torch.equal(cache.data, before)

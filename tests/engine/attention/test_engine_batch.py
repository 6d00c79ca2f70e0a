"""A step as tensors: slots, tables and FlashInfer's names, by hand."""

import pytest
import torch

from engine.batch import Batch


def test_decode_a_chunk_and_a_fresh_prompt_side_by_side():
    batch = Batch.of(
        [[3, 1], [4, 2, 7], [5]], starts=[5, 6, 0], counts=[1, 3, 2], tokens=[10, 20, 21, 22, 30, 31], block_size=4
    )
    assert batch.tokens.tolist() == [10, 20, 21, 22, 30, 31]
    assert batch.positions.tolist() == [5, 6, 7, 8, 0, 1]
    # block * 4 + offset: place 5 of row 0 is the second of block 1; places 6 and 7 lie in block 2, 8 begins block 7
    assert batch.slots.tolist() == [5, 10, 11, 28, 20, 21]
    assert batch.cu_q.tolist() == [0, 1, 4, 6]
    assert batch.lens.tolist() == [6, 9, 2]
    assert batch.ends == (6, 9, 2)
    assert batch.block_table.tolist() == [[3, 1, 0], [4, 2, 7], [5, 0, 0]]
    assert batch.kv_indptr.tolist() == [0, 2, 5, 6]
    assert batch.kv_indices.tolist() == [3, 1, 4, 2, 7, 5]
    assert batch.kv_last_page_len.tolist() == [2, 1, 2]
    wide, narrow = (
        (batch.tokens, batch.positions, batch.slots),
        (batch.cu_q, batch.lens, batch.block_table, batch.kv_indptr),
    )
    assert {x.dtype for x in wide} == {torch.int64}
    assert {x.dtype for x in narrow} == {torch.int32}


def test_a_full_last_block_and_blocks_of_one_token():
    batch = Batch.of([[2, 9]], starts=[7], counts=[1], tokens=[0], block_size=4)
    assert (batch.slots.tolist(), batch.kv_last_page_len.tolist()) == ([39], [4])
    batch = Batch.of([[2, 9, 4]], starts=[1], counts=[2], tokens=[0, 0], block_size=1)
    assert (batch.slots.tolist(), batch.kv_last_page_len.tolist()) == ([9, 4], [1])


def test_blocks_that_a_table_has_ahead_of_need_are_left_out():
    batch = Batch.of([[6, 8, 3]], starts=[0], counts=[2], tokens=[0, 0], block_size=2)
    assert (batch.block_table.tolist(), batch.kv_indices.tolist()) == ([[6]], [6])


def test_positions_may_run_ahead_of_places():
    batch = Batch.of([[1, 2]], starts=[3], counts=[2], tokens=[0, 0], block_size=4, positions=[10, 11])
    assert (batch.positions.tolist(), batch.slots.tolist()) == ([10, 11], [7, 8])


def test_tokens_may_be_on_the_device_already():
    tokens = torch.tensor([4, 5])
    assert Batch.of([[1]], [0], [2], tokens, 4).tokens is tokens


def test_no_rows():
    batch = Batch.of([], [], [], [], 16)
    assert [x.tolist() for x in (batch.tokens, batch.slots, batch.cu_q, batch.lens)] == [[], [], [0], []]
    assert (batch.kv_indptr.tolist(), batch.kv_indices.tolist()) == ([0], [])


def test_a_table_too_short_for_its_row_is_found():
    with pytest.raises(ValueError, match="row 0 has 1 blocks of 4 tokens for 5 tokens"):
        Batch.of([[1]], starts=[4], counts=[1], tokens=[0], block_size=4)


def test_padding_and_memory_that_stays_for_cuda_graphs():
    still = Batch.of([[1, 1, 1]] * 3, [11] * 3, [1] * 3, [0] * 3, 4)
    places = [x.data_ptr() for x in (still.tokens, still.slots, still.block_table)]
    still.copy_(Batch.of([[7, 5], [], []], [4, -1, -1], [1, 1, 1], [9, 0, 0], 4, width=3))
    assert [x.data_ptr() for x in (still.tokens, still.slots, still.block_table)] == places
    assert (still.tokens.tolist(), still.positions.tolist(), still.slots.tolist()) == (
        [9, 0, 0],
        [4, 0, 0],
        [20, -1, -1],
    )
    assert (still.lens.tolist(), still.cu_q.tolist()) == ([5, 0, 0], [0, 1, 2, 3])
    assert still.block_table.tolist() == [[7, 5, 0], [0, 0, 0], [0, 0, 0]]
    assert still.ends == (12, 12, 12)

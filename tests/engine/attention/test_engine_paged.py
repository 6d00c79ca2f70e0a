"""Attention over pages, whatever the rows of a step, against the NumPy reference on each sequence whole."""

from dataclasses import dataclass, replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from engine.attention import BlockLocalAttention, PagedAttention, decode_path, gather, in_place, reference
from engine.batch import Batch
from engine.kv_cache import KVCache
from engine.meter import StorageMeter
from simcore.errors import InputError

DIM, LAYERS = 8, 2
PLACES = [
    ("cpu", "in-place"),
    ("cpu", "gather"),
    *(
        pytest.param("cuda", path, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"))
        for path in ("gather", "triton")
    ),
]


@dataclass(frozen=True)
class Play:
    """Sequences of some lengths, pushed through in steps: each step has rows of (sequence, new tokens)."""

    lens: list[int]
    steps: list[list[tuple[int, int]]]
    tables: list[list[int]]
    blocks: int
    block_size: int
    heads: tuple[int, int] = (4, 2)
    window: int = 0
    shared: int = 0  # blocks that all tables begin with, of tokens that all sequences begin with
    dtype: torch.dtype = torch.float64

    def inputs(self, seed=0):
        """Per sequence and layer q, k, v [tokens, heads, DIM]; the first shared * block_size tokens are equal."""
        draw = torch.Generator().manual_seed(seed)
        most = max(self.lens)
        common = [torch.randn(LAYERS, most, n, DIM, generator=draw) for n in (self.heads[0], *2 * self.heads[1:])]
        inputs = []
        for length in self.lens:
            own = [torch.randn(x.shape, generator=draw) for x in common]
            for mine, theirs in zip(own, common, strict=True):
                mine[:, : self.shared * self.block_size] = theirs[:, : self.shared * self.block_size]
            inputs.append([x[:, :length].to(self.dtype) for x in own])
        return inputs

    def results(self, inputs, device="cpu", path="auto"):
        """Per sequence [layers, tokens, heads, DIM], once all steps are done; every result of every step is finite."""
        cache = KVCache(LAYERS, self.blocks, self.block_size, self.heads[1], DIM, self.dtype, device)
        done = [0] * len(self.lens)
        out = [torch.full_like(x[0], float("nan")) for x in inputs]
        for rows in self.steps:
            counts = [count for _, count in rows]
            starts = [done[row] for row, _ in rows]
            tables = [self.tables[row] for row, _ in rows]
            batch = Batch.of(tables, starts, counts, [0] * sum(counts), self.block_size, device)
            attend = PagedAttention(cache, batch, window=self.window, path=path)
            spans = [(row, slice(start, start + count)) for (row, count), start in zip(rows, starts, strict=True)]
            for layer in range(LAYERS):
                q, k, v = (torch.cat([inputs[row][i][layer, part] for row, part in spans]).to(device) for i in range(3))
                for (row, part), got in zip(spans, attend(layer, q, k, v).cpu().split(counts), strict=True):
                    out[row][layer, part] = got
            for row, part in spans:
                done[row] = part.stop
        assert done == self.lens
        return out

    def check(self, atol=1e-12, device="cpu", path="auto"):
        inputs = self.inputs()
        for (q, k, v), got in zip(inputs, self.results(inputs, device, path), strict=True):
            for layer in range(LAYERS):
                one = (x[layer].double().numpy() for x in (q, k, v))
                want = reference.sliding_window(*one, self.window) if self.window else reference.standard(*one)
                torch.testing.assert_close(got[layer].double(), torch.from_numpy(want), rtol=0, atol=atol)


@st.composite
def plays(draw):
    """Any lengths, chunks, orders of rows and blocks; tables may share their first blocks."""
    lens = draw(st.lists(st.integers(1, 24), min_size=1, max_size=5))
    block_size = draw(st.integers(1, 9))
    shared = draw(st.integers(0, min(lens) // block_size))
    needs = [-(-n // block_size) - shared for n in lens]
    blocks = 2 + shared + sum(needs)
    free = draw(st.permutations(range(1, blocks)))
    prefix, free = free[:shared], free[shared:]
    tables = []
    for need in needs:
        tables.append(prefix + free[:need])
        free = free[need:]
    left, steps = dict(enumerate(lens)), []
    while left:
        rows = draw(st.permutations(sorted(left)))[: draw(st.integers(1, len(left)))]
        step = [(row, draw(st.sampled_from([1, 1, 2, 5, 24]))) for row in rows]
        step = [(row, min(count, left[row])) for row, count in step]
        steps.append(step)
        left = {row: n for row, n in ((row, n - dict(step).get(row, 0)) for row, n in left.items()) if n}
    heads = draw(st.sampled_from([(4, 4), (4, 2), (3, 1)]))
    window = draw(st.sampled_from([0, 0, 1, 2, 7, 30]))
    return Play(lens, steps, tables, blocks, block_size, heads, window, shared)


ONE = Play([1], [[(0, 1)]], [[1]], blocks=2, block_size=4)
FULL_LAST_BLOCK = Play([8], [[(0, 7)], [(0, 1)]], [[3, 1]], blocks=4, block_size=4)
CONSECUTIVE = Play([9], [[(0, 7)], [(0, 1)], [(0, 1)]], [[1, 2, 3]], blocks=4, block_size=4)
BLOCKS_OF_ONE = Play([3, 2], [[(0, 2), (1, 1)], [(1, 1), (0, 1)]], [[4, 2, 5], [1, 3]], blocks=6, block_size=1)
# The second row begins in blocks that the first fills in the same step.
SAME_STEP = Play([6, 6], [[(1, 5), (0, 5)], [(0, 1), (1, 1)]], [[1, 2, 3], [1, 2, 4]], blocks=5, block_size=2, shared=2)


@given(plays())
@example(ONE)
@example(FULL_LAST_BLOCK)
@example(CONSECUTIVE)
@example(BLOCKS_OF_ONE)
@example(SAME_STEP)
def test_any_steps_give_what_each_sequence_whole_gives(play):
    for _, path in PLACES[:2]:
        play.check(path=path)


def some_play(**changes):
    """Ragged rows: prompts in one or two chunks, then decode rows beside late prompts."""
    lens = [37, 5, 20, 64, 1]
    steps = [[(0, 30), (1, 4)], [(3, 40), (0, 1), (1, 1)], [(2, 7), (3, 20), (0, 1)], [(2, 12), (3, 1), (4, 1), (0, 1)]]
    steps += [[(0, 1), (3, 1), (2, 1)], [(3, 1), (0, 1)], [(0, 1), (3, 1)], [(0, 1)]]
    free = torch.randperm(20, generator=torch.Generator().manual_seed(1)).add(1).tolist()
    tables = [[free.pop() for _ in range(-(-n // 8))] for n in lens]
    return Play(lens, steps, tables, 21, 8, **changes)


NEVER = {("triton", torch.float64), ("in-place", torch.float16), ("in-place", torch.bfloat16)}
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5, torch.float16: 4e-3, torch.bfloat16: 3e-2}


@pytest.mark.parametrize("window", [0, 3, 16])
@pytest.mark.parametrize("heads", [(4, 4), (8, 2), (5, 1)])
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("device", "path"), PLACES)
def test_every_precision_and_every_sharing_of_heads(device, path, dtype, heads, window):
    if (path, dtype) in NEVER:
        pytest.skip(f"{path} has no {dtype}")
    some_play(dtype=dtype, heads=heads, window=window).check(TOLERANCE[dtype], device, path)


@pytest.mark.parametrize("play", [ONE, FULL_LAST_BLOCK, CONSECUTIVE, BLOCKS_OF_ONE, SAME_STEP])
@pytest.mark.parametrize(("device", "path"), PLACES[2:])
def test_edges_on_cuda(device, path, play):
    replace(play, dtype=torch.float32).check(1e-5, device, path)


@pytest.mark.parametrize("room", [1, 2**12, 2**30])
def test_results_do_not_depend_on_how_many_rows_are_gathered_together(monkeypatch, room):
    monkeypatch.setattr(gather, "CPU_BYTES", room)
    some_play().check(path="gather")


@pytest.mark.parametrize(("few", "reads"), [(0, 0), (0, 60), (1, 10**9)])
@pytest.mark.parametrize("even", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("window", [0, 16])
def test_results_do_not_depend_on_which_rows_are_read_in_place(monkeypatch, few, reads, even, window):
    monkeypatch.setattr(in_place, "FEW_HEADS", few)
    monkeypatch.setattr(in_place, "READS", reads)
    monkeypatch.setattr(in_place, "EVEN", even)
    some_play(window=window).check(path="in-place")


def test_decode_in_place_copies_no_keys_and_values():
    cache = KVCache(1, 60, 16, 4, 64)
    cache.data.normal_()
    batch = Batch.of([range(1, 60, 2), range(2, 60, 2)], [450, 430], [1, 1], [0, 0], 16)
    peak = {}
    for path in ("in-place", "gather"):
        with StorageMeter() as meter:
            PagedAttention(cache, batch, path=path)(0, *torch.randn(3, 2, 4, 64))
        peak[path] = meter.peak
    assert peak["in-place"] < 0.1 * cache.nbytes
    assert peak["gather"] > 0.4 * cache.nbytes


def test_a_row_is_gathered_without_a_copy_where_its_blocks_are_consecutive():
    cache = KVCache(1, 9, 4, 1, DIM)
    for table, scratch in (([5, 6, 7], False), ([5, 7, 6], True)):
        batch = Batch.of([table], [10], [1], [0], 4)
        cache.data.normal_()
        PagedAttention(cache, batch, path="gather")(0, *torch.randn(3, 1, 1, DIM))
        assert (cache.scratch_nbytes > 0) == scratch


def test_nothing_to_attend():
    cache = KVCache(1, 2, 4, 1, DIM)
    q = torch.empty(0, 2, DIM)
    assert PagedAttention(cache, Batch.of([], [], [], [], 4))(0, q, q[:, :1], q[:, :1]).shape == (0, 2, DIM)
    assert cache.data.isnan().all()


@pytest.mark.parametrize("path", ["in-place", "gather"])
def test_what_is_not_written_would_be_seen(path):
    cache = KVCache(1, 4, 4, 1, DIM)
    q, k, v = torch.randn(3, 1, 1, DIM)
    batch = Batch.of([[2]], [3], [1], [0], 4)  # claims three tokens that nobody wrote
    assert PagedAttention(cache, batch, path=path)(0, q, k, v).isnan().all()


def test_the_new_tokens_are_in_the_cache_afterwards_and_nothing_else_is():
    cache = KVCache(2, 6, 4, 2, DIM)
    batch = Batch.of([[5, 3], [1]], [0, 0], [6, 1], [0] * 7, 4)
    q, k, v = torch.randn(7, 4, DIM), *torch.randn(2, 7, 2, DIM)
    PagedAttention(cache, batch)(1, q, k, v)
    assert torch.equal(cache.data[1, 0, 5], k[:4])
    assert torch.equal(cache.data[1, 1, 3, :2], v[4:6])
    assert torch.equal(cache.data[1, 0, 1, 0], k[6])
    assert (~cache.data.isnan()).sum() == 2 * 7 * 2 * DIM


def test_block_local_equals_exact_only_while_one_block_holds_all():
    play = Play([6], [[(0, 6)]], [[2, 1]], blocks=3, block_size=4)
    inputs = play.inputs()
    q, k, v = (x[0] for x in inputs[0])
    exact = play.results(inputs)[0][0]
    local = BlockLocalAttention([6], 4)(0, q, k, v)
    torch.testing.assert_close(local[:4], exact[:4], rtol=0, atol=1e-13)
    assert (local[4:] - exact[4:]).abs().amax((1, 2)).min() > 1e-3


def test_which_path_runs():
    cache = KVCache(1, 2, 4, 1, DIM)
    assert decode_path(cache) == "in-place"
    assert decode_path(cache, "gather") == "gather"
    assert decode_path(KVCache(1, 2, 4, 1, DIM, torch.bfloat16)) == "gather"
    assert PagedAttention(cache, Batch.of([[1]], [0], [1], [0], 4)).path == "in-place"
    with pytest.raises(InputError, match='path = "triton" cannot run here, only gather, in-place can'):
        decode_path(cache, "triton")

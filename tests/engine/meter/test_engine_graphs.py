"""Decode steps as CUDA graphs: what is filled in, and that replays answer as kernels do, launched one by one."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attention import PagedAttention
from engine.batch import Batch
from engine.checkpoint import Checkpoint
from engine.executor import EngineExecutor
from engine.graphs import DecodeGraphs, DecodeInputs, bucket
from engine.kv_cache import KVCache
from engine.models import CausalLM, GPT2Shape, LlamaShape, Rope, build
from engine.tokens import TokenIds
from simcore import Simulation, Workload
from simcore.policies.pruning import PRUNING
from simcore.workload import make_workload
from tests.engine.validate.small_runs import CONVERSATIONS, checkpoint, scenario

ON_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
TENSORS = ("tokens", "positions", "slots", "block_table", "cu_q", "lens")


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_inputs_are_those_of_a_batch_and_the_rest_is_padding(rows: int) -> None:
    rng = np.random.default_rng(rows)
    inputs = DecodeInputs(8, 16, 4, "cpu")
    inputs.fill([list(range(1, 17))] * 8, [63] * 8, np.full(8, 5))  # whatever was there before
    starts = rng.integers(0, 60, rows).tolist()
    tables = [rng.permutation(np.arange(1, 40))[: start // 4 + 1].tolist() for start in starts]
    tokens = rng.integers(0, 97, rows)
    found = inputs.fill(tables, starts, tokens)

    padding = 8 - rows
    padded = [*tokens.tolist(), *[0] * padding]
    whole = Batch.of([*tables, *[[]] * padding], [*starts, *[-1] * padding], [1] * 8, padded, 4, width=16)
    alone = Batch.of(tables, starts, [1] * rows, tokens.tolist(), 4, width=16)
    for name in TENSORS:
        assert getattr(inputs.batch, name).tolist() == getattr(whole, name).tolist(), name
        assert getattr(found, name).tolist() == getattr(alone, name).tolist(), name
        assert getattr(found, name).dtype == getattr(alone, name).dtype, name
        assert getattr(found, name).data_ptr() == getattr(inputs.batch, name).data_ptr(), name
    assert (found.starts, found.counts) == (alone.starts, alone.counts)
    moved = inputs.fill(tables, starts, tokens, np.array(starts) + 7)
    assert moved.positions.tolist() == [start + 7 for start in starts]
    assert moved.slots.tolist() == alone.slots.tolist()
    assert all(bound >= start for bound, start in zip(inputs.batch.starts, whole.starts, strict=True))


def test_a_bucket_is_little_larger_and_there_are_few() -> None:
    buckets = [bucket(rows) for rows in range(1, 513)]
    assert all(rows <= size <= max(rows + 1, 1.25 * rows) for rows, size in enumerate(buckets, 1))
    assert buckets == sorted(buckets)
    assert len(set(buckets)) <= 4 * 9


class _OnCpu:
    """In place of a recorded step: run now, on the rows that were filled in."""

    def __init__(self, model: CausalLM, cache: KVCache, rows: int, width: int) -> None:
        self.inputs = DecodeInputs(rows, width, cache.block_size, "cpu")
        self._model = model
        self._cache = cache

    def __call__(self, rows: int) -> Tensor:
        whole = self.inputs.batch
        first = {name: getattr(whole, name)[:rows] for name in ("tokens", "positions", "slots", "block_table", "lens")}
        starts = tuple((first["lens"] - 1).tolist())
        batch = Batch(
            **first, cu_q=whole.cu_q[: rows + 1], starts=starts, counts=(1,) * rows, block_size=whole.block_size
        )
        logits: Tensor = self._model(batch.tokens, batch.positions, PagedAttention(self._cache, batch))
        return logits


class _Stand:
    """In place of all graphs; counts what it is asked for."""

    def __init__(self, model: CausalLM, cache: KVCache) -> None:
        self.asked: list[tuple[int, int]] = []
        self._model = model
        self._cache = cache

    def find(self, rows: int, blocks: int) -> _OnCpu:
        self.asked.append((rows, blocks))
        return _OnCpu(self._model, self._cache, bucket(rows), blocks)


def play(
    loaded: Checkpoint, workload: Workload, tables: dict[str, Any], *, stand: bool = False, **options: Any
) -> EngineExecutor:
    chosen = scenario(**tables)
    memory = chosen.memory.model_copy(update={"keep_unwritten": False})
    chosen = chosen.model_copy(update={"memory": memory})
    executor = EngineExecutor(
        loaded.model,
        workload,
        TokenIds(workload, loaded.shape.vocab_size),
        blocks=memory.blocks or 0,
        block_size=memory.block_size,
        host_blocks=memory.blocks or 0,
        generate=True,
        **options,
    )
    if stand:
        executor.graphs = _Stand(loaded.model, executor.cache)  # type: ignore[assignment]
    Simulation(chosen, workload=workload, executor=executor).run()
    return executor


def drawn(executor: EngineExecutor) -> dict[tuple[int, int], list[int]]:
    return {branch: text.drawn for branch, text in executor.texts.items()}


@pytest.mark.parametrize("preemption", ["recompute", "swap"])
def test_answers_are_the_same_with_decode_steps_taken_aside(tmp_path: Path, preemption: str) -> None:
    loaded = checkpoint(tmp_path)
    tables: dict[str, Any] = {
        "memory": {"blocks": 30},
        "scheduler": {"preemption": preemption},
        "workload": CONVERSATIONS,
    }
    chosen = scenario(**tables)
    workload = make_workload(chosen.workload, chosen.seed)
    aside = play(loaded, workload, tables, stand=True)
    assert isinstance(aside.graphs, _Stand)
    assert len(aside.graphs.asked) > 20
    assert len(set(aside.graphs.asked)) > 5
    assert drawn(aside) == drawn(play(loaded, workload, tables))


def pruned(policy: str, during: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables of a scenario, and what an executor is told of them."""
    tables = {
        "memory": {"blocks": 40},
        "workload": CONVERSATIONS,
        "pruning": {"policy": policy, "budget": 10, "during": during},
    }
    return tables, {"pruning": PRUNING[policy](), "prune_outputs": during == "outputs"}


@pytest.mark.parametrize(
    ("policy", "during", "watched"),
    [("snap-kv", "prompt", False), ("key-norm", "outputs", False), ("tova", "outputs", True), ("h2o", "outputs", True)],
)
def test_pruned_sequences_are_taken_aside_too_unless_they_must_be_watched(
    tmp_path: Path, policy: str, during: str, watched: bool
) -> None:
    loaded = checkpoint(tmp_path)
    tables, options = pruned(policy, during)
    chosen = scenario(**tables)
    workload = make_workload(chosen.workload, chosen.seed)
    aside = play(loaded, workload, tables, stand=True, **options)
    assert isinstance(aside.graphs, _Stand)
    assert (len(aside.graphs.asked) == 0) == watched
    assert drawn(aside) == drawn(play(loaded, workload, tables, **options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_where_nothing_can_be_recorded_it_is_said_why_and_tried_once(tmp_path: Path) -> None:
    loaded = checkpoint(tmp_path)
    graphs = DecodeGraphs(loaded.model, KVCache(2, 4, 4, 2, 8, torch.float64))
    assert graphs.find(3, 2) is None
    assert graphs.failure
    first = graphs.failure
    assert graphs.find(9, 2) is None
    assert graphs.failure is first
    assert len(graphs) == 0


@ON_CUDA
class TestOnCuda:
    """Against the same kernels, launched one by one."""

    @pytest.mark.parametrize("family", ["llama", "gpt2"])
    @pytest.mark.parametrize(("dtype", "allowed"), [(torch.float32, 1e-3), (torch.bfloat16, 0.2)])
    def test_replays_give_the_logits_of_kernels_one_by_one(
        self, family: str, dtype: torch.dtype, allowed: float
    ) -> None:
        model = _model(family, dtype)
        size, shape = 16, model.shape
        cache = KVCache(shape.layers, 400, size, shape.kv_heads, shape.head_dim, dtype, "cuda")
        graphs = DecodeGraphs(model, cache)
        rng = np.random.default_rng(0)
        for rows, longest in [(5, 200), (64, 90), (5, 200), (3, 40), (37, 120), (1, 900)]:
            starts = rng.integers(1, longest, rows).tolist()
            free = rng.permutation(np.arange(1, 400)).tolist()
            tables = [[free.pop() for _ in range(start // size + 1)] for start in starts]
            cache.data.normal_(generator=torch.Generator("cuda").manual_seed(rows))
            filled = cache.data.clone()
            tokens = rng.integers(0, 97, rows)
            with torch.inference_mode():
                batch = Batch.of(tables, starts, [1] * rows, tokens.tolist(), size, "cuda")
                expected = model(batch.tokens, batch.positions, PagedAttention(cache, batch))
                written = cache.data.clone()
                cache.data.copy_(filled)
                graph = graphs.find(rows, max(map(len, tables)))
                assert graph is not None, graphs.failure
                assert torch.equal(cache.data, filled)  # recording writes nothing
                graph.inputs.fill(tables, starts, tokens)
                logits = graph(rows)
                assert logits.shape == expected.shape
                assert (logits.float() - expected.float()).abs().max() <= allowed * expected.float().std()
                changed = ((data != filled).flatten(-2).any(-1) for data in (cache.data, written))
                assert torch.equal(*changed)  # the same slots were written, and no other
        assert len(graphs) == 5  # of five rows there were two

    @pytest.mark.parametrize("preemption", ["recompute", "swap"])
    def test_answers_under_pressure_are_those_without_graphs(self, tmp_path: Path, preemption: str) -> None:
        loaded = checkpoint(tmp_path, torch.float32)
        loaded.model.cuda()
        tables: dict[str, Any] = {"memory": {"blocks": 30}, "scheduler": {"preemption": preemption}}
        chosen = scenario(**tables)
        workload = make_workload(chosen.workload, chosen.seed)
        replayed = play(loaded, workload, tables, graphs=True)
        assert replayed.graphs is not None
        assert not replayed.graphs.failure
        assert len(replayed.graphs) > 2
        with_graphs, without = drawn(replayed), drawn(play(loaded, workload, tables))
        assert with_graphs.keys() == without.keys()
        alike = sum(with_graphs[branch] == without[branch] for branch in without)
        assert alike >= 0.9 * len(without)  # rounding may tip a close choice

    @pytest.mark.parametrize(("policy", "during"), [("snap-kv", "prompt"), ("key-norm", "outputs"), ("h2o", "outputs")])
    def test_pruned_answers_are_those_without_graphs(self, tmp_path: Path, policy: str, during: str) -> None:
        loaded = checkpoint(tmp_path, torch.float32)
        loaded.model.cuda()
        tables, options = pruned(policy, during)
        chosen = scenario(**tables)
        workload = make_workload(chosen.workload, chosen.seed)
        replayed = play(loaded, workload, tables, graphs=True, **options)
        assert replayed.graphs is not None
        assert not replayed.graphs.failure
        with_graphs, without = drawn(replayed), drawn(play(loaded, workload, tables, **options))
        assert with_graphs.keys() == without.keys()
        alike = sum(with_graphs[branch] == without[branch] for branch in without)
        assert alike >= 0.9 * len(without)  # rounding may tip a close choice

    def test_a_failure_to_record_leaves_the_answers_as_they_are(self, tmp_path: Path) -> None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:  # what is left of it is left there
            failure, number, alike = pool.submit(_fail, tmp_path).result()
        assert failure
        assert number == 0
        assert alike


class _Waiting(PagedAttention):
    """Waits for the device, which cannot be recorded."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q.sum().item()
        return super().__call__(layer, q, k, v)


def _fail(folder: Path) -> tuple[str, int, bool]:
    loaded = checkpoint(folder, torch.float32)
    loaded.model.cuda()
    chosen = scenario()
    workload = make_workload(chosen.workload, chosen.seed)
    expected = drawn(play(loaded, workload, {}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("engine.graphs.PagedAttention", _Waiting)
        failed = play(loaded, workload, {}, graphs=True)
    assert failed.graphs is not None
    return failed.graphs.failure, len(failed.graphs), drawn(failed) == expected


def _model(family: str, dtype: torch.dtype) -> CausalLM:
    numbers: dict[str, Any] = {
        "layers": 3, "heads": 8, "head_dim": 64, "hidden_size": 128, "intermediate_size": 256, "vocab_size": 97,
        "max_model_len": 1024, "eps": 1e-5, "dtype": dtype,
    }  # fmt: skip
    if family == "gpt2":
        model = build(GPT2Shape(**{**numbers, "head_dim": 16}, kv_heads=8, tied=True))  # all heads are the hidden size
    else:
        model = build(LlamaShape(**numbers, kv_heads=2, tied=False, rope=Rope(10_000.0)))
    model.initialize(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 6
    return model.cuda()

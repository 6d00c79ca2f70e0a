"""The meters against arithmetic by hand, and against each other."""

import gc
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing import get_context

import pytest
import torch
from torch import Tensor

from engine.attention import DenseAttention
from engine.meter import CudaMeter, FlopMeter, ProfilerMeter, StorageMeter, Times, frozen_heap, timed
from engine.models import LlamaShape, Rope, build
from engine.rss import peak_rss

MIB = 1 << 20


def forward_and_backward(batch: int, length: int, dim: int) -> None:
    """Attention as it is written down, and its gradients."""
    q, k, v = (torch.randn(batch, length, dim, requires_grad=True) for _ in range(3))
    scaled = q * dim**-0.5
    out = torch.softmax(scaled @ k.transpose(1, 2), -1) @ v
    out.backward(torch.ones_like(out))


def analytic_peak(batch: int, length: int, dim: int) -> int:
    """Bytes: q, k, v, scaled q, output, its gradient, dV; weights, their gradient, that of the scores."""
    return 4 * (7 * batch * length * dim + 3 * batch * length * length)


class TestStorageMeter:
    def test_standard_attention_has_the_peak_that_is_published(self) -> None:
        assert analytic_peak(8, 1024, 64) == 110 * MIB
        with StorageMeter() as meter:
            forward_and_backward(8, 1024, 64)
        assert meter.peak == 110 * MIB
        assert meter.current == 0

    @pytest.mark.parametrize("shape", [(1, 64, 16), (3, 40, 8)])
    def test_so_it_has_in_other_shapes(self, shape: tuple[int, int, int]) -> None:
        with StorageMeter() as meter:
            forward_and_backward(*shape)
        assert meter.peak == analytic_peak(*shape)

    def test_views_count_once_and_the_dead_no_more(self) -> None:
        with StorageMeter() as meter:
            first = torch.zeros(256, dtype=torch.float64)
            views = [first.view(16, 16), first[8:], first.detach()]
            assert meter.current == 2048
            second = torch.zeros(128, dtype=torch.float64)
            del first
            assert meter.current == 3072  # the views keep it
            del views
            assert meter.current == 1024
        del second
        assert (meter.current, meter.peak) == (0, 3072)

    def test_what_was_alive_counts_only_on_request(self) -> None:
        weights = torch.zeros(100)
        with StorageMeter() as meter:
            weights.add_(1)
            weights.view(10, 10)
        assert meter.peak == 0
        with StorageMeter(counting=[weights, weights[5:]]) as meter:
            weights.add_(1)
            made = weights + 1
        assert (meter.current, meter.peak) == (800, 800)
        del made, weights
        assert meter.current == 0

    def test_a_storage_that_grows(self) -> None:
        with StorageMeter() as meter:
            out = torch.empty(0)
            torch.index_select(torch.zeros(4, 8), 0, torch.tensor([1, 2, 3]), out=out)
            assert meter.current == 96

    def test_what_composite_operations_make_on_the_way(self) -> None:
        left, right = torch.randn(1, 2, 16, 16).expand(8, 2, 16, 16), torch.randn(2, 16, 16)
        with torch.inference_mode(), StorageMeter() as meter:
            out = left @ right  # a batched product of copies of both
        assert meter.peak == 3 * out.nbytes

    def test_reference_cycles_die_with_the_collector(self) -> None:
        with StorageMeter() as meter:
            cycle: list[object] = [torch.zeros(64)]
            cycle.append(cycle)
            del cycle
            gc.collect()
        assert (meter.current, meter.peak) == (0, 256)


class TestProfilerMeter:
    def test_agrees_with_storage_tracking_but_for_scratch(self) -> None:
        with ProfilerMeter() as meter:
            forward_and_backward(4, 256, 32)
        expected = analytic_peak(4, 256, 32)
        assert expected <= meter.peak <= expected + 4096
        assert meter.current == 0

    def test_what_is_kept_is_left(self) -> None:
        with ProfilerMeter() as meter:
            kept = torch.zeros(1000)
        assert meter.current == kept.nbytes


class TestFlopMeter:
    def test_a_model_step_has_the_analytic_count(self) -> None:
        shape = LlamaShape(
            layers=3, heads=4, kv_heads=2, head_dim=8, hidden_size=24, intermediate_size=40, vocab_size=50,
            max_model_len=64, tied=True, eps=1e-5, dtype=torch.float32, rope=Rope(10_000.0),
        )  # fmt: skip
        model = build(shape)
        length = 16
        with torch.inference_mode(), FlopMeter() as meter:
            model(torch.arange(length), torch.arange(length), DenseAttention([length]), torch.tensor([length - 1]))
        projections = 24 * (4 + 2 * 2) * 8  # q, k, v
        after = 4 * 8 * 24 + 3 * 24 * 40  # output, gate, up, down
        attention = 4 * length * length * 2 * 8  # heads * pairs * (query-key, weight-value) * dim
        tokens = 2 * (length * projections + length * after + attention) + length * projections + attention + after
        assert meter.flops == 2 * (tokens + 24 * 50)  # of the last layer and the head only one token is wanted

    def test_products_count_twice_what_they_multiply(self) -> None:
        with FlopMeter() as meter:
            torch.zeros(3, 5) @ torch.zeros(5, 7)
            torch.zeros(3, 5).softmax(-1)
        assert meter.flops == 2 * 3 * 5 * 7


class TestTime:
    def test_sleep_takes_wall_time_and_no_cpu(self) -> None:
        calls: list[None] = []

        def work() -> None:
            calls.append(None)
            time.sleep(0.01)

        timing = timed(work, warmups=2, repeats=3)
        assert len(calls) == 5
        assert len(timing.wall.all) == len(timing.cpu.all) == 3
        assert timing.wall.median >= 0.01
        assert timing.cpu.median < 0.01
        assert timing.tool == "perf_counter, process_time"

    def test_median_and_quartiles(self) -> None:
        times = Times((5.0, 1.0, 2.0, 4.0, 3.0))
        assert (times.median, times.spread) == (3.0, (2.0, 4.0))
        assert Times((7.0,)).spread == (7.0, 7.0)


class TestPeakRss:
    def test_holds_what_was_touched(self) -> None:
        touched = torch.ones(MIB)
        peak = peak_rss()
        assert peak != peak or peak > touched.nbytes

    def test_is_none_of_the_parent(self) -> None:
        touched = torch.ones(64 * MIB)  # float32
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            peak = pool.submit(peak_rss).result()
        assert not peak >= touched.nbytes


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
class TestOnCuda:
    def test_allocator_agrees_with_storage_tracking(self) -> None:
        device = torch.device("cuda")

        def work() -> Tensor:
            x = torch.zeros(8, 128, 64, device=device)
            return (x * 2).sum(0)

        work()
        with CudaMeter(device) as allocator, StorageMeter() as storages:
            kept = work()
        assert allocator.current == storages.current == kept.nbytes
        assert storages.peak <= allocator.peak <= storages.peak + 16 * MIB  # a reduction's scratch

    def test_events_see_what_the_host_does_not_wait_for(self) -> None:
        x = torch.randn(4096, 4096, device="cuda")
        timing = timed(lambda: x @ x, device="cuda", repeats=3)
        assert "CUDA events" in timing.tool
        assert 1e-5 < timing.wall.median < 1


def test_a_frozen_heap_thaws() -> None:
    with suppress(RuntimeError), frozen_heap():
        assert gc.get_freeze_count() > 1000
        raise RuntimeError
    assert gc.get_freeze_count() == 0

# mypy: disable-error-code="no-untyped-call"
"""What work on tensors costs: bytes, seconds, floating-point operations. `tool` names what read a figure.

Bytes have five witnesses, and each sees something else:

| | sees | does not see |
| --- | --- | --- |
| `StorageMeter` | all tensors that torch makes, to the byte, on any device | scratch inside kernels; NumPy's arrays |
| `ProfilerMeter` | what torch's allocator on the CPU hands out, scratch inside kernels too | NumPy's arrays, GPUs |
| `CudaMeter` | what torch's allocator on a GPU hands out, in pieces of 512 bytes | what CUDA itself takes |
| `TracemallocMeter` | what Python allocates, NumPy's arrays too | tensors; what libraries take by themselves |
| `engine.rss.peak_rss` | the whole process, code and libraries too | where in the run it was |
"""

import gc
import statistics
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, Literal, Self, TypeAlias
from weakref import finalize

import torch
from torch import Tensor, UntypedStorage
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode


@contextmanager
def frozen_heap() -> Iterator[None]:
    """Keep the garbage collector from what is alive now: to look at it all takes a tenth of a second of some step.

    vLLM does so too, once its models are loaded.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class StorageMeter(TorchDispatchMode):
    """Bytes of the tensors that are made inside of `with`, by following their storages from birth to death.

    Views share a storage, which counts once. What was alive before counts nothing, unless it is given. Everything runs
    slower by tens of microseconds an operation, so this is no time to look at the clock.
    """

    tool = "storage tracking"

    def __init__(self, counting: Iterable[Tensor] = ()) -> None:
        """`counting`: tensors that are alive already and shall count, such as weights or a cache."""
        super().__init__()
        self.current = 0
        """bytes that are alive now"""
        self.peak = 0
        """bytes that were alive at most"""
        self._sizes: dict[int, int | None] = {}  # bytes by the id of a living storage; None: it does not count
        for tensor in counting:
            self._meet(tensor.untyped_storage())

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        with self:  # an operation that is made of others shows what they make on the way
            made = func.decompose(*args, **kwargs)
        if made is not NotImplemented:
            return made
        for storage in _storages((args, kwargs)):
            self._meet(storage, counts=False)
        made = func(*args, **kwargs)
        for storage in _storages(made):
            self._meet(storage)
        return made

    def _meet(self, storage: UntypedStorage, *, counts: bool = True) -> None:
        key, size = id(storage), storage.nbytes()
        if key not in self._sizes:
            self._sizes[key] = 0 if counts else None
            finalize(storage, self._forget, key).atexit = False
        known = self._sizes[key]
        if known is not None:  # new, or resized
            self._sizes[key] = size
            self.current += size - known
            self.peak = max(self.peak, self.current)

    def _forget(self, key: int) -> None:
        self.current -= self._sizes.pop(key) or 0


class ProfilerMeter:
    """Bytes that torch's allocator on the CPU hands out inside of `with`, as torch.profiler's memory events have it."""

    tool = "torch.profiler"

    def __init__(self) -> None:
        self.current = 0
        """bytes that are left of it at the end"""
        self.peak = 0
        """bytes that were out at most"""
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True)

    def __enter__(self) -> Self:
        self._profile.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._profile.__exit__(*raised)
        assert self._profile.profiler is not None
        tree: Any = self._profile.profiler.kineto_results
        changes = [event for event in _flat(tree.experimental_event_tree()) if event.tag.name == "Allocation"]
        for event in sorted(changes, key=lambda event: event.start_time_ns):
            if event.extra_fields.device.type == "cpu":
                self.current += event.extra_fields.alloc_size  # below 0 where it is given back
                self.peak = max(self.peak, self.current)


class CudaMeter:
    """Bytes that torch's allocator on a CUDA device hands out inside of `with`, as the allocator counts them.

    It resets the device's peak: of two that lie in each other, only the inner one is right.
    """

    tool = "CUDA allocator"

    def __init__(self, device: torch.device) -> None:
        self.current = 0
        """bytes that are left of it at the end"""
        self.peak = 0
        """bytes that were out at most"""
        self._device = device

    def __enter__(self) -> Self:
        torch.cuda.reset_peak_memory_stats(self._device)
        self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *raised: object) -> None:
        self.current = torch.cuda.memory_allocated(self._device) - self._before
        self.peak = torch.cuda.max_memory_allocated(self._device) - self._before


class TracemallocMeter:
    """Bytes that Python allocates inside of `with`, which is where NumPy's arrays are. Slow; not to be nested."""

    tool = "tracemalloc"

    def __init__(self) -> None:
        self.current = 0
        """bytes that are left of it at the end"""
        self.peak = 0
        """bytes that were out at most"""

    def __enter__(self) -> Self:
        tracemalloc.start()
        self._before = tracemalloc.get_traced_memory()[0]
        return self

    def __exit__(self, *raised: object) -> None:
        current, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        self.current, self.peak = current - self._before, peak - self._before


class Stopwatch:
    """Seconds inside of `with`, until all that was asked of the device is done."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.wall = 0.0
        """s, on the device's own clock if it is a GPU"""
        self.cpu = 0.0
        """s of this process on all cores: what remains comparable where others use the machine too"""
        self._device = torch.device(device)
        self._events = [torch.cuda.Event(enable_timing=True) for _ in range(2)] if self._device.type == "cuda" else []
        self.tool = "CUDA events, process_time" if self._events else "perf_counter, process_time"

    def by(self, clock: "Clock") -> float:
        """s by one clock."""
        return self.cpu if clock == "cpu" else self.wall

    def __enter__(self) -> Self:
        self._begun_cpu = process_time()
        if self._events:
            self._events[0].record(torch.cuda.current_stream(self._device))
        self._begun = perf_counter()
        return self

    def __exit__(self, *raised: object) -> None:
        if self._events:
            self._events[1].record(torch.cuda.current_stream(self._device))
            self._events[1].synchronize()
            self.wall = self._events[0].elapsed_time(self._events[1]) / 1e3
        else:
            self.wall = perf_counter() - self._begun
        self.cpu = process_time() - self._begun_cpu


Clock: TypeAlias = Literal["wall", "cpu"]


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of the same work, done again and again."""

    all: tuple[float, ...]

    @property
    def median(self) -> float:
        """s"""
        return statistics.median(self.all)

    @property
    def spread(self) -> tuple[float, float]:
        """s: the first and the third quartile, between which half of them lie; the same twice if there is one only."""
        if len(self.all) == 1:
            return self.all[0], self.all[0]
        low, _, high = statistics.quantiles(self.all, n=4, method="inclusive")
        return low, high


@dataclass(frozen=True, slots=True)
class Timing:
    """What repeating a piece of work took."""

    wall: Times
    cpu: Times
    tool: str

    def by(self, clock: "Clock") -> Times:
        """The times of one clock."""
        return self.cpu if clock == "cpu" else self.wall


def timed(
    work: Callable[[], object], *, warmups: int = 1, repeats: int = 5, device: torch.device | str = "cpu"
) -> Timing:
    """Do something `repeats` times after `warmups` that do not count: caches, allocators and clocks settle first."""
    for _ in range(warmups):
        work()
    watches = [Stopwatch(device) for _ in range(repeats)]
    for watch in watches:
        with watch:
            work()
    return Timing(
        Times(tuple(watch.wall for watch in watches)), Times(tuple(watch.cpu for watch in watches)), watches[0].tool
    )


class FlopMeter:
    """Floating-point operations of products inside of `with`, two for a multiplication and an addition.

    Norms, activations and softmax are left out, as is usual, and so are kernels that torch does not know. Fused
    attention counts all pairs of its tensors, causal or not.
    """

    tool = "FlopCounterMode"

    def __init__(self) -> None:
        self.flops = 0
        self.attention = 0
        """of fused attention alone, which is a part of `flops`"""
        aten = torch.ops.aten
        mapping = {  # torch knows only those of GPUs
            aten._scaled_dot_product_flash_attention_for_cpu: _fused_attention_flops,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _fused_attention_backward_flops,
        }
        self._counter = FlopCounterMode(display=False, custom_mapping=mapping)

    def __enter__(self) -> Self:
        self._counter.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._counter.__exit__(*raised)
        self.flops = self._counter.get_total_flops()
        counts = self._counter.get_flop_counts()["Global"]
        self.attention = sum(count for operation, count in counts.items() if "attention" in str(operation))


def _fused_attention_flops(q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object) -> int:
    """Of shapes [batch, heads, queries, dim] and [batch, kv_heads, keys, dim]."""
    batch, heads, queries, dim = q
    return 2 * batch * heads * queries * k[2] * (dim + v[3])


def _fused_attention_backward_flops(
    gradient: Sequence[int], q: Sequence[int], k: Sequence[int], v: Sequence[int], *_: object, **__: object
) -> int:
    """Five products in place of two: scores again, and the gradients of weights, v, q and k."""
    batch, heads, queries, dim = q
    return 2 * batch * heads * queries * k[2] * (3 * dim + 2 * v[3])


def _storages(tree: Any) -> Iterator[UntypedStorage]:
    for leaf in tree_leaves(tree):
        if isinstance(leaf, Tensor) and leaf.layout is torch.sparse_csr:  # three tensors, and no storage of its own
            for part in (leaf.crow_indices(), leaf.col_indices(), leaf.values()):
                yield part.untyped_storage()
        elif isinstance(leaf, Tensor):
            yield leaf.untyped_storage()


def _flat(events: Iterable[Any]) -> Iterator[Any]:
    for event in events:
        yield event
        yield from _flat(event.children)

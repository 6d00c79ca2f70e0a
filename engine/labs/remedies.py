"""Four remedies against the memory of standard attention, run and measured: what each saves, and what it costs.

All of them work on the same stack of layers, in which attention is added to what goes on, forward and backward. The
three that are exact must give the same result and gradient as standard attention; the sparse ones do not, and how many
answers of a small model that costs is counted too.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import checkpoint

from engine.attention import Attend, DenseAttention
from engine.attention.sparse import PATTERNS, SparseAttention, sparse
from engine.checkpoint import Checkpoint
from engine.device import expect_memory, find_device
from engine.labs.accuracy import accuracy, exam
from engine.labs.attention import written_out
from engine.labs.progress import Progress, silent
from engine.meter import Clock, CudaMeter, ProfilerMeter, StorageMeter, Times, timed
from simcore.errors import InputError

PATIENCE = 120.0
"""s that a process of sequence parallelism is waited for."""

Step = Callable[[Tensor], Tensor]
"""One layer: x [batch, tokens, dim] -> the same."""


@dataclass(frozen=True, slots=True)
class Work:
    """What is computed: `layers` times x + attention(x, x, x), with x [batch, length, dim] in float32."""

    batch: int = 2
    length: int = 1024
    dim: int = 64
    layers: int = 4
    block: int = 64
    """tokens of a block of sparse attention"""
    chosen: int = 4
    """blocks that a block looks at in sparse attention"""
    processes: int = 2
    """of sequence parallelism"""

    def start(self, seed: int) -> Tensor:
        """x, the same wherever it is drawn."""
        return torch.randn(self.batch, self.length, self.dim, generator=torch.Generator().manual_seed(seed))


@dataclass(frozen=True, slots=True)
class Remedy:
    """What a way to compute it took."""

    name: str
    where: str
    """device and processes"""
    held: int
    """bytes that are kept for backward; of several processes, on the one that keeps most"""
    peak: int
    """bytes at most, forward and backward; of several processes, on the one that takes most"""
    memory_tool: str
    """what read the peak"""
    forward: Times
    """s, without what backward needs"""
    both: Times
    """s of forward and backward"""
    error: float
    """norm of the difference from standard attention's result over the norm of that"""
    gradient_error: float
    """the same of the gradient by x"""


@dataclass(frozen=True, slots=True)
class Answers:
    """How often a model is right with a pattern of attention that it was not trained with."""

    name: str
    right: dict[str, float]
    """share of right answers by task"""


def remedies(
    work: Work | None = None,
    *,
    device: str = "cpu",
    repeats: int = 5,
    clock: Clock = "wall",
    seed: int = 0,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress = silent,
) -> Iterator[Remedy]:
    """Standard attention and all remedies, as they come. Raises InputError."""
    work = work or Work()
    where = find_device(device)
    if work.length % work.processes:
        raise InputError(
            f"{work.length:,} tokens cannot be split evenly over {work.processes} processes; take a multiple of them"
        )
    squares = 2 * work.layers + 4  # kept of each layer, and what one takes at once
    needed = 4 * squares * work.batch * work.length**2
    expect_memory(needed, where, f"standard attention of {work.length:,} tokens in {work.layers:,} layers")
    layers = _layers(work, where)
    total = len(layers) + 1
    x = work.start(seed).to(where)
    outputs = _outputs(layers["standard"], x, work.layers)
    for number, (name, layer) in enumerate(layers.items()):
        progress(number / total, name)
        yield _measure(name, layer, x, work.layers, repeats, clock, where, outputs)
    if not dist.is_available():
        note("this build of torch has no torch.distributed, and sequence parallelism is left out")
        return
    progress((total - 1) / total, "sequence parallel")
    yield _parallel(work, where, repeats, clock, seed, [each.cpu() for each in outputs], note)


def answers(
    loaded: Checkpoint, *, block: int = 16, chosen: int = 4, documents: int = 6, progress: Progress = silent
) -> Iterator[Answers]:
    """How often a model is right with attention to all tokens, and with each pattern. Raises InputError."""
    if loaded.tokenizer is None:
        raise InputError(f"{loaded.folder}: has no tokenizer, so that nothing can be asked")
    questions = exam(documents, min(loaded.shape.max_model_len, 1024))
    for number, name in enumerate(("all tokens", *PATTERNS)):
        progress(number / (1 + len(PATTERNS)), f"answers with {name}")
        attention: Callable[[Sequence[int]], Attend] = DenseAttention
        if name in PATTERNS:
            attention = partial(SparseAttention, pattern=PATTERNS[name], block=block, chosen=chosen)
        scores = accuracy(loaded.model, loaded.tokenizer, questions, attention=attention)
        yield Answers(name, {task: score.share for task, score in scores.items()})


def _layers(work: Work, device: torch.device) -> dict[str, Step]:
    """One layer in each way that runs in one process."""
    mask = torch.tril(torch.ones(work.length, work.length, device=device))
    blocks = -(-work.length // work.block)

    def standard(x: Tensor) -> Tensor:
        return x + written_out(x, x, x, mask)

    def flash(x: Tensor) -> Tensor:
        heads = x[:, None]
        return x + scaled_dot_product_attention(heads, heads, heads, is_causal=True)[:, 0]

    def checkpointed(x: Tensor) -> Tensor:
        done: Tensor = checkpoint(standard, x, use_reentrant=False)
        return done

    def pattern(table: Sequence[Sequence[int]], x: Tensor) -> Tensor:
        return x + sparse(x, x, x, table, work.block)

    layers: dict[str, Step] = {"standard": standard, "flash (SDPA)": flash, "checkpointing": checkpointed}
    for name, make in PATTERNS.items():
        layers[f"{name} blocks"] = partial(pattern, make(blocks, work.chosen))
    return layers


def _run(layer: Step, x: Tensor, layers: int) -> Tensor:
    for _ in range(layers):
        x = layer(x)
    return x


def _both(layer: Step, x: Tensor, layers: int) -> Tensor:
    """Forward and backward; returns the gradient by x."""
    x = x.detach().requires_grad_()
    out = _run(layer, x, layers)
    out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]
    assert x.grad is not None
    return x.grad


def _outputs(layer: Step, x: Tensor, layers: int) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        out = _run(layer, x, layers)
    return out, _both(layer, x, layers)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def _measure(
    name: str,
    layer: Step,
    x: Tensor,
    layers: int,
    repeats: int,
    clock: Clock,
    device: torch.device,
    expected: Sequence[Tensor],
) -> Remedy:
    errors = [_error(*pair) for pair in zip(_outputs(layer, x, layers), expected, strict=True)]
    held, peak, tool = _bytes(layer, x, layers, device)
    forward, both = _times(layer, x, layers, repeats, clock, device)
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    return Remedy(name, where, held, peak, tool, forward, both, *errors)


def _bytes(layer: Step, x: Tensor, layers: int, device: torch.device) -> tuple[int, int, str]:
    """What is kept for backward, what is taken at most, and what read that."""
    with StorageMeter() as storages:
        out = _run(layer, x.detach().requires_grad_(), layers)
        held = storages.current
    del out
    meter = CudaMeter(device) if device.type == "cuda" else ProfilerMeter()
    with meter:
        _both(layer, x, layers)
    return held, meter.peak, meter.tool


def _times(
    layer: Step, x: Tensor, layers: int, repeats: int, clock: Clock, device: torch.device
) -> tuple[Times, Times]:
    with torch.no_grad():
        forward = timed(partial(_run, layer, x, layers), repeats=repeats, device=device)
    both = timed(partial(_both, layer, x, layers), repeats=repeats, device=device)
    return forward.by(clock), both.by(clock)


# Sequence parallelism: each process has a part of the sequence. In each layer it is given the keys and values of those
# before it, and computes its own rows of the weights. https://arxiv.org/abs/2105.13120.


@dataclass(frozen=True, slots=True)
class _Share:
    """What one process measured, and its part of the results."""

    held: int
    peak: int
    tool: str
    forward: Times
    both: Times
    out: Any
    """NumPy array"""
    gradient: Any


def _parallel(
    work: Work,
    device: torch.device,
    repeats: int,
    clock: Clock,
    seed: int,
    expected: Sequence[Tensor],
    note: Callable[[str], None],
) -> Remedy:
    count = work.processes
    on_gpus = device.type == "cuda" and torch.cuda.device_count() >= count and dist.is_nccl_available()
    if device.type == "cuda" and not on_gpus:
        note(f"sequence parallelism over NCCL takes {count} GPUs, and fewer are here: it runs on the CPU over gloo")
    backend, kind = ("nccl", "GPUs") if on_gpus else ("gloo", "processes on the CPU")
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(count, mp_context=get_context("spawn")) as pool,
    ):
        meeting = (Path(folder) / "meeting").as_uri()
        threads = max(torch.get_num_threads() // count, 1)
        ranks = [
            pool.submit(_rank, rank, count, backend, meeting, work, repeats, clock, seed, threads)
            for rank in range(count)
        ]
        try:
            shares = [future.result() for future in ranks]
        except BrokenProcessPool:
            raise InputError(
                "a process of sequence parallelism was killed, perhaps for want of memory; take fewer tokens"
            ) from None
    found = [torch.cat([torch.from_numpy(getattr(share, name)) for share in shares], 1) for name in ("out", "gradient")]
    slowest = max(shares, key=lambda share: share.both.median)
    return Remedy(
        "sequence parallel",
        f"{count} {kind}, {backend}",
        max(share.held for share in shares),
        max(share.peak for share in shares),
        slowest.tool,
        slowest.forward,
        slowest.both,
        *(_error(*pair) for pair in zip(found, expected, strict=True)),
    )


def _rank(
    rank: int, count: int, backend: str, meeting: str, work: Work, repeats: int, clock: Clock, seed: int, threads: int
) -> _Share:
    """One process."""
    from datetime import timedelta

    torch.set_num_threads(threads)
    device = torch.device("cuda", rank) if backend == "nccl" else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group(
        backend, init_method=meeting, rank=rank, world_size=count, timeout=timedelta(seconds=PATIENCE)
    )
    try:
        x = work.start(seed).chunk(count, 1)[rank].contiguous().to(device)
        own = x.shape[1]
        mask = torch.tril(torch.ones(work.length, work.length, device=device))[rank * own : (rank + 1) * own]
        mask = mask[:, : (rank + 1) * own].contiguous()

        def layer(x: Tensor) -> Tensor:
            keys = _Gathered.apply(x)[:, : (rank + 1) * own]  # type: ignore[no-untyped-call]
            return x + written_out(x, keys, keys, mask)

        out, gradient = _outputs(layer, x, work.layers)
        held, peak, tool = _bytes(layer, x, work.layers, device)
        forward, both = _times(layer, x, work.layers, repeats, clock, device)
        return _Share(held, peak, tool, forward, both, out.cpu().numpy(), gradient.cpu().numpy())
    finally:
        dist.destroy_process_group()


class _Gathered(torch.autograd.Function):
    """The parts of all processes, one behind the other; backward sums what all of them say about each part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size(), 1)[dist.get_rank()].contiguous()

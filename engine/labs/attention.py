"""The attention lab's table: standard attention forward and backward, what it keeps, and where memory ends.

After a published report on a GeForce GTX 1080 (`REPORTED`). What torch keeps of attention that is written out step by
step can be counted tensor by tensor (`Account`), so the table is predicted for any GPU, and measured where it is run.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from time import perf_counter
from typing import Literal

import torch
from torch import Tensor

from engine.device import find_device, free_bytes
from engine.labs.progress import Progress, silent
from engine.meter import Clock, Stopwatch, StorageMeter, Times
from simcore.geometry import RUNTIME_BYTES, as_binary
from simcore.scenario.hardware import HardwareSection

BATCH = 8
DIMS = (16, 32, 64, 128)
LENGTHS = (256, 1024, 4096, 8192, 16384)
REPEATS, WARMUPS = 100, 5
SECONDS = 3.0
"""That a row is timed for at most, beyond its warm-ups; long rows are repeated less often."""
CPU_LIMIT = 4 << 30
"""Bytes that a row may take on a CPU, unless more are allowed, or half of what is free if that is less."""
FLOAT = 4
"""Bytes of float32."""

MOST_TOKENS = 1 << 20
"""Of a sequence."""

Status = Literal["fits", "out of memory", "skipped"]


@dataclass(frozen=True, slots=True)
class Size:
    """q, k and v are [batch, length, dim], one head, float32."""

    batch: int
    length: int
    dim: int


@dataclass(frozen=True, slots=True)
class Account:
    """How many float32 numbers of each shape are alive at some moment."""

    linear: float
    """[batch, length, dim]: q, k, v, their gradients, the output"""
    rows: float
    """[batch, length]: the sums and the places of the maxima that softmax keeps"""
    squares: float
    """[batch, length, length]: scores, exponentials, weights"""
    mask: float
    """[length, length], whatever the batch: the causal mask, and its zeros, a byte each"""
    fixed: int = 0
    """bytes, whatever the size"""

    def terms(self, size: Size) -> dict[str, int]:
        """Bytes of each kind."""
        rows = size.batch * size.length
        return {
            "linear": round(self.linear * rows * size.dim * FLOAT),
            "rows": round(self.rows * rows * FLOAT),
            "quadratic, each of the batch": round(self.squares * rows * size.length * FLOAT),
            "quadratic, shared": round(self.mask * size.length**2 * FLOAT),
            "fixed": self.fixed,
        }

    def bytes(self, size: Size) -> int:
        """All of it."""
        return sum(self.terms(size).values())


HELD = Account(linear=7, rows=3, squares=2, mask=1.25)
"""Before backward: q, k, v and their gradients of the time before, the output; the weights, and the exponentials that
they were made of; the mask as numbers and as `mask == 0`; the sums (float32) and the places of the maxima (int64)."""
HELD_FORWARD = replace(HELD, linear=4)
"""The same where no backward has run yet, so that there are no gradients."""
PEAK_FORWARD = replace(HELD_FORWARD, squares=4)
"""At the end of forward: the scores, and what is left of them under the exponent, are still there."""
PEAK = replace(HELD, linear=8, squares=6)
"""In backward, from the weights to the scores: four more squares at once, and a gradient."""
OTHERS = 7
"""Linear tensors that the report's script keeps beside those of `HELD`; what they are is not told. All of its rows
agree on the number, and a second set of q, k, v, their gradients and an output would be so many."""
CUBLAS = 8_519_680
"""Bytes of workspace that torch gives cuBLAS for each thread that multiplies, up to Ampere: forward is one thread,
backward another. aten/src/ATen/cuda/CublasHandlePool.cpp: 2 x 4 MiB and 8 x 16 KiB."""
CUBLAS_HOPPER = 32 << 20
"""The same from Hopper on."""
HOPPER = ("h100", "h200", "b200")


@dataclass(frozen=True, slots=True)
class Reported:
    """A row of the report."""

    forward: float
    """ms"""
    backward: float
    """ms"""
    held: float
    """MiB before backward, which the report calls MB"""


REPORTED_ON = "gtx-1080"
REPORTED = {
    (16, 256): Reported(0.43, 3.26, 22.3),
    (16, 1024): Reported(2.84, 8.47, 92.3),
    (16, 4096): Reported(43.38, 128.34, 1148.6),
    (32, 256): Reported(0.56, 1.00, 24.1),
    (32, 1024): Reported(2.89, 8.54, 99.3),
    (32, 4096): Reported(44.84, 130.45, 1176.6),
    (64, 256): Reported(0.27, 1.09, 27.6),
    (64, 1024): Reported(2.86, 8.88, 113.3),
    (64, 4096): Reported(45.31, 134.99, 1232.6),
    (128, 256): Reported(0.48, 1.22, 34.6),
    (128, 1024): Reported(3.00, 9.13, 141.3),
    (128, 4096): Reported(48.17, 143.21, 1344.6),
}
"""By dim and length, with a batch of 8; the report ran out of memory at lengths of 8,192 and 16,384."""
REPORTED_FACTORS = {16: 2.07, 32: 2.00, 64: 1.87, 128: 1.70}
"""By dim: what the report calls the growth of memory "per 4x seq_len". See `growth`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One size, measured or predicted."""

    size: Size
    status: Status
    held: int
    """bytes before backward; 0 if they were not measured"""
    peak: int
    """bytes at most; 0 if they were not measured"""
    forward: Times | None = None
    """s"""
    backward: Times | None = None
    """s"""
    note: str = ""
    """why it was skipped, or what it ran out of"""


def written_out(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Causal attention step by step, as a textbook has it, with a softmax of single operations.

    q [batch, queries, dim], k and v [batch, keys, dim]; mask [queries, keys], 0 where a query does not look.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    scores = scores.masked_fill(mask == 0, float("-inf"))
    shifted = scores - scores.max(-1, keepdim=True).values
    exponentials = shifted.exp()
    weights = exponentials / exponentials.sum(-1, keepdim=True)
    return weights @ v


def forward_terms(size: Size) -> dict[str, int]:
    """Bytes of what a forward pass cannot do without, as the report accounts for it."""
    linear, square = (FLOAT * size.batch * size.length * width for width in (size.dim, size.length))
    return {"q, k, v": 3 * linear, "scores": square, "weights": square, "output": linear}


def predict(
    hardware: str,
    sizes: Sequence[Size],
    *,
    backward: bool = True,
    memory: int | None = None,
    like_report: bool = False,
) -> list[Row]:
    """What would fit on a GPU, and what would be held before backward.

    hardware: a preset; memory: bytes, in place of what the preset has. like_report: with the tensors that the report's
    script keeps beside. Raises InputError.
    """
    found = HardwareSection(preset=hardware).resolve()
    room = (round(found.memory) if memory is None else memory) - RUNTIME_BYTES
    held, peak = (HELD, PEAK) if backward else (HELD_FORWARD, PEAK_FORWARD)
    others = OTHERS if like_report else 0
    workspace = CUBLAS_HOPPER if found.name in HOPPER else CUBLAS
    fixed = workspace * (2 if backward else 1)
    rows = []
    for size in sizes:
        bytes, most = (
            replace(account, linear=account.linear + others, fixed=fixed).bytes(size) for account in (held, peak)
        )
        note = "" if most <= room else f"{as_binary(most)} at most, and {as_binary(max(room, 0))} are there"
        rows.append(Row(size, "out of memory" if note else "fits", bytes, most, note=note))
    return rows


def longest(
    hardware: str,
    batch: int,
    dim: int,
    *,
    backward: bool = True,
    memory: int | None = None,
    like_report: bool = False,
) -> int:
    """Tokens of the longest sequences that fit on a GPU by `predict`; 0 if none do. Raises InputError."""

    def fails(length: int) -> bool:
        [row] = predict(hardware, [Size(batch, length, dim)], backward=backward, memory=memory, like_report=like_report)
        return row.status != "fits"

    return bisect_left(range(1, MOST_TOKENS + 1), True, key=fails)


def benchmark(
    sizes: Sequence[Size],
    *,
    device: str = "cpu",
    backward: bool = True,
    limit: int | None = None,
    repeats: int = REPEATS,
    seconds: float = SECONDS,
    clock: Clock = "wall",
    seed: int = 0,
    progress: Progress = silent,
) -> Iterator[Row]:
    """Measure each size, as they come: times by a clock, bytes by what the allocator hands out.

    limit: bytes that a row may take by prediction; those that would take more are skipped. None: on a GPU all are
    tried, on a CPU see `cpu_limit`. Raises InputError.
    """
    where = find_device(device)
    if limit is None and where.type == "cpu":
        limit = cpu_limit()
    peak = PEAK if backward else PEAK_FORWARD
    for number, size in enumerate(sizes):
        progress(number / len(sizes), f"{size.length:,} tokens of {size.dim}")
        needed = peak.bytes(size)
        if limit is not None and needed > limit:
            note = f"would take {as_binary(needed)}, and {as_binary(limit)} are allowed"
            yield Row(size, "skipped", 0, 0, note=note)
            continue
        try:
            row = _measure(size, where, backward, repeats, seconds, clock, seed)
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            row = Row(size, "out of memory", 0, 0, note=f"{as_binary(needed)} by prediction")
        yield row
        if where.type == "cuda":
            torch.cuda.empty_cache()


def cpu_limit() -> int:
    """Bytes that a row may take on this CPU: `CPU_LIMIT`, or half of what is free, where the system says."""
    free = free_bytes(torch.device("cpu"))
    return CPU_LIMIT if free is None else min(CPU_LIMIT, free // 2)


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch found no memory; on a CPU it has no class of its own for that."""
    return isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error)


def _measure(
    size: Size, device: torch.device, backward: bool, repeats: int, seconds: float, clock: Clock, seed: int
) -> Row:
    generator = torch.Generator().manual_seed(seed)

    def draw() -> Tensor:
        return torch.randn(size.batch, size.length, size.dim, generator=generator).to(device).requires_grad_()

    def forward() -> Tensor:
        return written_out(q, k, v, mask)

    def back(out: Tensor) -> None:
        out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with StorageMeter() as meter:
        q, k, v = (draw() for _ in range(3))
        mask = torch.tril(torch.ones(size.length, size.length, device=device))
        if backward:
            back(forward())
        meter.peak = meter.current  # what drawing took is not attention's
        out = forward()
        held = meter.current
        if backward:
            back(out)
        del out
    peak = meter.peak
    if device.type == "cuda":  # once more without looking on; the allocator counts what libraries ask for too
        torch.cuda.reset_peak_memory_stats(device)
        out = forward()
        held = torch.cuda.memory_allocated(device)
        if backward:
            back(out)
        del out
        peak = torch.cuda.max_memory_allocated(device)
    times = _times(forward, back, device, backward, repeats, seconds, clock)
    return Row(size, "fits", held, peak, *times)


def _times(
    forward: Callable[[], Tensor],
    back: Callable[[Tensor], None],
    device: torch.device,
    backward: bool,
    repeats: int,
    seconds: float,
    clock: Clock,
) -> tuple[Times, Times | None]:
    """Seconds of forward passes and of backward passes, as often as there is time for."""

    def once() -> tuple[float, float]:
        with Stopwatch(device) as ahead:
            out = forward()
        if not backward:
            return ahead.by(clock), 0.0
        with Stopwatch(device) as behind:
            back(out)
        return ahead.by(clock), behind.by(clock)

    measured = [once()]
    if sum(measured[0]) * WARMUPS < seconds:  # what takes longer has warmed up by now, and counts
        for _ in range(WARMUPS):
            once()
        measured = []
    end = perf_counter() + seconds
    while len(measured) < repeats and (not measured or perf_counter() < end):
        measured.append(once())
    ahead, behind = (Times(each) for each in zip(*measured, strict=True))
    return ahead, behind if backward else None


def growth(dim: int) -> tuple[list[float], float]:
    """How the report's memory grows for four times the length, step by step, and the mean of the steps over 4.

    The last is its factor "per 4x seq_len": divided by the growth of the length, so it is what a token takes more.
    """
    held = [row.held for (other, _), row in sorted(REPORTED.items()) if other == dim]
    steps = [after / before for before, after in pairwise(held)]
    return steps, sum(steps) / len(steps) / 4


def backward_over_forward(rows: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The least and the most of backward time over forward time."""
    ratios = [backward / forward for forward, backward in rows]
    return min(ratios), max(ratios)

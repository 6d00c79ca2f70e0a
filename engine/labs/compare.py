"""The attention lab's first table: standard, paged and block-local attention of one head side by side.

After a report that compared the first and the last of them in NumPy, and called the last paged attention.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from engine.attention import forms
from engine.device import expect_memory, find_device
from engine.labs.progress import Progress, silent
from engine.meter import CudaMeter, ProfilerMeter, Timing, TracemallocMeter, timed
from simcore.errors import InputError
from simcore.geometry import as_binary

Backend = Literal["numpy", "torch"]
Form = Literal["standard", "paged", "block-local"]
Meter: TypeAlias = TracemallocMeter | ProfilerMeter | CudaMeter

ITEMSIZE: dict[Backend, int] = {"numpy": 8, "torch": 4}
FIRST_TOKENS, MOST_SHOWN = 20, 64
"""At least and at most, of which the attention pattern is kept: enough for two blocks."""
MOST_BLOCKS = 64
"""Whose memory is measured one by one; of more, so many are picked evenly."""
REPORTED_PEAKS, REPORTED_SAVED = (0.58, 0.12), 0.787
"""MB of standard and of block-local attention in the report, and the share that is saved."""
PYTHON_BYTES = 8 << 10
"""What a form takes besides large arrays: Python's objects, rows of maxima and sums of a small block."""
BUFFER_BYTES = 64 << 10
"""NumPy's buffer of 8,192 elements, through which it reduces what does not lie in a row."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What a form took."""

    form: Form
    timing: Timing
    peak: int
    """bytes that were allocated at most while it ran, besides q, k and v"""
    blocks: list[int]
    """bytes that each block of queries took at most by itself, besides the result; standard attention has one block"""
    difference: float
    """the greatest absolute difference from standard attention"""


@dataclass(frozen=True, slots=True)
class Overlap:
    """Block-local attention that looks beyond its block."""

    tokens: int
    """on either side of a block"""
    difference: float
    """the greatest absolute difference from standard attention"""
    error: float
    """norm of all differences over the norm of standard attention's result"""
    peak: int
    """bytes that were allocated at most"""


@dataclass(frozen=True, slots=True)
class Comparison:
    """All that was measured."""

    tokens: int
    dim: int
    block: int
    dtype: str
    machine: str
    memory_tool: str
    forms: dict[Form, Measured]
    overlaps: list[Overlap]
    pattern: NDArray[np.float64]
    """[tokens, tokens] of the first tokens: how much of each key's value each query gets in standard attention"""

    def saved(self, form: Form) -> float:
        """The share of standard attention's peak that a form saves."""
        return 1 - self.forms[form].peak / self.forms["standard"].peak


class _Data:
    """q, k and v, and the last two in pages too, which lie in any order."""

    def __init__(self, tokens: int, dim: int, block: int, backend: Backend, device: torch.device, seed: int) -> None:
        rng = np.random.default_rng(seed)
        arrays: list[Any] = [rng.standard_normal((tokens, dim)) for _ in range(3)]
        spans = list(forms.spans(tokens, block))
        self.table = rng.permutation(len(spans)).tolist()
        for array in arrays[1:3]:
            pages = np.zeros((len(spans), block, dim))
            for page, span in zip(self.table, spans, strict=True):
                pages[page, : span.stop - span.start] = array[span]
            arrays.append(pages)
        self.xp: Any = np
        self.q, self.k, self.v, self.keys, self.values = arrays
        self.device = device
        if backend == "torch":  # float32, as models have it
            self.xp = torch
            self.q, self.k, self.v, self.keys, self.values = (
                torch.from_numpy(array).to(device, torch.float32) for array in arrays
            )

    def meter(self) -> Meter:
        """The tool that sees what these arrays take."""
        if self.xp is np:
            return TracemallocMeter()
        return CudaMeter(self.device) if self.device.type == "cuda" else ProfilerMeter()

    def peak(self, work: Callable[[], object]) -> int:
        """Bytes that a piece of work takes at most."""
        meter = self.meter()
        with meter:
            done = work()
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
        del done
        return meter.peak


def compare(
    tokens: int = 128,
    dim: int = 64,
    block: int | None = 32,
    *,
    backend: Backend = "numpy",
    device: str = "cpu",
    memory: int | None = None,
    repeats: int = 30,
    seed: int = 0,
    progress: Progress = silent,
) -> Comparison:
    """Run all forms on the same random numbers: float64 in NumPy, float32 in torch.

    block: tokens of a block; None: as many as fit into `memory` bytes, see `choose_block`. Raises InputError.
    """
    if backend == "numpy" and device != "cpu":
        raise InputError(f"NumPy computes on the CPU, and device is {device}; take the backend torch")
    where = find_device(device)
    if block is None:
        block = choose_block(tokens, dim, memory, backend=backend)
    if not 1 <= block <= tokens:
        raise InputError(f"the block has {block:,} tokens, but must have from 1 to {tokens:,}, the whole sequence")
    expect_memory(4 * tokens**2 * ITEMSIZE[backend], where, f"standard attention of {tokens:,} tokens")
    data = _Data(tokens, dim, block, backend, where, seed)
    xp, q, k, v = data.xp, data.q, data.k, data.v
    spans = list(forms.spans(tokens, block))
    picked = [spans[i] for i in np.linspace(0, len(spans) - 1, min(len(spans), MOST_BLOCKS)).astype(int)]
    out = xp.empty_like(q)
    works: dict[Form, tuple[Callable[[], Any], list[Callable[[], None]]]] = {
        "standard": (partial(forms.standard, xp, q, k, v), [partial(forms.standard, xp, q, k, v)]),
        "paged": (
            partial(forms.paged, xp, q, data.keys, data.values, data.table),
            [partial(forms.paged_rows, xp, q, data.keys, data.values, data.table, rows, out) for rows in picked],
        ),
        "block-local": (
            partial(forms.block_local, xp, q, k, v, block),
            [partial(forms.block_local_rows, xp, q, k, v, rows, 0, out) for rows in picked],
        ),
    }
    expected = _plain(forms.standard(xp, q, k, v))
    measured: dict[Form, Measured] = {}
    sizes = [*_overlaps(tokens, block)]
    for form, (work, blocks) in works.items():
        progress(len(measured) / (len(works) + 1), form)
        timing = timed(work, warmups=3, repeats=repeats, device=where)
        difference = float(np.abs(_plain(work()) - expected).max())
        measured[form] = Measured(form, timing, data.peak(work), [data.peak(one) for one in blocks], difference)
    progress(len(works) / (len(works) + 1), "overlaps")
    overlaps = []
    for size in sizes:
        work = partial(forms.block_local, xp, q, k, v, block, size)
        differences = _plain(work()) - expected
        error = float(np.linalg.norm(differences) / np.linalg.norm(expected))
        overlaps.append(Overlap(size, float(np.abs(differences).max()), error, data.peak(work)))
    first = min(tokens, max(FIRST_TOKENS, min(2 * block, MOST_SHOWN)))
    pattern = _plain(forms.weights(xp, q, k))[:first, :first]
    dtype = "float64" if backend == "numpy" else "float32"
    tool = data.meter().tool
    return Comparison(tokens, dim, block, dtype, _machine(backend, where), tool, measured, overlaps, pattern)


def choose_block(tokens: int, dim: int, memory: int | None, *, backend: Backend = "numpy") -> int:
    """The largest block, a power of two or the whole sequence, with which paged and block-local attention fit.

    memory: bytes for the result and all that is made on the way. Large blocks are quicker: fewer operations, and a
    page of keys is read for more queries at a time. Raises InputError where even a block of one token does not fit.
    """
    if memory is None:
        raise InputError("a block is chosen by the memory that there is; say how much, or give the block")
    sizes = [1 << power for power in range(tokens.bit_length()) if 1 << power < tokens] + [tokens]
    fitting = [size for size in sizes if block_peak(tokens, dim, size, backend=backend) <= memory]
    if not fitting:
        least = block_peak(tokens, dim, 1, backend=backend)
        raise InputError(
            f"{as_binary(memory)} is too little for {tokens:,} tokens of {dim} elements; a block of one token takes "
            f"{as_binary(least)}"
        )
    return fitting[-1]


def block_peak(tokens: int, dim: int, block: int, *, backend: Backend = "numpy") -> int:
    """Bytes of paged or block-local attention at most: the result, three squares, a product, and what is small."""
    itemsize = ITEMSIZE[backend]
    arrays = (tokens * dim + 3 * block * block + block * dim + 4 * block) * itemsize
    return arrays + PYTHON_BYTES + (BUFFER_BYTES if backend == "numpy" and block > 32 else 0)


def _overlaps(tokens: int, block: int) -> Sequence[int]:
    """None, then from an eighth of a block up to the whole sequence, doubling."""
    sizes = {0, tokens - 1}
    size = max(block // 8, 1)
    while size < tokens - 1:
        sizes.add(size)
        size *= 2
    return sorted(sizes)


def _plain(array: Any) -> NDArray[np.float64]:
    if isinstance(array, torch.Tensor):
        array = array.cpu().numpy()
    return np.asarray(array, np.float64)


def _machine(backend: Backend, device: torch.device) -> str:
    if backend == "numpy":
        return f"NumPy {np.__version__}"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    return f"torch {torch.__version__}, {name}"

"""The labs as jobs: what the window asks of torch, told as plain values, since the window never loads torch itself."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.jobs.validation import EXTRA, MISSING
from simcore.errors import InputError

Tell = Callable[[object], None]
Floats = NDArray[np.float64]
LONGEST_SEEN = 256
"""Tokens of a sequence whose weights are all shown."""


def with_torch(tell: Tell, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call `function(tell, *arguments)`; a missing torch is a sentence."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; two threads spin otherwise
    try:
        return function(tell, *arguments)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise InputError(f"{error.name} {MISSING}") from None


@dataclass(frozen=True, slots=True)
class Share:
    """How far a lab is, from 0 to 1, and with what."""

    share: float
    what: str


@dataclass(frozen=True, slots=True)
class FormMeasured:
    """One form of attention."""

    name: str
    median: float
    """ms"""
    low: float
    high: float
    """ms, quartiles"""
    peak: int
    """bytes"""
    blocks: list[int]
    """bytes of each block of queries by itself"""
    difference: float
    """from standard attention, at most"""


@dataclass(frozen=True, slots=True)
class FormsCompared:
    """See `engine.labs.compare.Comparison`."""

    forms: list[FormMeasured]
    block: int
    machine: str
    memory_tool: str
    overlaps: Floats
    """[overlaps, 3] tokens on either side, relative error, bytes"""
    pattern: Floats
    """[tokens, tokens] weights of the first tokens"""


def forms(tell: Tell, tokens: int, dim: int, block: int, backend: str) -> FormsCompared:
    """Standard, paged and block-local attention on the same random numbers. Raises InputError."""
    from engine.labs.compare import compare

    found = compare(
        tokens, dim, block, backend="torch" if backend == "torch" else "numpy", progress=lambda *at: tell(Share(*at))
    )
    measured = []
    for name, form in found.forms.items():
        times = form.timing.wall
        low, high = times.spread
        measured.append(
            FormMeasured(name, 1e3 * times.median, 1e3 * low, 1e3 * high, form.peak, form.blocks, form.difference)
        )
    overlaps = np.array([(each.tokens, each.error, each.peak) for each in found.overlaps], np.float64).reshape(-1, 3)
    return FormsCompared(measured, found.block, found.machine, found.memory_tool, overlaps, found.pattern)


@dataclass(frozen=True, slots=True)
class Said:
    """A token that was stored: text, page, place in the page; and how the last layer looks at the pages."""

    tokens: list[tuple[str, int, int]]
    pages: list[float]


@dataclass(frozen=True, slots=True)
class Heads:
    """Every weight of a small model's attention."""

    tokens: list[str]
    weights: NDArray[np.float32]
    """[layers, heads, tokens, tokens]"""
    block_size: int


def heads(tell: Tell, model: str, prompt: str, block_size: int, max_tokens: int) -> Heads:
    """Let a model answer, telling `Said` page by page; then all its weights. Raises InputError."""
    import torch

    from engine.attention.dense import DenseAttention
    from engine.checkpoint import find, load
    from engine.generate import Generation

    loaded = load(find(model))
    generation = Generation(loaded, prompt, max_tokens=max_tokens, block_size=block_size, watch=True)
    decode = generation.tokenizer.decode
    for step in generation:
        tell(Said([(decode([each.id]), each.page, each.offset) for each in step.pushed], step.attention[0]))
    ids = [*generation.prompt, *generation.samples[0].answer][:LONGEST_SEEN]
    shape = loaded.shape
    weights = torch.zeros(shape.layers, shape.heads, len(ids), len(ids))
    dense = DenseAttention([len(ids)])

    def attend(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        keys = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = torch.einsum("qhd,khd->hqk", q.float(), keys.float()) / q.shape[-1] ** 0.5
        seen = torch.ones(len(ids), len(ids), dtype=torch.bool).tril()
        weights[layer] = scores.masked_fill(~seen, float("-inf")).softmax(-1)
        return dense(layer, q, k, v)

    with torch.inference_mode():
        loaded.model(torch.tensor(ids), torch.arange(len(ids)), attend)
    return Heads([decode([id]) for id in ids], weights.numpy(), block_size)


@dataclass(frozen=True, slots=True)
class TrainingRow:
    """One size of the attention benchmark. Bytes and seconds; None: not known."""

    dim: int
    length: int
    predicted_status: str
    predicted_held: int
    predicted_peak: int
    reported: tuple[float, float, float] | None
    """forward (ms), backward (ms), MiB before backward, as the document has them"""


@dataclass(frozen=True, slots=True)
class TrainingMeasured:
    """What a size took here."""

    dim: int
    length: int
    status: str
    held: int
    forward: float | None
    backward: float | None
    note: str


def training_table(tell: Tell, hardware: str) -> list[TrainingRow]:
    """What would fit on a GPU, beside the document's rows. Raises InputError."""
    from engine.labs.attention import BATCH, DIMS, LENGTHS, REPORTED, REPORTED_ON, Size, predict

    sizes = [Size(BATCH, length, dim) for dim in DIMS for length in LENGTHS]
    rows = []
    for row in predict(hardware, sizes, like_report=hardware == REPORTED_ON):
        told = REPORTED.get((row.size.dim, row.size.length))
        reported = (told.forward, told.backward, told.held) if told else None
        rows.append(TrainingRow(row.size.dim, row.size.length, row.status, row.held, row.peak, reported))
    return rows


def training_here(tell: Tell) -> None:
    """Measure the same sizes on this CPU, telling `TrainingMeasured` of each."""
    from engine.labs.attention import BATCH, DIMS, LENGTHS, Size, benchmark

    sizes = [Size(BATCH, length, dim) for dim in DIMS for length in LENGTHS]
    for row in benchmark(sizes, seconds=1.0, clock="cpu", progress=lambda *at: tell(Share(*at))):
        forward, backward = (1e3 * each.median if each else None for each in (row.forward, row.backward))
        size = row.size
        tell(TrainingMeasured(size.dim, size.length, row.status, row.held, forward, backward, row.note))


@dataclass(frozen=True, slots=True)
class ComplexityCell:
    """A cell of the lecture's table; see `engine.labs.complexity.Cell`."""

    way: str
    quantity: str
    unit: str
    symbol: str
    fits: dict[str, tuple[float, float, float]]
    """N or L -> exponent, its standard error, the exponent of the last two points"""
    why: list[str]
    points: dict[str, Floats]
    """N or L -> [points, 2]"""


def complexity(tell: Tell) -> tuple[str, list[ComplexityCell]]:
    """The machine, and every cell of the table as it was measured."""
    from engine.labs.complexity import UNITS
    from engine.labs.complexity import complexity as measure

    found = measure(progress=lambda *at: tell(Share(*at)))
    cells = []
    for cell in found.cells:
        points = {}
        for axis, all in found.points[cell.way].items():
            x = [each.tokens if axis == "N" else each.layers for each in all]
            points[str(axis)] = np.array([x, [each.values[cell.quantity] for each in all]], np.float64).T
        fits = {str(axis): (fit.exponent, fit.error, fit.last) for axis, fit in cell.fits.items()}
        unit = UNITS[cell.quantity]
        cells.append(ComplexityCell(cell.way, cell.quantity, unit, cell.symbol.text, fits, cell.why, points))
    return found.machine, cells

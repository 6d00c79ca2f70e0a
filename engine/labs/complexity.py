"""The complexity lab: how memory, arithmetic, time and calls grow with tokens (N) and layers (L), measured.

After a lecture's table of four ways to run a transformer, whose symbols are `TABLE`: training, training with
checkpointing, generation that computes everything anew for every token, and generation with keys and values in pages.
A small GPT-2 runs in each of them, over a range of N with L fixed and of L with N fixed, and a line is fitted to the
logarithms: its slope is the exponent.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.checkpoint import checkpoint

from engine.attention import DenseAttention, PagedAttention
from engine.batch import Batch
from engine.device import find_device
from engine.kv_cache import KVCache
from engine.labs.progress import Progress, silent
from engine.meter import FlopMeter, StorageMeter, timed
from engine.models import GPT2, GPT2Shape
from simcore.geometry import as_binary

Way = Literal["training", "checkpointing", "generation", "paged"]
Quantity = Literal["memory", "flops", "attention", "seconds", "calls"]
Axis = Literal["N", "L"]
Exponents: TypeAlias = tuple[float, float]
"""Of N and of L."""

HIDDEN, HEADS, VOCAB = 32, 2, 64
BLOCK = 16
"""tokens of a page"""
APART = 0.1
"""By how much a measured exponent may differ from the symbol's before it is explained."""

UNITS: dict[Quantity, str] = {
    "memory": "bytes at most, besides weights and their gradients",
    "flops": "floating-point operations",
    "attention": "floating-point operations of attention alone",
    "seconds": "s",
    "calls": "runs of a layer, over the number of layers",
}


@dataclass(frozen=True, slots=True)
class Symbol:
    """A cell of the lecture's table."""

    text: str
    exponents: Exponents


TABLE: dict[Way, dict[str, Symbol]] = {
    "training": {
        "memory": Symbol("O(NL)", (1, 1)), "runtime": Symbol("O(N²L)", (2, 1)), "calls": Symbol("1", (0, 0)),
    },
    "checkpointing": {
        "memory": Symbol("O(NL^1/2)", (1, 0.5)), "runtime": Symbol("O(2N²L)", (2, 1)), "calls": Symbol("1", (0, 0)),
    },
    "generation": {
        "memory": Symbol("O(N)", (1, 0)), "runtime": Symbol("O(N³L)", (3, 1)), "calls": Symbol("N", (1, 0)),
    },
    "paged": {
        "memory": Symbol("O(NL)", (1, 1)), "runtime": Symbol("O(N²L)", (2, 1)), "calls": Symbol("N", (1, 0)),
    },
}  # fmt: skip

RANGES: dict[Way, dict[Axis, tuple[int, Sequence[int]]]] = {
    "training": {"N": (4, (128, 256, 512, 1024, 2048)), "L": (64, (4, 9, 16, 25, 36, 64))},
    "checkpointing": {"N": (4, (128, 256, 512, 1024, 2048)), "L": (64, (4, 9, 16, 25, 36, 64))},
    "generation": {"N": (2, (32, 64, 128, 256, 512)), "L": (32, (2, 4, 8, 16, 32))},
    "paged": {"N": (2, (32, 64, 128, 256, 512)), "L": (32, (2, 4, 8, 16, 32))},
}
"""For each way and axis: what the other one is fixed at, and what this one takes."""
DEPTHS = (64, (36, 100))
"""Tokens, and layers, at which a cache is held against training with checkpointing: NL against NL^1/2."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run."""

    tokens: int
    layers: int
    values: dict[Quantity, float]


@dataclass(frozen=True, slots=True)
class Fit:
    """A line through logarithms."""

    exponent: float
    error: float
    """standard error of the exponent"""
    last: float
    """the exponent between the last two points: where the largest term has most to say"""

    @classmethod
    def of(cls, x: Sequence[float], y: Sequence[float]) -> "Fit":
        """Of at least two points, all above 0."""
        logs, values = np.log(x), np.log(y)
        (slope, level), away = np.polyfit(logs, values, 1), logs - logs.mean()
        left = values - slope * logs - level
        free = len(x) - 2
        error = math.sqrt(float(left @ left) / free / float(away @ away)) if free else 0.0
        return cls(float(slope), error, float((values[-1] - values[-2]) / (logs[-1] - logs[-2])))


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the table, beside what was measured."""

    way: Way
    quantity: Quantity
    symbol: Symbol
    fits: dict[Axis, Fit]
    why: list[str]
    """sentences where an exponent, or a number, differs from the symbol; empty where none does"""


@dataclass(frozen=True, slots=True)
class Complexity:
    """All that was measured."""

    machine: str
    clock: str
    points: dict[Way, dict[Axis, list[Point]]]
    depths: dict[int, tuple[int, int]]
    """at `DEPTHS`, by layers: bytes at most of paged generation, and of training with checkpointing"""
    cells: list[Cell] = field(default_factory=list)

    def ratio(self, quantity: Quantity) -> float:
        """Checkpointing over training, at the largest N."""
        there, here = (self.points[way]["N"][-1].values[quantity] for way in ("checkpointing", "training"))
        return there / here


def complexity(
    ranges: dict[Way, dict[Axis, tuple[int, Sequence[int]]]] | None = None,
    *,
    device: str = "cpu",
    repeats: int = 3,
    progress: Progress = silent,
) -> Complexity:
    """Run all ways over all ranges, and fit. Seconds are the process's own on a CPU, the device's on a GPU."""
    where = find_device(device)
    ranges = RANGES if ranges is None else ranges
    sizes = [
        (way, axis, size, (size, fixed) if axis == "N" else (fixed, size))
        for way, axes in ranges.items()
        for axis, (fixed, all) in axes.items()
        for size in all
    ]
    points: dict[Way, dict[Axis, list[Point]]] = {way: {axis: [] for axis in axes} for way, axes in ranges.items()}
    effort = [_effort(way, *place) for way, _, _, place in sizes]
    for number, (way, axis, _, (tokens, layers)) in enumerate(sizes):
        progress(sum(effort[:number]) / sum(effort), f"{way}, {tokens:,} tokens, {layers} layers")
        points[way][axis].append(run(way, tokens, layers, where, repeats=repeats))
    tokens, all_layers = DEPTHS
    depths = {
        layers: (peak("paged", tokens, layers, where), peak("checkpointing", tokens, layers, where))
        for layers in all_layers
    }
    name = torch.cuda.get_device_name(where) if where.type == "cuda" else f"CPU, threads: {torch.get_num_threads()}"
    clock = "CUDA events" if where.type == "cuda" else "process_time"
    found = Complexity(f"torch {torch.__version__}, {name}", clock, points, depths)
    found.cells.extend(_cells(found))
    return found


def run(way: Way, tokens: int, layers: int, device: torch.device, *, repeats: int = 3) -> Point:
    """One way at one size."""
    model, work = _work(way, tokens, layers, device)
    work()  # gradients are there from now on
    memory = _peak(work)
    with FlopMeter() as flops:
        work()
    with _counted(model) as calls:
        work()
    timing = timed(work, warmups=1, repeats=repeats, device=device)
    times = timing.wall if device.type == "cuda" else timing.cpu
    return Point(
        tokens,
        layers,
        {
            "memory": memory,
            "flops": flops.flops,
            "attention": flops.attention,
            "seconds": times.median,
            "calls": len(calls) / layers,
        },
    )


def peak(way: Way, tokens: int, layers: int, device: torch.device) -> int:
    """Bytes that one way takes at most at one size, besides weights and their gradients."""
    work = _work(way, tokens, layers, device)[1]
    if way in ("training", "checkpointing"):
        work()  # gradients are there from now on
    return _peak(work)


def _work(way: Way, tokens: int, layers: int, device: torch.device) -> tuple[GPT2, Callable[[], object]]:
    model = _model(tokens, layers, device)
    ids = torch.randint(VOCAB, (tokens,), generator=torch.Generator().manual_seed(1)).to(device)
    return model, WAYS[way](model, ids)


def _peak(work: Callable[[], object]) -> int:
    with StorageMeter() as storages:
        work()
    return int(storages.peak)


def _model(tokens: int, layers: int, device: torch.device) -> GPT2:
    shape = GPT2Shape(
        layers=layers,
        heads=HEADS,
        kv_heads=HEADS,
        head_dim=HIDDEN // HEADS,
        hidden_size=HIDDEN,
        intermediate_size=4 * HIDDEN,
        vocab_size=VOCAB,
        max_model_len=tokens,
        tied=True,
        eps=1e-5,
        dtype=torch.float32,
    )
    model = GPT2(shape)
    model.initialize(0)
    return model.to(device)


@contextmanager
def _counted(model: GPT2) -> Iterator[list[int]]:
    """Each run of a layer adds to the list."""
    calls: list[int] = []
    hooks = [layer.register_forward_pre_hook(lambda *_: calls.append(1)) for layer in model.layers]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


# The four ways


def _training(model: GPT2, ids: Tensor) -> Callable[[], object]:
    """Forward, loss and backward of a whole sequence."""
    attend, positions = DenseAttention([len(ids)]), torch.arange(len(ids), device=ids.device)

    def work() -> None:
        _backward(model(ids, positions, attend), ids)

    return work


def _checkpointing(model: GPT2, ids: Tensor) -> Callable[[], object]:
    """The same, where only what goes into every sqrt(L)-th layer is kept. https://arxiv.org/abs/1604.06174."""
    attend, positions = DenseAttention([len(ids)]), torch.arange(len(ids), device=ids.device)
    length = math.isqrt(len(model.layers) - 1) + 1

    def segment(x: Tensor, first: int) -> Tensor:
        for number in range(first, min(first + length, len(model.layers))):
            x = model.layers[number](x, number, attend, None)
        return x

    def work() -> None:
        x = model.embed(ids) + model.places(positions)
        for first in range(0, len(model.layers), length):
            x = checkpoint(segment, x, first, use_reentrant=False)
        _backward(model._logits(model.norm(x)), ids)

    return work


def _backward(logits: Tensor, ids: Tensor) -> None:
    cross_entropy(logits[:-1], ids[1:]).backward()  # type: ignore[no-untyped-call]


def _generation(model: GPT2, ids: Tensor) -> Callable[[], object]:
    """Each token from all those before it, which go through the model again."""
    positions = torch.arange(len(ids), device=ids.device)

    @torch.inference_mode()
    def work() -> None:
        for count in range(1, len(ids) + 1):
            model(ids[:count], positions[:count], DenseAttention([count]), positions[count - 1 : count])

    return work


def _paged(model: GPT2, ids: Tensor) -> Callable[[], object]:
    """Each token by itself, next to the stored keys and values of those before it, in pages."""
    shape = model.shape
    blocks = -(-len(ids) // BLOCK)
    table = list(range(1, blocks + 1))
    given = ids.tolist()

    @torch.inference_mode()
    def work() -> None:
        cache = KVCache(shape.layers, blocks + 1, BLOCK, shape.kv_heads, shape.head_dim, shape.dtype, ids.device)
        for place, token in enumerate(given):
            held = table[: place // BLOCK + 1]
            batch = Batch.of([held], [place], [1], [token], BLOCK, ids.device)
            model(batch.tokens, batch.positions, PagedAttention(cache, batch, path="gather"))

    return work


WAYS: dict[Way, Callable[[GPT2, Tensor], Callable[[], object]]] = {
    "training": _training,
    "checkpointing": _checkpointing,
    "generation": _generation,
    "paged": _paged,
}


def _effort(way: Way, tokens: int, layers: int) -> float:
    """About how long a run takes, for whoever waits."""
    calls = tokens if way in ("generation", "paged") else 3
    return layers * calls * (300 + (tokens if way != "paged" else 1))


# The table


def _cells(found: Complexity) -> Iterator[Cell]:
    rows: tuple[tuple[str, Quantity], ...] = (
        ("memory", "memory"), ("runtime", "flops"), ("runtime", "attention"), ("runtime", "seconds"),
        ("calls", "calls"),
    )  # fmt: skip
    for way, axes in found.points.items():
        for row, quantity in rows:
            if not all(point.values[quantity] for points in axes.values() for point in points):
                continue  # a kernel whose operations torch does not count
            symbol = TABLE[way][row]
            fits = {axis: _fit(axis, quantity, points) for axis, points in axes.items()}
            yield Cell(way, quantity, symbol, fits, _why(found, way, quantity, symbol, fits))


def _fit(axis: Axis, quantity: Quantity, points: Sequence[Point]) -> Fit:
    sizes = [float(point.tokens if axis == "N" else point.layers) for point in points]
    return Fit.of(sizes, [point.values[quantity] for point in points])


def _why(found: Complexity, way: Way, quantity: Quantity, symbol: Symbol, fits: dict[Axis, Fit]) -> list[str]:
    """Why a measured exponent, or number, is not the symbol's."""
    sentences = []
    differs = {
        axis: abs(fits[axis].exponent - exponent) > APART
        for axis, exponent in zip(("N", "L"), symbol.exponents, strict=True)
        if axis in fits
    }
    if differs.get("N") and quantity in ("flops", "seconds"):
        even = round(_even())
        sentences.append(
            f"Attention is not all there is: products with weights grow by one power of N less, and with {HIDDEN} "
            f"elements they are as much as attention at {even} tokens."
        )
    if quantity == "seconds" and differs.get("N"):
        sentences.append("An operation on little data takes as long as calling it, whatever N is.")
    if quantity == "seconds" and differs.get("L"):
        if fits["L"].exponent < symbol.exponents[1]:
            sentences.append("Tables, embeddings and head take their time once a step, however many layers there are.")
        else:
            sentences.append("Times spread by more than that here; --repeats makes them steadier.")
    if quantity == "memory" and differs.get("L"):
        sentences.append("What does not grow with L, embeddings and logits, is a part of it.")
    if quantity == "memory" and differs.get("N"):
        sentences.append("What does not grow with N, a step of one token and a page that stays empty, is a part of it.")
    if way == "paged" and quantity == "memory":
        sentences.append(_depths(found))
    if way == "generation" and quantity == "flops" and differs.get("L"):
        sentences.append(
            "In the last layer only the last token goes through the feed-forward network, so that few layers are less "
            "than their share."
        )
    if way == "checkpointing" and quantity == "flops":
        sentences.append(
            f"Checkpointing takes {found.ratio('flops'):.2f} times training's and not twice: backward costs two "
            "forward passes (of fused attention two and a half), and one is added to them."
        )
    if way == "checkpointing" and quantity == "seconds":
        sentences.append(f"Checkpointing takes {found.ratio('seconds'):.2f} times training's.")
    if way == "checkpointing" and quantity == "calls":
        calls = found.points[way]["N"][-1].values["calls"]
        sentences.append(
            f"The table says 1 and the lecture's text 2: the model is called once, and each layer {calls:g} times."
        )
    return sentences


def _depths(found: Complexity) -> str:
    """Whether a cache takes more than training with checkpointing: of a deep model it does."""
    sizes = " and ".join(
        f"{as_binary(cached)} against {as_binary(trained)} with {layers} layers"
        for layers, (cached, trained) in found.depths.items()
    )
    return (
        "The lecture has a cache take more memory than training with checkpointing. That depends on the depth: "
        f"{DEPTHS[0]} tokens take {sizes}."
    )


def _even() -> float:
    """Tokens at which attention to all of them costs as much as the products with a layer's weights."""
    weights = 2 * (4 * HIDDEN * HIDDEN + 2 * HIDDEN * 4 * HIDDEN)  # operations a token
    return weights / (4 * HIDDEN)

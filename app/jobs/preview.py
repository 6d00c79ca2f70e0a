"""What a workload looks like before it is run: its lengths, its arrivals, what its prompts share. Pure NumPy."""

import gzip
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.scenario.workload import WorkloadSection
from simcore.workload.build import make_workload
from simcore.workload.columns import OPEN, PRIVATE, Workload
from simcore.workload.traces import read_trace, trace_info

Floats = NDArray[np.float64]

MOST_DRAWN = 5_000
"""Requests of a synthetic workload that are drawn for a preview."""
MOST_SHARED = 20_000
"""Requests whose prompts are compared."""
BINS = 48
TIMES = 120
"""Columns of time."""
HEAD_BYTES = 64 << 10
HEAD_LINES = 200
LINE_LETTERS = 400
CONTEXT = 3
"""Lines that are shown around a broken one."""


@dataclass(frozen=True, slots=True)
class Preview:
    """A workload in pictures and numbers. Times are as if every answer took no time."""

    requests: int
    """of the workload"""
    drawn: int
    """of these, that the pictures show"""
    span: float
    """s from the first arrival to the last one; 0: all come at once, or no times are known"""
    prompt_edges: Floats
    prompt_counts: Floats
    output_edges: Floats
    output_counts: Floats
    time: Floats
    """[columns] s, where each begins"""
    rate: Floats
    """[columns] requests/s"""
    new_tokens: Floats
    """[columns] tokens/s of prompts that no earlier request has had"""
    shared_tokens: Floats
    """[columns] tokens/s of prompts that some earlier request has had: what an endless prefix cache would find"""
    numbers: dict[str, float]
    """mean, p50, p99 and max of prompt and output; `shared`, the share of prompt tokens"""


def preview_of(section: WorkloadSection, seed: int) -> Preview:
    """Of a section of a scenario. Raises InputError as `make_workload` does."""
    if section.trace is None:
        wanted = section.requests or 1
        drawn = make_workload(section.model_copy(update={"requests": min(wanted, MOST_DRAWN)}), seed)
        return picture(drawn, wanted)
    workload = make_workload(section, seed)
    return picture(workload, len(workload))


def drawn_preview(tell: Callable[[Any], None], section: WorkloadSection, seed: int) -> Preview:
    """The same for a process of its own."""
    return preview_of(section, seed)


def picture(workload: Workload, requests: int) -> Preview:
    """Of requests that are there; `requests` is how many the workload has in all."""
    time = _times(workload)
    shared = shared_tokens(workload)
    first, last = float(time.min()), float(time.max())
    span = last - first
    edges = np.linspace(first, last if span > 0 else first + 1, TIMES + 1)
    width = edges[1] - edges[0]
    column = np.clip(((time - first) / width).astype(np.int64), 0, TIMES - 1)

    def per_second(weights: NDArray[Any] | None) -> Floats:
        counts: Floats = np.bincount(column, weights, TIMES) / width
        return counts

    numbers = {"shared": float(shared.sum() / max(workload.prompt_len.sum(), 1))}
    for name, lengths in (("prompt", workload.prompt_len), ("output", workload.output_len)):
        numbers |= {
            f"{name} mean": float(lengths.mean()),
            f"{name} p50": float(np.percentile(lengths, 50)),
            f"{name} p99": float(np.percentile(lengths, 99)),
            f"{name} max": float(lengths.max()),
        }
    prompt_counts, prompt_edges = _histogram(workload.prompt_len)
    output_counts, output_edges = _histogram(workload.output_len)
    return Preview(
        requests=requests,
        drawn=len(workload),
        span=span,
        prompt_edges=prompt_edges,
        prompt_counts=prompt_counts,
        output_edges=output_edges,
        output_counts=output_counts,
        time=edges[:-1] - first,
        rate=per_second(None),
        new_tokens=per_second(workload.prompt_len - shared),
        shared_tokens=per_second(shared),
        numbers=numbers,
    )


def shared_tokens(workload: Workload) -> NDArray[np.int64]:
    """[requests] the tokens at the beginning of each prompt that an earlier request has had, prompt or output."""
    shared = np.zeros(len(workload), np.int64)
    if workload.runs is None:
        return shared
    root: dict[tuple[int, int], Any] = {}
    for row in range(min(len(workload), MOST_SHARED)):
        level, whole = root, True
        runs = workload.runs.of(row)
        for source, start, length in runs:
            known = level.get((source, start)) if whole else None
            if known is None:
                break
            shared[row] += min(known[0], length)
            whole = known[0] == length
            level = known[1]
        if workload.output_source is not None and workload.output_source[row] != PRIVATE:
            runs.append((int(workload.output_source[row]), 0, int(workload.output_len[row])))
        level = root
        for source, start, length in runs:
            node = level.setdefault((source, start), [length, {}])
            node[0] = max(node[0], length)
            level = node[1]
    return np.minimum(shared, workload.prompt_len)


def _times(workload: Workload) -> Floats:
    time = np.nan_to_num(workload.arrival)
    if workload.after is None:
        return time
    waits = np.flatnonzero(workload.after != OPEN)
    for row in waits.tolist():  # each stands behind the one it waits for
        time[row] += time[workload.after[row]]
    return time


def _histogram(lengths: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Counts and edges, up to the 99.5th percentile; what is longer counts in the last bin."""
    low, high = int(lengths.min()), int(np.ceil(np.percentile(lengths, 99.5)))
    width = max(1, -(-(high - low + 1) // BINS))
    edges = np.arange(low, high + width + 1, width, dtype=np.float64)
    counts, _ = np.histogram(np.minimum(lengths, high), edges)
    return counts.astype(np.float64), edges


# Traces


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file, or the surroundings of a broken line."""

    size: int
    """bytes of the file or folder; of a packed file, as packed"""
    first: int
    """number of the first line"""
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceReport:
    """What is in a trace, and what it looks like."""

    info: dict[str, Any]
    """as `kvscope trace info` tells it"""
    preview: Preview


def read_head(path: Path) -> Head:
    """The first lines of a text, also of a packed one; of a folder, the names in it. Raises InputError."""
    try:
        if path.is_dir():
            files = sorted(path.rglob("*"))[:HEAD_LINES]
            size = sum(file.stat().st_size for file in files if file.is_file())
            return Head(size, 1, tuple(str(file.relative_to(path)) for file in files))
        return Head(path.stat().st_size, 1, tuple(_lines(path, 1, HEAD_LINES)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def inspect_trace(tell: Callable[[Any], None], path: Path, format: str, skip_bad_lines: bool, seed: int) -> TraceReport:
    """Read a trace, for a process of its own: tells its head at once, and around a broken line what stands there."""
    tell(read_head(path))
    try:
        workload = read_trace(path, format, skip_bad_lines=skip_bad_lines, seed=seed)
    except InputError as error:
        if match := re.search(r", line (\d+)", str(error)):
            first = max(int(match[1]) - CONTEXT, 1)
            if lines := tuple(_lines(path, first, 2 * CONTEXT + 1)):
                tell(Head(path.stat().st_size, first, lines))
        raise
    info = trace_info(workload)
    taken = workload.take(np.flatnonzero((workload.prompt_len > 0) & (workload.output_len > 0)))
    if not len(taken):
        raise InputError(f"{path}: no request in it has both a prompt and an output")
    return TraceReport(info, replace(picture(taken, len(workload))))


def _lines(path: Path, first: int, count: int) -> list[str]:
    """Some lines of a file; none of an archive, which is no text."""
    with path.open("rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    lines = []
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for number in range(1, first + count):
                line = file.readline(HEAD_BYTES)
                if not line:
                    break
                if number >= first:
                    lines.append(line.decode(errors="replace").rstrip("\r\n")[:LINE_LETTERS])
    except (EOFError, gzip.BadGzipFile):
        pass  # the reader says what is wrong with it
    return [] if any("\0" in line for line in lines) else lines

"""Workloads in the formats of other tools, as our own readers, and theirs, read them."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from json import dumps
from typing import TextIO

import numpy as np

from simcore.errors import InputError
from simcore.schema import shown
from simcore.workload.columns import OPEN, PRIVATE, Workload
from simcore.workload.native import native_lines

MOONCAKE_BLOCK = 512
"""Tokens that one of its hashes stands for."""
_AZURE_EPOCH = datetime(2023, 11, 16, tzinfo=UTC)
"""When our time 0 is to have been: the day of Azure's first trace."""


def write_trace(workload: Workload, format: str, file: TextIO) -> None:
    """Write the requests, in their order. Raises InputError for what the format cannot say at all."""
    for line in _writer(format)(workload):
        file.write(line + "\n")


def left_out(workload: Workload, format: str) -> str:
    """What the format cannot carry of these requests, as the end of a sentence; empty: it carries all."""
    _writer(format)
    if format == "kvscope":
        return ""
    lost = []
    if workload.runs is not None and len(workload.runs.source):
        if format != "mooncake":
            lost.append("which tokens prompts have in common")
        elif workload.block != MOONCAKE_BLOCK:
            lost.append(f"what prompts have in common beyond whole blocks of {MOONCAKE_BLOCK} tokens")
    if workload.output_source is not None and (workload.output_source != PRIVATE).any() and format == "mooncake":
        lost.append("that an output is found again by a later prompt until one has asked with it")
    for name, column in (("priorities", workload.priority), ("categories", workload.category)):
        if column is not None and column.any():
            lost.append(name)
    if workload.samples is not None and (workload.samples > 1).any():
        lost.append("how many samples are wanted")
    if workload.ids is not None and workload.format == "kvscope":  # elsewhere they only number the rows
        lost.append("names of requests")
    arrival = workload.arrival
    if format == "mooncake" and np.any(arrival * 1000 != np.rint(arrival * 1000)):
        lost.append("fractions of a millisecond")
    if format == "azure" and arrival[0] > 0:
        lost.append("the time before the first request")
    return ", ".join(lost)


def _check(workload: Workload, format: str) -> None:
    if workload.after is not None and (workload.after != OPEN).any():
        raise InputError(f"the format {format} has no way to say that a request waits for another one's end")
    if not np.isfinite(workload.arrival).all() and format != "vidur":
        raise InputError(f"the format {format} needs arrivals, and these requests have none")


def _mooncake(workload: Workload) -> Iterator[str]:
    _check(workload, "mooncake")
    names: dict[tuple[int, tuple[tuple[int, int, int], ...]], int] = {}
    fresh = count()
    for row, milliseconds in enumerate(np.rint(workload.arrival * 1000).astype(np.int64).tolist()):
        hashes, before = [], -1
        for pieces in _blocks(workload, row):
            known = (before, pieces)
            before = names[known] if known in names else names.setdefault(known, next(fresh))
            hashes.append(before)
        line = {
            "timestamp": milliseconds,
            "input_length": int(workload.prompt_len[row]),
            "output_length": int(workload.output_len[row]),
            "hash_ids": hashes,
        }
        yield dumps(line)


def _blocks(workload: Workload, row: int) -> Iterator[tuple[tuple[int, int, int], ...]]:
    """The prompt's blocks of 512 tokens, the last one as long as it is, as runs (source, start, length)."""
    runs = [] if workload.runs is None else workload.runs.of(row)
    private = int(workload.prompt_len[row]) - sum(length for _, _, length in runs)
    if private:
        runs = [*runs, (PRIVATE, row << 32, private)]
    pieces: list[tuple[int, int, int]] = []
    room = MOONCAKE_BLOCK
    for source, start, length in runs:
        while length:
            taken = min(length, room)
            pieces.append((source, start, taken))
            start, length, room = start + taken, length - taken, room - taken
            if not room:
                yield tuple(pieces)
                pieces, room = [], MOONCAKE_BLOCK
    if pieces:
        yield tuple(pieces)


def _vidur(workload: Workload) -> Iterator[str]:
    _check(workload, "vidur")
    timed = bool(np.isfinite(workload.arrival).all())
    yield ("arrived_at," if timed else "") + "num_prefill_tokens,num_decode_tokens"
    for arrival, prompt, output in _lengths(workload):
        yield (f"{arrival!r}," if timed else "") + f"{prompt},{output}"


def _azure(workload: Workload) -> Iterator[str]:
    _check(workload, "azure")
    yield "TIMESTAMP,ContextTokens,GeneratedTokens"
    for arrival, prompt, output in _lengths(workload):
        seconds, ticks = divmod(round(arrival * 10**7), 10**7)
        yield f"{_AZURE_EPOCH + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%S}.{ticks:07},{prompt},{output}"


def _lengths(workload: Workload) -> Iterator[tuple[float, int, int]]:
    columns = (workload.arrival, workload.prompt_len, workload.output_len)
    return zip(*(column.tolist() for column in columns), strict=True)


WRITERS: dict[str, Callable[[Workload], Iterator[str]]] = {
    "kvscope": native_lines,
    "mooncake": _mooncake,
    "vidur": _vidur,
    "azure": _azure,
}


def _writer(format: str) -> Callable[[Workload], Iterator[str]]:
    if format not in WRITERS:
        raise InputError(f"a trace can be written as one of {', '.join(WRITERS)}, not {shown(format)}")
    return WRITERS[format]

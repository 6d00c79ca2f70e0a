"""Writing a workload in the native format `kvscope`: JSON Lines, one request a line, plain or gzipped.

A prompt is written as its length alone, as token ids, as the trace's block hashes, or as segments. Read back, the
workload has the same requests and the same tokens in common; the sources may be numbered otherwise, and what is
private at the end of a prompt of segments has become one more segment, which no other request contains.
"""

import gzip
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from simcore.errors import InputError
from simcore.workload.columns import OPEN, PRIVATE, VOCABULARY, Workload


def write_native(workload: Workload, path: Path) -> None:
    """Write the requests to a file, gzipped if its name ends in `.gz`; equal workloads make equal files.

    Raises InputError for what the format cannot express (requests that wait for others, parallel samples, unknown
    arrivals, no prompt or output tokens, other parts of a segment than its beginning) and for a file that cannot be
    written.
    """
    if problem := _inexpressible(workload):
        raise InputError(f'"{path}" cannot be written in the format kvscope, which has no way to say {problem}.')
    try:
        with _create(path) as file:
            for line in native_lines(workload):
                file.write(line + "\n")
    except OSError as error:
        raise InputError(f'"{path}" cannot be written: {error.strerror}.') from error


def native_lines(workload: Workload) -> Iterator[str]:
    """The lines of the file. Raises InputError as `write_native` does."""
    if problem := _inexpressible(workload):
        raise InputError(f"the format kvscope has no way to say {problem}")
    hashed = _hashed(workload)
    for row in range(len(workload)):
        yield json.dumps(_line(workload, row, hashed), separators=(",", ":"))


@contextmanager
def _create(path: Path) -> Iterator[TextIO]:
    with path.open("wb") as file:
        if path.suffix == ".gz":
            with gzip.GzipFile("", "wb", fileobj=file, mtime=0) as zipped, io.TextIOWrapper(zipped, "utf-8") as text:
                yield text
        else:
            with io.TextIOWrapper(file, "utf-8") as text:
                yield text


def _inexpressible(workload: Workload) -> str:
    """What the format has no words for, or nothing."""
    if workload.after is not None and (workload.after != OPEN).any():
        return "that a request waits for another one's end"
    if workload.samples is not None and (workload.samples > 1).any():
        return "how many samples are wanted"
    if not np.isfinite(workload.arrival).all():
        return "that a request's arrival is unknown"
    if (np.minimum(workload.prompt_len, workload.output_len) < 1).any():
        return "that a request has no prompt or no output"
    runs = workload.runs
    if runs is None:
        return ""
    literal = runs.source == VOCABULARY
    if runs.start is not None and (runs.start[~literal] != 0).any():
        return "that a prompt holds another part of a segment than its beginning"
    row = np.repeat(np.arange(len(workload)), np.diff(runs.offsets))
    spelled = np.bincount(row, runs.length * literal, len(workload))
    if ((spelled > 0) & (spelled < workload.prompt_len)).any():
        return "that a prompt is token ids in part"
    if workload.output_source is not None and (workload.output_source == VOCABULARY).any():
        return "which token ids an output has"
    return ""


def _hashed(workload: Workload) -> bool:
    """Whether the runs are blocks of the trace's own size from the start on, the last one cut by the prompt's end."""
    runs, block = workload.runs, workload.block
    if runs is None or block is None or (workload.output_source is not None and (workload.output_source > 0).any()):
        return False
    row = np.repeat(np.arange(len(workload)), np.diff(runs.offsets))
    begin = block * (np.arange(len(row)) - runs.offsets[row])
    whole = runs.length == np.minimum(block, workload.prompt_len[row] - begin)
    return bool(np.all(whole & (runs.source != VOCABULARY)))


def _line(workload: Workload, row: int, hashed: bool) -> dict[str, Any]:
    prompt_len = int(workload.prompt_len[row])
    line: dict[str, Any] = {"id": workload.id_of(row), "arrival": float(workload.arrival[row])}
    runs = [] if workload.runs is None else workload.runs.of(row)
    if not runs:
        line["prompt_len"] = prompt_len
    elif runs[0][0] == VOCABULARY:
        line["prompt_token_ids"] = [token for _, start, length in runs for token in range(start, start + length)]
    elif hashed:
        line["prompt_len"] = prompt_len
        line["prefix_hashes"] = [source for source, _, _ in runs]
        line["hash_block"] = workload.block
    else:
        line["prompt_segments"] = [[source, length] for source, _, length in runs]
        private = prompt_len - sum(length for _, _, length in runs)
        if private:
            line["prompt_segments"].append([f"private {row}", private])
    line["output_len"] = int(workload.output_len[row])
    if workload.output_source is not None and workload.output_source[row] != PRIVATE:
        line["output_segment"] = int(workload.output_source[row])
    if workload.priority is not None:
        line["priority"] = int(workload.priority[row])
    if workload.category is not None and workload.category[row]:
        line["category"] = int(workload.category[row])
    return line

"""What a cache study plays: contents in the order in which they are asked for, grouped into requests or one by one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import count, pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.schema import shown
from simcore.workload.columns import Floats, Ints, Workload
from simcore.workload.traces import AUTO, FORMATS, SESSIONS, read_trace
from simcore.workload.traces.draft import Scope
from simcore.workload.traces.files import TraceFile, load

IDS = "ids"
"""The format of a plain stream: one id a line, or a NumPy array."""
FORWARD, TAIL_FIRST = "forward", "tail-first"
ORDERS = (FORWARD, TAIL_FIRST)
"""In which order a request touches its blocks."""
_NUMPY = b"\x93NUMPY"


@dataclass(frozen=True, slots=True)
class Stream:
    """Accesses as columns."""

    format: str
    """of the trace, or `IDS`"""
    names: Ints
    """[accesses] equal numbers, equal contents; from 1 on, as they first appear in the file"""
    offsets: Ints | None = None
    """[requests + 1] where each request's blocks begin; None: every access is a request of its own"""
    block: int | None = None
    """tokens; None: its contents are no blocks"""
    arrival: Floats | None = None
    """[requests] s; NaN: unknown"""
    priority: Ints | None = None
    category: Ints | None = None

    @property
    def requests(self) -> int:
        return len(self.names) if self.offsets is None else len(self.offsets) - 1

    def orders(self, asked: Iterable[str] | None = None) -> list[str]:
        """The orders to study, all without `asked`; a stream without requests has one. Raises InputError."""
        chosen = list(dict.fromkeys(ORDERS if asked is None else asked))
        for order in chosen:
            if order not in ORDERS:
                raise InputError(f"an order must be one of {', '.join(ORDERS)}, not {shown(order)}")
        return [FORWARD] if self.offsets is None else chosen

    def ordered(self, order: str) -> Ints:
        """The names, each request's reversed if the order is tail-first."""
        if self.offsets is None or order == FORWARD:
            return self.names
        ends = self.offsets[:-1] + self.offsets[1:] - 1
        reversed_: Ints = self.names[np.repeat(ends, np.diff(self.offsets)) - np.arange(len(self.names))]
        return reversed_


def read_stream(
    path: Path, format: str = AUTO, *, sessions: str = "sequential", skip_bad_lines: bool = False
) -> Stream:
    """Read a trace whose prompts are named by block hashes, or a plain stream of ids; plain or .gz.

    `format` is "ids", one of the traces' or "auto": a file that begins with an object or with columns is a trace. The
    others are as `read_trace` has them. Anything wrong is an InputError of one sentence.
    """
    if format not in (AUTO, IDS, *FORMATS):
        raise InputError(f"format must be one of {', '.join((AUTO, IDS, *FORMATS))}, not {shown(format)}")
    if sessions not in SESSIONS:
        raise InputError(f"sessions must be one of {', '.join(SESSIONS)}, not {shown(sessions)}")
    file = load(path)
    if format == IDS or (format == AUTO and _has_ids(file)):
        return stream_of(_array(file) if file.data.startswith(_NUMPY) else _lines(file))
    return _blocks(read_trace(file, format, sessions=sessions, skip_bad_lines=skip_bad_lines), file.name)


def stream_of(ids: Sequence[int | str] | Sequence[bytes] | NDArray[np.integer]) -> Stream:
    """A stream of contents that are asked for one at a time, named by numbers or words."""
    listed = ids.tolist() if isinstance(ids, np.ndarray) else ids
    if not len(listed):
        raise InputError("a stream needs at least one id")
    return Stream(IDS, np.fromiter(map(Scope(count(1)).__getitem__, listed), np.int64, len(listed)))


def _has_ids(file: TraceFile) -> bool:
    """Whether a file can hold ids only: no folder, and neither JSON objects nor columns."""
    if file.parts:
        return False
    first = file.data.lstrip()[:65536].partition(b"\n")[0]
    return file.data.startswith(_NUMPY) or not (first.startswith(b"{") or b"," in first)


def _lines(file: TraceFile) -> list[bytes]:
    """One id a line, whatever it is made of; blank lines do not count."""
    if file.parts:
        raise InputError(f"{file.name}: is a folder or an archive, and ids come in one file")
    if b"\0" in file.data:
        raise InputError(f"{file.name}: is binary, and ids come as text, one a line, or as a .npy file")
    try:
        file.data.decode()
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file.name}, line {line}: byte {file.data[error.start]:#04x} is not UTF-8") from None
    words = file.data.split()
    lines = file.data.splitlines()
    if len(words) == sum(map(bool, map(bytes.strip, lines))):
        return words
    line, text = next((line, text) for line, text in enumerate(lines, 1) if len(text.split()) > 1)
    raise InputError(f"{file.name}, line {line}: {shown(text.decode().strip())} is more than the one id of a line")


def _array(file: TraceFile) -> NDArray[np.integer]:
    try:
        ids = np.load(BytesIO(file.data), allow_pickle=False)
    except (ValueError, EOFError, OSError, SyntaxError) as error:
        raise InputError(f"{file.name}: is damaged, its NumPy array cannot be read ({error})") from None
    if ids.ndim != 1 or not np.issubdtype(ids.dtype, np.integer):
        raise InputError(f"{file.name}: holds {ids.dtype} of shape {ids.shape}, and ids are integers in one dimension")
    if not len(ids):
        raise InputError(f"{file.name}: holds no id")
    return np.asarray(ids)


def _blocks(workload: Workload, name: str) -> Stream:
    """The prompts' blocks by the trace's own hashes."""
    runs, block = workload.runs, workload.block
    if runs is None or block is None or not len(runs.source):
        raise InputError(
            f"{name}: is a trace of the format {workload.format} whose prompts have no block hashes of one block size, "
            f"and a cache study counts those"
        )
    names = runs.source.astype(np.int64)
    if workload.format == "kvscope":  # its hashes name the same tokens at whatever position, and a block is a prefix
        names = _chained(names, runs.offsets)
    return Stream(
        format=workload.format,
        names=names,
        offsets=runs.offsets,
        block=block,
        arrival=workload.arrival,
        priority=workload.priority,
        category=workload.category,
    )


def _chained(names: Ints, offsets: Ints) -> Ints:
    """New names, equal only where all names from the start of the request on are."""
    known = Scope(count(1))
    listed, bounds = names.tolist(), offsets.tolist()
    for start, end in pairwise(bounds):
        before = 0
        for place in range(start, end):
            before = listed[place] = known[before, listed[place]]
    return np.array(listed, np.int64)

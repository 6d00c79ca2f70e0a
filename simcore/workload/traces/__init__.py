"""Traces as they are published, read into one `Workload`.

Every format is a module with a `FORMAT`. The format of a file is told from its content: the columns of its header or
the keys of its first JSON object; plain, .gz and .tar.gz are told apart by content, too.
"""

from pathlib import Path

from simcore.errors import InputError
from simcore.workload.columns import Workload
from simcore.workload.traces import (
    azure,
    bailian,
    burstgpt,
    kv_cache_tester,
    kvscope,
    llmservingsim,
    mooncake,
    servegen,
    vidur,
)
from simcore.workload.traces.files import TraceFile, load
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.info import trace_info
from simcore.workload.traces.records import parse_object
from simcore.workload.traces.table import header
from simcore.workload.traces.values import MAX_SECONDS, listing, quoted

__all__ = ["AUTO", "FORMATS", "SESSIONS", "Format", "read_trace", "trace_info"]

AUTO = "auto"
SESSIONS = ("sequential", "stagger60")
FORMATS: dict[str, Format] = {
    module.FORMAT.name: module.FORMAT
    for module in (kvscope, azure, burstgpt, mooncake, bailian, kv_cache_tester, vidur, servegen, llmservingsim)
}


def read_trace(
    path: Path | TraceFile,
    format: str = AUTO,
    *,
    skip_bad_lines: bool = False,
    sessions: str = "sequential",
    seed: int = 0,
    span: tuple[float, float] = (0.0, 600.0),
) -> Workload:
    """Read a trace, sorted by arrival; the request on the k-th row of the file is called `r{k}`.

    `format` is one of `FORMATS` or "auto". Broken lines are errors, or with `skip_bad_lines` passed over and counted;
    a broken file (empty, cut, of wrong columns) is an error always. `sessions` says when kv-cache-tester's begin:
    each with the last request of the one before ("sequential"), or the one on line i, from 0 on, at 60 i s
    ("stagger60"). ServeGen is sampled from `seed`, within `span` (s from the start of its description).

    What is loaded already is not read again: a pipe can be read but once. Requests without output stay, and arrivals
    that a trace does not have are NaN. Anything wrong is an InputError of one sentence that names file and line.
    """
    if format not in (AUTO, *FORMATS):
        raise InputError(f"format must be one of {', '.join((AUTO, *FORMATS))}, not {quoted(format)}")
    if sessions not in SESSIONS:
        raise InputError(f"sessions must be one of {', '.join(SESSIONS)}, not {quoted(sessions)}")
    if seed < 0:
        raise InputError(f"seed must not be negative, but is {seed}")
    if not 0 <= span[0] < span[1] <= MAX_SECONDS:
        raise InputError(f"span must go from 0 s or later to a later time, not from {span[0]} to {span[1]} s")
    file = path if isinstance(path, TraceFile) else load(path)
    return _choose(file, format).read(file, Options(skip_bad_lines, sessions, seed, span))


def _choose(file: TraceFile, format: str) -> Format:
    """The format to read a file in; one whose content shows another than the one asked for is an InputError."""
    if file.parts:
        if format not in (AUTO, "servegen"):
            raise InputError(f"{file.name}: is not in the format {format}, it looks like servegen")
        return FORMATS["servegen"]
    seen = _names(file)
    nearest = max(FORMATS.values(), key=lambda candidate: (candidate.fits(seen), len(candidate.names & seen)))
    if format == AUTO:
        if not nearest.names & seen:
            raise InputError(
                f"{file.name}: is in no known trace format, its columns or keys are {listing(seen)} "
                f"(the formats are {', '.join(FORMATS)})"
            )
        return nearest
    asked = FORMATS[format]
    if nearest.fits(seen) and not asked.fits(seen):
        raise InputError(f"{file.name}: is not in the format {format}, it looks like {nearest.name}")
    if not asked.names:
        raise InputError(f"{file.name}: is not in the format {format}, which is a folder or an archive")
    return asked


def _names(file: TraceFile) -> frozenset[str]:
    """The columns of a CSV file, or the keys of the first JSON object that a format knows, else of the first one."""
    _, first = next(file.lines())
    columns = frozenset[str]() if first.lstrip().startswith(b"{") else frozenset(header(file)[1])
    if any(columns & known.names for known in FORMATS.values()):
        return columns
    found: list[frozenset[str]] = []
    broken = ""
    for line, raw in file.lines():
        if raw.lstrip().startswith(b"{"):
            try:
                found.append(frozenset(parse_object(line, raw.decode(errors="replace"))))
            except InputError as error:
                broken = broken or f"{file.name}, line {line}: {error}"
                continue
            if any(known.fits(found[-1]) for known in FORMATS.values()):
                return found[-1]
    if broken and not found:
        raise InputError(broken)
    return found[0] if found else columns

"""What a trace format is to the reader: a name, the names by which it is recognized, and a function."""

from collections.abc import Callable
from dataclasses import dataclass

from simcore.workload.columns import Workload
from simcore.workload.traces.files import TraceFile


@dataclass(frozen=True, slots=True)
class Options:
    """How to read a trace; see `read_trace`."""

    skip_bad_lines: bool
    sessions: str
    seed: int
    span: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Format:
    """A trace format."""

    name: str
    names: frozenset[str]
    """the columns or keys that every file of the format has; none: it is a folder"""
    read: Callable[[TraceFile, Options], Workload]

    def fits(self, seen: frozenset[str]) -> bool:
        """Whether a file with these columns or keys can be of this format."""
        return bool(self.names) and self.names <= seen

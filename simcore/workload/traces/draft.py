"""A workload in the making: requests are added as they are read, then sorted by arrival into columns."""

from array import array
from collections.abc import Hashable, Iterator, Sequence
from itertools import count

import numpy as np

from simcore.errors import InputError
from simcore.workload.columns import PRIVATE, VOCABULARY, Ints, Runs, Workload
from simcore.workload.traces.lines import BadLines


class Scope(dict[Hashable, int]):
    """The sources of the names within one scope: equal names, equal tokens. A known name costs no Python call."""

    def __init__(self, sources: Iterator[int]) -> None:
        self._sources = sources

    def __missing__(self, name: Hashable) -> int:
        source = self[name] = next(self._sources)
        return source


class Draft:
    """Requests in the order of the file. The runs of a prompt are added before its request.

    A reader checks all values of a line before it adds anything, so that a line passed over leaves nothing behind.
    """

    def __init__(self, bad: BadLines) -> None:
        self.arrival: list[float] = []
        """s, or NaN"""
        self._bad = bad
        self._place = array("q")
        self._prompt_len = array("q")
        self._output_len = array("q")
        self._ids: list[str] = []
        self._priority = array("q")
        self._output_source = array("q")
        self._category = array("q")
        self._categories: dict[Hashable, int] = {}
        self._sources = count(VOCABULARY + 1)
        self._run_offsets = array("q", [0])
        self._run_source = array("i")
        self._run_start = array("i")
        self._run_length = array("i")

    def scope(self) -> Scope:
        """Sources for names that mean something else elsewhere."""
        return Scope(self._sources)

    def rows(self, arrival: Sequence[float], prompt_len: Sequence[int], output_len: Sequence[int]) -> None:
        """Requests of a format that names no tokens: arrivals in s, lengths in tokens."""
        place = len(self.arrival) + self._bad.count
        self._place.extend(range(place, place + len(arrival)))
        self.arrival.extend(arrival)
        self._prompt_len.extend(prompt_len)
        self._output_len.extend(output_len)

    def add(self, arrival: float, prompt_len: int, output_len: int, category: Hashable = None) -> None:
        """A request whose prompt begins with the runs added since the last one; None: it is of no category."""
        if category is not None or self._category:
            number = 0 if category is None else self._categories.setdefault(category, len(self._categories) + 1)
            self._category.extend([0] * (len(self.arrival) - len(self._category)))
            self._category.append(number)
        self._place.append(len(self.arrival) + self._bad.count)
        self.arrival.append(arrival)
        self._prompt_len.append(prompt_len)
        self._output_len.append(output_len)
        self._run_offsets.append(len(self._run_source))

    def add_native(
        self, arrival: float, prompt_len: int, output_len: int, id: str, priority: int, source: int, category: Hashable
    ) -> None:
        """A request that says all there is to say; `source`: of its output, or PRIVATE."""
        self.add(arrival, prompt_len, output_len, category)
        self._ids.append(id)
        self._priority.append(priority)
        self._output_source.append(source)

    def run(self, source: int, start: int, length: int) -> None:
        """A run of at least one token."""
        self._run_source.append(source)
        self._run_start.append(start)
        self._run_length.append(length)

    def literals(self, ids: Sequence[int]) -> None:
        """Runs of the vocabulary, as long as ids follow each other."""
        tokens = np.array(ids, np.int64)
        first = np.flatnonzero(np.diff(tokens, prepend=-2) != 1)
        for start, length in zip(tokens[first].tolist(), np.diff(first, append=len(tokens)).tolist(), strict=True):
            self.run(VOCABULARY, start, length)

    def blocks(self, names: Scope, hashes: Sequence[Hashable], prompt_len: int, block: int) -> None:
        """Runs of a prompt's leading blocks of `block` tokens, named by hashes; the last block may be cut short."""
        if hashes:
            number = len(hashes)
            self._run_source.frombytes(np.fromiter(map(names.__getitem__, hashes), np.intc, number).tobytes())
            self._run_start.extend(array("i", [0]) * number)
            self._run_length.extend(array("i", [block]) * number)
            self._run_length[-1] = min(block, prompt_len - block * (number - 1))

    def workload(self, format: str, name: str, block: int | None = None) -> Workload:
        """The columns, sorted by arrival where there are any; a draft without requests is an InputError."""
        if not self.arrival:
            found = f"all its lines are broken, the first is {self._bad.first}" if self._bad.count else "it has no rows"
            raise InputError(f"{name}: holds no request, {found}")
        arrival = np.array(self.arrival, np.float64)
        places = [f"r{place}" for place in self._place] if self._bad.count else None
        workload = Workload(
            format=format,
            arrival=arrival,
            prompt_len=np.array(self._prompt_len, np.int64),
            output_len=np.array(self._output_len, np.int64),
            ids=self._ids or places,
            priority=_unless_all(0, self._priority),
            runs=self._runs() if self._run_source or block else None,
            category=np.array(self._category, np.int64) if self._category else None,
            output_source=_unless_all(PRIVATE, self._output_source),
            block=block,
            skipped=self._bad.count,
        )
        in_order = bool(np.isnan(arrival[0]) or np.all(arrival[1:] >= arrival[:-1]))
        return workload if in_order else workload.take(np.argsort(arrival, kind="stable"))

    def _runs(self) -> Runs:
        start = np.array(self._run_start, np.int32)
        return Runs(
            offsets=np.array(self._run_offsets, np.int64),
            source=np.array(self._run_source, np.int32),
            length=np.array(self._run_length, np.int32),
            start=start if start.any() else None,
        )


def _unless_all(default: int, values: "array[int]") -> Ints | None:
    column = np.array(values, np.int64)
    return column if np.any(column != default) else None

"""ServeGen: not a trace but the description of one, sampled with a seed.

A folder or tar archive of clients. `chunk-N-trace.csv`, without a header: a window's start (s), requests per s, CV of
the inter-arrival times, `Gamma` or `Weibull` (nothing: no requests), shape, scale. `chunk-N-dataset.json`: from which
second on which distributions of `input_tokens` and `output_tokens` hold, each a Python dict {tokens: probability}.

Sampled as ServeGen's own generator does it: inter-arrival times of the window's shape are stretched until the window
has its rate, and one random number gives a request both its lengths, so that long prompts come with long outputs.

https://github.com/alibaba/ServeGen, Apache-2.0. Xiang et al., ServeGen, NSDI 2026.
"""

import ast
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from simcore.errors import InputError
from simcore.workload.columns import Floats, Ints, Workload
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.format import Format, Options
from simcore.workload.traces.lines import BadLines, each_line
from simcore.workload.traces.records import Record, parse_document
from simcore.workload.traces.table import fields_of
from simcore.workload.traces.values import number, quoted, real, seconds, whole

_MOST_REQUESTS = 10**8
_ONLY_WINDOW = 600.0
"""s that a window lasts after which none follows that would tell"""
_REAL = r"(?:0|[1-9]\d{0,18})(?:\.\d+)?(?:[eE][+-]?\d+)?"
_DISTRIBUTION = re.compile(rf"\{{(?:{_REAL}: {_REAL}(?:, |(?=\}})))*\}}", re.ASCII)
"""What is let through to `ast.literal_eval`: a flat dict of plain numbers."""


@dataclass(frozen=True, slots=True)
class _Window:
    """A client's renewal process while it has one rate and one shape."""

    start: float
    """s"""
    end: float
    """s"""
    rate: float
    """requests per s"""
    pattern: str
    shape: float

    def within(self, start: float, end: float) -> "_Window":
        """What of it lies between two instants, in s."""
        return replace(self, start=max(self.start, start), end=min(self.end, end))

    def requests(self) -> float:
        """How many are expected."""
        return self.rate * (self.end - self.start)

    def arrivals(self, rng: np.random.Generator) -> Floats:
        """Sorted instants, in s: n of them, the rate's number in the mean, leave n + 1 gaps that fill the window."""
        n = math.floor(self.requests() + rng.random())
        if self.pattern == "Weibull":
            log_gaps = np.log(rng.standard_exponential(n + 1)) / self.shape
        else:  # Gamma(a) = Gamma(a + 1) U^(1/a), in logarithms because small shapes underflow
            log_gaps = np.log(rng.standard_gamma(self.shape + 1, n + 1)) - rng.standard_exponential(n + 1) / self.shape
        ends = np.cumsum(np.exp(log_gaps - log_gaps.max()))
        arrivals: Floats = self.start + (self.end - self.start) * ends[:-1] / ends[-1]
        return arrivals


@dataclass(frozen=True, slots=True)
class _Lengths:
    """A distribution of lengths."""

    tokens: Ints
    """rising"""
    cumulated: Floats
    """probabilities, up to 1"""

    def at(self, quantiles: Floats) -> Ints:
        """The lengths at some quantiles in [0, 1)."""
        return self.tokens[np.searchsorted(self.cumulated, quantiles, side="right")]


class _Client:
    """One client: its windows, and the distributions of its lengths."""

    def __init__(self, windows: TraceFile, dataset: TraceFile, bad: BadLines) -> None:
        self.windows: list[_Window] = []
        self._dataset = dataset
        each_line(windows, bad, self._add_window)
        self._tables = sorted(self._read_tables(), key=lambda table: table[0])
        self._known: dict[float, tuple[_Lengths, _Lengths]] = {}

    def lengths(self, window: _Window) -> tuple[_Lengths, _Lengths]:
        """The distributions of input and output that hold in a window: the latest that are not empty."""
        held = [table for table in self._tables if table[0] <= window.start]
        if not held:
            raise InputError(f"{self._dataset.name}: has no lengths for the requests at {window.start} s")
        start, *texts = held[-1]
        if start not in self._known:
            self._known[start] = (self._lengths("input_tokens", texts[0]), self._lengths("output_tokens", texts[1]))
        return self._known[start]

    def _add_window(self, _line: int, text: str) -> None:
        fields = [field.strip() for field in fields_of(text)]
        if len(fields) != 6:
            raise InputError(f"it has {len(fields)} fields instead of 6")
        start = seconds("a window's start", number(fields[0]))
        rate = real("the rate", number(fields[1]), 0, _MOST_REQUESTS, "requests per s")
        pattern, shape = fields[3], 1.0
        if rate:
            shape = real("the shape", number(fields[4]), 1e-6, 1e6)
            if pattern not in ("Gamma", "Weibull"):
                raise InputError(f"the pattern must be Gamma or Weibull, not {quoted(pattern)}")
        length = _ONLY_WINDOW
        if self.windows:
            last = self.windows[-1]
            length = start - last.start
            if length <= 0:
                raise InputError(f"a window's start must be after the last one's, {last.start} s, not {start}")
            self.windows[-1] = replace(last, end=start)
        self.windows.append(_Window(start, start + length, rate, pattern, shape))

    def _read_tables(self) -> Iterator[tuple[float, str, str]]:
        document = parse_document(self._dataset)
        try:
            for start, value in document.items():
                table = Record(1, value)
                texts = table["input_tokens"], table["output_tokens"]
                if "{}" not in texts:
                    yield seconds("a key", number(start)), *texts
        except InputError as error:
            raise InputError(f"{self._dataset.name}: {error}") from None

    def _lengths(self, key: str, text: object) -> _Lengths:
        try:
            if not isinstance(text, str) or not _DISTRIBUTION.fullmatch(text):
                raise InputError(f"{key} must be a dict {{tokens: probability}}, not {quoted(text)}")
            table = sorted(ast.literal_eval(text).items())
            tokens = np.array([whole(f"a length in {key}", length) for length, _ in table], np.int64)
            cumulated = np.cumsum([probability for _, probability in table])
            if not abs(cumulated[-1] - 1) < 1e-3:
                raise InputError(f"the probabilities of {key} add up to {cumulated[-1]:.6g} and not to 1")
        except InputError as error:
            raise InputError(f"{self._dataset.name}: {error}") from None
        return _Lengths(tokens, cumulated / cumulated[-1])


def _clients(trace: TraceFile, bad: BadLines) -> list[_Client]:
    """All clients, by number."""
    stems = {name.rpartition("-")[0] for name in trace.parts}
    for stem in stems:
        for name in (f"{stem}-trace.csv", f"{stem}-dataset.json"):
            if name not in trace.parts:
                raise InputError(f"{trace.name}: lacks {name}")
    ordered = sorted(stems, key=lambda stem: int(stem.rpartition("-")[2]))
    return [_Client(trace.parts[f"{stem}-trace.csv"], trace.parts[f"{stem}-dataset.json"], bad) for stem in ordered]


def _read(trace: TraceFile, options: Options) -> Workload:
    bad = BadLines(options.skip_bad_lines)
    first, last = options.span
    parts = [
        (client, window, window.within(first, last))
        for client in _clients(trace, bad)
        for window in client.windows
        if window.rate > 0 and first < window.end and window.start < last
    ]
    expected = sum(part.requests() for _, _, part in parts)
    if expected > _MOST_REQUESTS:
        raise InputError(
            f"{trace.name}: describes {expected:.3g} requests from {first} to {last} s, choose a shorter span"
        )
    rng = np.random.default_rng(options.seed)
    arrivals, prompts, outputs = [np.empty(0)], [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for client, window, part in parts:
        inputs, answers = client.lengths(window)
        arrivals.append(part.arrivals(rng) - first)
        quantiles = rng.random(len(arrivals[-1]))
        prompts.append(inputs.at(quantiles))
        outputs.append(answers.at(quantiles))
    arrival = np.concatenate(arrivals)
    if not len(arrival):
        raise InputError(f"{trace.name}: describes no request from {first} to {last} s")
    order = np.argsort(arrival, kind="stable")
    return Workload(
        format="servegen",
        arrival=arrival[order],
        prompt_len=np.concatenate(prompts)[order],
        output_len=np.concatenate(outputs)[order],
        skipped=bad.count,
    )


FORMAT = Format("servegen", frozenset(), _read)

"""A workload as columns: who arrives when, with which tokens. A million requests fit in memory.

Tokens have names, never values: a simulation needs to know only which tokens are equal. A token is named by its
*source* and its place in it, and a prompt is a list of *runs*: `length` tokens of `source`, from place `start` on.
A trace's hash is a source of as many tokens as its block holds; a named segment is a source; the vocabulary is the
source 0, whose place t is token id t. What the runs leave of a prompt, and an output without a source of its own, is
private: no other request can contain it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

VOCABULARY = 0
"""The source of literal token ids."""
PRIVATE = -1
"""The output source of a request whose output no other request repeats."""
OPEN = -1
"""The `after` of a request that waits for nobody."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The named leading tokens of every prompt: run j of request i is row `offsets[i] + j` of the other columns."""

    offsets: Ints
    """[requests + 1]"""
    source: NDArray[np.integer]
    """[runs] an integer for each source of tokens, or `VOCABULARY`"""
    length: NDArray[np.integer]
    """[runs] tokens, at least 1"""
    start: NDArray[np.integer] | None = None
    """[runs] the first token's place in its source; None: 0 everywhere"""

    def of(self, request: int) -> list[tuple[int, int, int]]:
        """(source, start, length) of each run of one request's prompt, in order."""
        rows = slice(int(self.offsets[request]), int(self.offsets[request + 1]))
        sources = self.source[rows].tolist()
        starts = [0] * len(sources) if self.start is None else self.start[rows].tolist()
        return list(zip(sources, starts, self.length[rows].tolist(), strict=True))

    def take(self, rows: Ints) -> "Runs":
        """The runs of some requests, in the order of `rows`."""
        counts = np.diff(self.offsets)[rows]
        offsets = np.concatenate(([0], np.cumsum(counts)))
        picked = np.repeat(self.offsets[:-1][rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        start = None if self.start is None else self.start[picked]
        return Runs(offsets, self.source[picked], self.length[picked], start)


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests as columns of equal length, in the order in which a server hears of equal arrivals."""

    format: str
    """The format of the trace, or `synthetic`."""
    arrival: Floats
    """s from the start of the run, not decreasing; of a request with an `after`: the delay after that one has ended"""
    prompt_len: Ints
    """tokens"""
    output_len: Ints
    """tokens; a trace may hold zeros, a simulation drops and counts them"""
    ids: Sequence[str] | None = None
    """None: r0, r1, ..."""
    priority: Ints | None = None
    """smaller is sooner; None: all equal"""
    category: Ints | None = None
    """what kind of request each is, numbered from 1; 0: its trace does not say; None: none says"""
    after: Ints | None = None
    """row of the request whose end this one waits for (think time, the next turn), or OPEN; a row before its own"""
    samples: Ints | None = None
    """parallel samples wanted of each request; None: one"""
    beam_switch: float = 0.0
    """the samples of each request are beams: the chance of each, at each token, to be dropped for a fork of another"""
    runs: Runs | None = None
    """None: every prompt is private"""
    output_source: Ints | None = None
    """source that a request's output tokens come from, from place 0 on, or PRIVATE; None: all private"""
    block: int | None = None
    """tokens per block of the trace's own hashes; None: it has none"""
    dropped: int = 0
    """requests left out because they have no prompt or no output tokens"""
    skipped: int = 0
    """broken lines passed over on request"""

    def __len__(self) -> int:
        return len(self.arrival)

    def id_of(self, row: int) -> str:
        return f"r{row}" if self.ids is None else self.ids[row]

    def opening(self) -> Ints:
        """[requests] the row that begins each request's chain of waiting; its own if it waits for nobody."""
        rows = np.arange(len(self))
        if self.after is None:
            return rows
        opening = np.where(self.after == OPEN, rows, self.after)
        while np.any((further := opening[opening]) != opening):
            opening = further
        return opening

    def take(self, rows: Ints) -> "Workload":
        """Some of the requests, in the order of `rows`; those that waited for one left out are `OPEN`."""
        after = self.after
        if after is not None:
            place = np.full(len(self) + 1, OPEN, np.int64)
            place[rows] = np.arange(len(rows))
            after = place[after[rows]]  # OPEN is -1: the extra last entry
        return replace(
            self,
            arrival=self.arrival[rows],
            prompt_len=self.prompt_len[rows],
            output_len=self.output_len[rows],
            ids=[self.id_of(row) for row in rows.tolist()],
            priority=None if self.priority is None else self.priority[rows],
            category=None if self.category is None else self.category[rows],
            after=after,
            samples=None if self.samples is None else self.samples[rows],
            runs=None if self.runs is None else self.runs.take(rows),
            output_source=None if self.output_source is None else self.output_source[rows],
        )

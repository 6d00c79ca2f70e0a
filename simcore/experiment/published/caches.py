"""Published hit ratios of a prefix cache, on the trace that the user has."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simcore.errors import InputError
from simcore.experiment.published.rows import Row
from simcore.study import TAIL_FIRST, lru_curve, read_stream

WHICH = (
    "Mooncake's conversation trace, conversation_trace.jsonl of https://github.com/kvcache-ai/Mooncake/tree/main/"
    "FAST25-release/traces, whole or its first 2,400 s"
)
ASSUMPTIONS = (
    "LRU over blocks of 512 tokens, each request's touched from the tail of its prompt to the head, as vLLM frees them",
    "a hit is usable: all blocks before it in its prompt are hits too; of all blocks that are looked up",
    "no time passes: a prompt's blocks are there for the next request, and outputs are not cached",
    "the reference is another program's count on the same trace; the Mooncake paper's figures are those of another one",
)


class _Reference(NamedTuple):
    """Another program's count for one file."""

    name: str
    requests: int
    blocks: int
    hits: dict[int, int]
    """usable hits by capacity"""


REFERENCES = (
    _Reference("whole trace", 12_031, 288_500, {1000: 12_847, 5000: 32_260, 10_000: 61_046, 50_000: 102_290}),
    _Reference("first 2,400 s", 7_851, 194_284, {1000: 8_575, 10_000: 40_105, 50_000: 67_107, 100_000: 68_181}),
)


class MooncakeCurve:
    """Usable hits of LRU at some capacities."""

    title = "Usable hits of LRU on Mooncake's conversation trace"
    runs = (None,)

    def __init__(self, trace: Path | None) -> None:
        """Raises InputError without a trace: it does not come with the product."""
        if trace is None:
            raise InputError(f"mooncake-hit-ratio needs --trace FILE: {WHICH}")
        self._trace = trace

    def play(self, jobs: int, done: Callable[[], None]) -> list[Row]:
        """See `ServingTable.play`. Raises InputError for another trace, of which nothing is known."""
        stream = read_stream(self._trace)
        size = stream.requests, len(stream.names)
        found = [known for known in REFERENCES if (known.requests, known.blocks) == size]
        if not found:
            raise InputError(
                f"{self._trace}: has {size[0]:,} requests of {size[1]:,} blocks or ids, and nothing was published of "
                f"it; mooncake-hit-ratio needs {WHICH}"
            )
        (known,) = found
        capacities = np.array(list(known.hits))
        _, hits = lru_curve(stream, TAIL_FIRST).at(capacities)
        done()
        assert hits is not None  # a trace has requests
        return [
            Row(
                name=f"{known.name}, {capacity:,} blocks",
                published=float(Fraction(expected, known.blocks)),
                ours=float(Fraction(ours, known.blocks)),
                bound=0.0,
                unit="share",
                assumptions=ASSUMPTIONS,
            )
            for (capacity, expected), ours in zip(known.hits.items(), hits.tolist(), strict=True)
        ]

"""What others have published, and what comes out here: `reproduce("vllm-sharing")`.

See docs/published.md.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from simcore.errors import InputError
from simcore.experiment.published import documents
from simcore.experiment.published.caches import MooncakeCurve
from simcore.experiment.published.documents import Document
from simcore.experiment.published.rows import Row
from simcore.experiment.published.serving import ServingTable
from simcore.schema import shown

__all__ = ["NAMES", "MooncakeCurve", "Row", "Table", "agree", "reproduce", "table"]

NAMES = {
    "vllm-batched-requests": "requests batched by Orca and vLLM (Kwon et al., SOSP 2023, figure 13)",
    "vllm-memory-waste": "share of the pool that holds tokens (the same, figure 2)",
    "vllm-sharing": "blocks saved by parallel samples and beams (the same, figure 15)",
    "mooncake-hit-ratio": "usable hits of LRU on Mooncake's conversation trace; needs --trace",
    "seed-001": "a lecture on paged attention: what grouping heads saves, how a cache grows",
    "seed-002": "a benchmark of attention on a GTX 1080: what its tensors take",
    "seed-004": "a comparison of paged and allocated memory for TinyLlama",
}
"""What can be reproduced, and what it is."""


class Table(Protocol):
    """A published table that can be played."""

    @property
    def title(self) -> str: ...

    @property
    def runs(self) -> Sequence[object]: ...

    def play(self, jobs: int, done: Callable[[], None]) -> list[Row]:
        """The rows. `done` is called after each of `runs`, which so many processes share."""
        ...


def table(name: str, trace: Path | None = None) -> Table:
    """A table by its name. Raises InputError for a name that there is not, and for a trace too few or too many."""
    if name not in NAMES:
        raise InputError(f"nothing is called {shown(name)}; there are {', '.join(NAMES)}")
    if name == "mooncake-hit-ratio":
        return MooncakeCurve(trace)
    if trace is not None:
        raise InputError(f"{name} plays no trace: --trace is for mooncake-hit-ratio")
    match name:
        case "seed-001":
            return Document("A lecture on paged attention", documents.lecture)
        case "seed-002":
            return Document("Attention on a GTX 1080, 8 x 8,192 tokens, one head of 16", documents.benchmark)
        case "seed-004":
            return Document("TinyLlama, 128 tokens in blocks of 16", documents.helix)
    return ServingTable("vllm-paper", name)


def reproduce(name: str, trace: Path | None = None, jobs: int = 1) -> list[Row]:
    """Play a published table; the results do not hang on `jobs`, the number of processes.

    >>> [row.ok for row in reproduce("seed-004")][:3]
    [True, True, True]
    """
    return table(name, trace).play(jobs, lambda: None)


def agree(rows: Sequence[Row]) -> bool:
    """The verdict: every row that decides is within its bound."""
    return all(row.ok is not False for row in rows)

"""What a run leaves behind: a summary, tables of requests, steps and blocks."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from simcore.geometry import content_bytes
from simcore.record import metrics
from simcore.record.journal import NOBODY, Event, Journal
from simcore.record.recorder import STATUS, STEP_COLUMNS, UNFINISHED, Record
from simcore.record.sequences import Kind, SequenceLog
from simcore.scenario import Scenario
from simcore.ticks import TICKS_PER_SECOND
from simcore.workload.columns import Workload

if TYPE_CHECKING:
    import polars as pl

TIMELINE_MARKS = {"entries": "block_rows", "clock": "clock", "events": "sequence_rows"}
"""What the columns of a `SequenceLog`'s marks are called in timeline.parquet."""


@dataclass(frozen=True)
class Results:
    """The results of one run. Nothing in them depends on the machine. The columns are described in docs/results.md."""

    scenario: Scenario
    workload: Workload
    record: Record
    blocks_in_pool: int
    """the null block included"""
    journal: Journal | None = None
    sequence_log: SequenceLog | None = None
    """there is one with a journal"""
    tier_blocks: tuple[int, ...] = ()
    """the size of each tier below the pool"""
    interrupted: bool = False
    """somebody ended the run before it was over; what is here is whole, up to then"""
    out_of_time: bool = False
    """the run reached the end of its clock, 97 days; its last step is cut short there"""

    @property
    def unfinished(self) -> list[str]:
        """The ids of the requests that were not served, though they were not refused."""
        return [
            self.workload.id_of(row) for row in np.flatnonzero(self.record.requests["status"] == UNFINISHED).tolist()
        ]

    @property
    def stalled(self) -> bool:
        """The run could not go on: some requests could never be served, or it reached `max_steps` or 97 days."""
        left = bool((self.record.requests["status"] == UNFINISHED).any())
        return not self.interrupted and (left or self.out_of_time)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """The contents of summary.json."""
        wanted = self.scenario.metrics
        return metrics.summarize(
            self.record,
            self.workload,
            blocks=self.blocks_in_pool,
            block_size=self.scenario.memory.block_size,
            warmup=wanted.warmup,
            slo=wanted.slo.model_dump(exclude_none=True),
            tier_blocks=self.tier_blocks,
            block_bytes=content_bytes(self.scenario.model.resolve(), self.scenario.memory.block_size),
        )

    @cached_property
    def requests(self) -> "pl.DataFrame":
        """One row a request, in the order of the workload. Times in seconds; null: it did not come to that."""
        import polars as pl

        columns, workload = self.record.requests, self.workload
        times = metrics.latencies(self.record)
        gaps = metrics.TokenGaps(self.record)
        arrival = np.where(columns["arrival"] < 0, np.nan, columns["arrival"] / TICKS_PER_SECOND)
        frame = pl.DataFrame(
            {
                "id": [workload.id_of(row) for row in range(len(workload))],
                "arrival": arrival,
                "prompt_len": workload.prompt_len,
                "output_len": workload.output_len,
                "status": pl.Series(list(STATUS)).gather(columns["status"]),
                "queue": times.queue,
                "ttft": times.ttft,
                "tpot": times.tpot,
                "itl_mean": gaps.mean(),
                "itl_p99": gaps.p99(),
                "e2e": times.e2e,
                "preemptions": columns["preemptions"],
                "hit_tokens_first": columns["hit_tokens_first"],
                "hit_tokens": columns["hit_tokens"],
                "computed_tokens": columns["computed_tokens"],
                "output_tokens": columns["output_tokens"],
            }
        )
        if workload.category is not None:
            frame = frame.with_columns(category=workload.category)
        if self.record.tiers:
            frame = frame.with_columns(tier_hit_tokens=columns["tier_hit_tokens"])
        return frame.with_columns(pl.col(pl.Float64).fill_nan(None))

    @cached_property
    def timeline(self) -> "pl.DataFrame":
        """One row a step: the state while it ran, and what happened in it. Times in seconds."""
        import polars as pl

        steps, block_size = self.record.steps, self.scenario.memory.block_size
        columns = {"step": np.arange(len(steps["t"]))} | {name: steps[name] for name in STEP_COLUMNS}
        if self.record.fetching is not None:
            columns["fetching"] = self.record.fetching
        for tier, levels in self.record.tiers.items():
            columns |= {f"tier_{tier}_{name}": column for name, column in levels.items()}
        if self.sequence_log is not None:
            marks = self.sequence_log.marks()
            columns |= {"ticks": steps["t"]}
            columns |= {TIMELINE_MARKS[name]: column[: len(steps["t"])] for name, column in marks.items()}
        return pl.DataFrame(columns).with_columns(
            pl.col("t", "dt") / TICKS_PER_SECOND,
            (pl.col("blocks_used") * block_size - pl.col("tokens_stored")).alias("internal_tokens"),
        )

    @cached_property
    def blocks(self) -> "pl.DataFrame":
        """One row a change of a block, in order. Raises ValueError if the run kept no journal."""
        import polars as pl

        if self.journal is None:
            raise ValueError("the run kept no journal of its blocks: simulate(..., journal=True)")
        columns = self.journal.columns()
        ids = pl.Series([self.workload.id_of(row) for row in self.record.sequences.tolist()], dtype=pl.String)
        owner = pl.Series(columns["sequence"])
        owner = owner.set(owner == NOBODY, None)
        return pl.DataFrame(
            {
                "step": columns["step"],
                "t": columns["t"] / TICKS_PER_SECOND,
                "event": pl.Series([event.name.lower() for event in Event]).gather(columns["event"]),
                "block": columns["block"],
                "request": ids.gather(owner),
                "key": pl.Series(columns["key"]).replace(0, None),
                "refs": columns["refs"],
                "other": pl.Series(columns["other"]).replace(0, None),
                "sequence": owner,
            }
        )

    @cached_property
    def sequences(self) -> "pl.DataFrame":
        """One row an event of a sequence, in order. Raises ValueError if the run kept no journal."""
        import polars as pl

        if self.sequence_log is None:
            raise ValueError("the run kept no journal of its blocks: simulate(..., journal=True)")
        columns = self.sequence_log.events()
        ids = pl.Series([self.workload.id_of(row) for row in range(len(self.workload))], dtype=pl.String)
        sequence = pl.Series(columns["sequence"])
        return pl.DataFrame(
            {
                "step": columns["step"],
                "t": columns["t"] / TICKS_PER_SECOND,
                "event": pl.Series([kind.name.lower() for kind in Kind]).gather(columns["kind"]),
                "sequence": sequence.set(sequence == NOBODY, None),
                "request": ids.gather(columns["row"]),
                "row": columns["row"],
                "tokens": columns["tokens"],
                "end": columns["end"],
                "ticks": columns["t"],
            }
        )

"""A run told again from its step log, one request and one token at a time: what the metrics have to agree with.

Nothing here is shared with the code that is tested, and nothing is clever: gaps are lists, means are sums.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from simcore import Scenario, Workload

SECOND = 2**40
"""ticks"""
Table = dict[str, Any]


@dataclass
class Told:
    """What the log says of one request; instants in ticks."""

    arrival: int | None
    awaited: int
    """the step at whose end it could arrive, or -1"""
    status: str
    length: int
    """prompt and outputs so far"""
    needed: int
    """tokens that it stores in the end: all but the last one"""
    queue_left: int | None = None
    tokens: list[int] = field(default_factory=list)
    """when each output token was there"""
    finished: int | None = None
    preemptions: int = 0
    query_tokens: int = 0
    hits: list[int] = field(default_factory=list)
    """tokens, of each admission"""
    computed_tokens: int = 0

    computed: int = 0
    """tokens stored now"""
    table: list[int] | None = None
    """blocks held now; None: it does not run"""

    @property
    def gaps(self) -> list[int]:
        return [after - before for before, after in pairwise(self.tokens)]

    def since_arrival(self, instant: int | None) -> float | None:
        return None if instant is None or self.arrival is None else (instant - self.arrival) / SECOND

    @property
    def ttft(self) -> float | None:
        return self.since_arrival(self.tokens[0] if self.tokens else None)

    @property
    def tpot(self) -> float | None:
        """Only of a finished request, and only if it has a second token."""
        return sum(self.gaps) / len(self.gaps) / SECOND if self.finished is not None and self.gaps else None

    @property
    def e2e(self) -> float | None:
        return self.since_arrival(self.finished)

    @property
    def queue(self) -> float | None:
        return self.since_arrival(self.queue_left)


class Replay:
    """A whole run from its log; `requests` are in the order of the workload."""

    def __init__(self, scenario: Scenario, workload: Workload, log: str) -> None:
        self.scenario = scenario
        self.workload = workload
        self.usable = (scenario.memory.blocks or 0) - 1
        """blocks, without the null block"""
        self.lines = [json.loads(line) for line in log.splitlines()]
        self.begins = [ticks(line["t"]) for line in self.lines]
        self.ends = [ticks(line["t"]) + ticks(line["dt"]) for line in self.lines]
        self.end = self.ends[-1] if self.lines else 0
        finished = {id: line["i"] for line in self.lines for id in line["finished"]}
        self.requests = [self._meet(row, finished) for row in range(len(workload))]
        self.timeline = [self._take(line) for line in self.lines]

    def _meet(self, row: int, finished: dict[str, int]) -> Told:
        workload, scenario = self.workload, self.scenario
        prompt_len, longest = int(workload.prompt_len[row]), scenario.max_model_len
        needed = min(prompt_len + int(workload.output_len[row]), longest) - 1
        slots = self.usable * scenario.memory.block_size
        arrival, awaited = self._arrival(row, finished)
        if arrival is None:
            status = "unfinished"
        elif prompt_len >= longest or needed > slots:
            status = "rejected"
        else:
            status = "finished" if f"r{row}" in finished else "unfinished"
        return Told(arrival, awaited, status, prompt_len, needed)

    def _arrival(self, row: int, finished: dict[str, int]) -> tuple[int | None, int]:
        """A request that waits for another one comes its delay after the end of that one, served or refused."""
        own, step = ticks(float(self.workload.arrival[row])), -1
        before = -1 if self.workload.after is None else int(self.workload.after[row])
        if before >= 0:
            first = self._meet(before, finished)
            if first.status == "unfinished":
                return None, step
            refused = first.status == "rejected"
            step = first.awaited if refused else finished[f"r{before}"]
            own += (first.arrival or 0) if refused else self.ends[step]
        stopped = 0 < self.scenario.scheduler.max_steps == len(self.lines)
        return None if stopped and own > self.end else own, step

    def _take(self, line: Table) -> Table:
        """Play one step, and return its row of the timeline."""
        told = {f"r{row}": request for row, request in enumerate(self.requests)}
        begin, end = ticks(line["t"]), ticks(line["t"]) + ticks(line["dt"])
        for id in line["preempted"]:
            told[id].preemptions += 1
            told[id].table, told[id].computed = None, 0
        queried = 0
        for id in line["new"] + line["resumed"]:
            request = told[id]
            queried += request.length
            assert (request.queue_left is None) == (id in line["new"])
            request.queue_left = begin if request.queue_left is None else request.queue_left
            request.query_tokens += request.length
            request.hits.append(line["hits"][id])
            request.computed, request.table = line["hits"][id], []
        for id, blocks in line["blocks"].items():
            told[id].table += blocks
        for id, count, before in line["sched"]:
            request = told[id]
            assert request.computed == before
            request.computed += count
            request.computed_tokens += count
            if request.computed == request.length:
                request.tokens.append(end)
                request.length += 1

        running = [request for request in self.requests if request.table is not None]
        row = {
            "step": line["i"],
            "t": line["t"],
            "dt": line["dt"],
            "running": len(running),
            "waiting": sum(self._waits(request, begin, line["i"]) for request in self.requests),
            "scheduled_tokens": sum(count for _, count, _ in line["sched"]),
            **self._memory(running),
            "query_tokens": queried,
            "hit_tokens": sum(line["hits"].values()),
            "preemptions": len(line["preempted"]),
            "copies": 0,
            "swaps_out": 0,
            "swaps_in": 0,
            "prunings": 0,
            "pruned_tokens": 0,
            "evictions": line["evicted"],
        }
        for id in line["finished"]:
            told[id].table, told[id].finished = None, end
        return row

    def _waits(self, request: Told, now: int, step: int) -> bool:
        here = request.arrival is not None and request.arrival <= now and request.awaited < step
        return here and request.finished is None and request.table is None and request.status != "rejected"

    def _memory(self, running: list[Told]) -> Table:
        """Who holds which block, how far it is filled, and how far it will be."""
        size = self.scenario.memory.block_size
        filled: dict[int, int] = {}
        to_fill: dict[int, int] = {}
        for request in running:
            for place, block in enumerate(request.table or ()):
                filled[block] = max(filled.get(block, 0), min(request.computed - place * size, size))
                to_fill[block] = max(to_fill.get(block, 0), min(request.needed - place * size, size))
        stored = sum(filled.values())
        return {
            "blocks_used": len(filled),
            "tokens_stored": stored,
            "tokens_reserved": sum(to_fill.values()) - stored,
            "tokens_internal": len(filled) * size - sum(to_fill.values()),
            "tokens_external": 0,
            "blocks_saved": sum(len(request.table or ()) for request in running) - len(filled),
            "internal_tokens": len(filled) * size - stored,
        }

    @cached_property
    def table(self) -> list[Table]:
        """The rows of requests.parquet."""
        return [
            {
                "id": f"r{row}",
                "arrival": None if request.arrival is None else request.arrival / SECOND,
                "prompt_len": int(self.workload.prompt_len[row]),
                "output_len": int(self.workload.output_len[row]),
                "status": request.status,
                "queue": request.queue,
                "ttft": request.ttft,
                "tpot": request.tpot,
                "itl_mean": sum(request.gaps) / len(request.gaps) / SECOND if request.gaps else None,
                "itl_p99": float(np.quantile(request.gaps, 0.99)) / SECOND if request.gaps else None,
                "e2e": request.e2e,
                "preemptions": request.preemptions,
                "hit_tokens_first": request.hits[0] if request.hits else 0,
                "hit_tokens": sum(request.hits),
                "computed_tokens": request.computed_tokens,
                "output_tokens": len(request.tokens),
                **({} if self.workload.category is None else {"category": int(self.workload.category[row])}),
            }
            for row, request in enumerate(self.requests)
        ]

    @cached_property
    def summary(self) -> Table:
        """The contents of summary.json."""
        size, usable = self.scenario.memory.block_size, self.usable
        warmup = min(ticks(self.scenario.metrics.warmup), self.end)
        span = (self.end - warmup) / SECOND
        late = [request for request in self.requests if request.arrival is not None and request.arrival >= warmup]
        done_late = [r for r in self.requests if r.finished is not None and r.finished >= warmup]
        states = [request.status for request in self.requests]
        used, peak = self._mean("blocks_used", warmup), self._peak(warmup)
        slots = usable * size
        kinds = ("stored", "internal", "reserved", "external")
        means = {kind: self._mean(f"tokens_{kind}", warmup) for kind in kinds}
        held, saved = (
            sum(row[name] * lasted for row, lasted in self._lasted(warmup)) for name in ("blocks_used", "blocks_saved")
        )
        hit_tokens = sum(sum(request.hits) for request in self.requests)
        summary = {
            "requests": {
                "total": len(states),
                **{status: states.count(status) for status in ("finished", "rejected", "unfinished")},
                "dropped": 0,
                "skipped": 0,
            },
            "steps": len(self.lines),
            "end_time": self.end / SECOND,
            "preemptions": sum(len(line["preempted"]) for line in self.lines),
            "tokens": {
                "prompt": sum(row["prompt_len"] for row in self.table if row["queue"] is not None),
                "output": sum(len(request.tokens) for request in self.requests),
                "scheduled": sum(row["scheduled_tokens"] for row in self.timeline),
            },
            "hits": {
                "query_tokens": sum(request.query_tokens for request in self.requests),
                "hit_tokens": hit_tokens,
                "hit_blocks": hit_tokens / size,
            },
            "evictions": sum(line["evicted"] for line in self.lines),
            "moves": {"copies": 0, "swaps_out": 0, "swaps_in": 0},
            "pruning": {"times": 0, "tokens": 0},
            "throughput": {
                "requests_per_s": len(done_late) / span if span else None,
                "output_tokens_per_s": sum(token >= warmup for request in self.requests for token in request.tokens)
                / span
                if span
                else None,
            },
            "itl": spread(gap / SECOND for request in late for gap in request.gaps),
            **{name: spread(getattr(request, name) for request in late) for name in ("ttft", "tpot", "e2e", "queue")},
            "memory": {
                "blocks": usable + 1,
                "used_mean": used,
                "used_peak": peak,
                **{f"{kind}_share": None if mean is None else mean / slots for kind, mean in means.items()},
                "saved_share": saved / (held + saved) if held + saved else None,
            },
        }
        limits = self.scenario.metrics.slo.model_dump(exclude_none=True)
        if limits:
            good = sum(self._is_good(request, limits) for request in late)
            summary["goodput"] = {
                "requests_per_s": good / span if span else None,
                "share": good / len(late) if late else None,
            }
        return summary

    def _is_good(self, request: Told, limits: dict[str, float]) -> bool:
        longest = max(request.gaps) / SECOND if request.gaps else None
        measured = {"ttft": request.ttft, "tpot": request.tpot, "e2e": request.e2e, "itl": longest}
        return request.finished is not None and all((measured[name] or 0) <= limit for name, limit in limits.items())

    def _lasted(self, warmup: int) -> Iterator[tuple[Table, int]]:
        """Each step's row, and how much of it is after the warm-up."""
        for row, begin, end in zip(self.timeline, self.begins, self.ends, strict=True):
            yield row, max(end, warmup) - max(begin, warmup)

    def _mean(self, column: str, warmup: int) -> float | None:
        time = self.end - warmup
        return sum(row[column] * lasted for row, lasted in self._lasted(warmup)) / time if time else None

    def _peak(self, warmup: int) -> int:
        return max((row["blocks_used"] for row, lasted in self._lasted(warmup) if lasted), default=0)


def ticks(seconds: float) -> int:
    return round(seconds * SECOND)


def spread(values: Iterable[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "p50": None, "p90": None, "p99": None}
    p50, p90, p99 = np.quantile(known, [0.5, 0.9, 0.99]).tolist()
    return {"mean": sum(known) / len(known), "p50": p50, "p90": p90, "p99": p99}

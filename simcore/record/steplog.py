"""The step log: one JSON object a step, with the fields by which a run can be compared with a recorded one of vLLM."""

import json
from typing import TextIO
from zlib import crc32

from simcore.memory.base import Memory
from simcore.record.journal import Event, Journal
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.ticks import Tick, to_seconds
from simcore.workload.columns import Workload


class StepLog:
    """Writes a line when a step has been committed. It needs a journal, which tells what was evicted."""

    def __init__(self, file: TextIO, workload: Workload, memory: Memory, journal: Journal) -> None:
        self._file = file
        self._workload = workload
        self._memory = memory
        self._journal = journal
        self._mark = 0
        self._checksum = 0
        self._names: dict[int, str] = {}
        self._line: dict[str, object] = {}

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        ids = self._names
        new = [seq for seq in plan.opened if seq not in ids]
        resumed = [seq for seq in plan.opened if seq in ids]
        for seq, opening in plan.opened.items():
            ids[seq] = self._workload.id_of(opening.request) + (f"#{opening.branch}" if opening.branch else "")
        entries = self._journal.since(self._mark)
        evicted = [entry.block for entry in entries if entry.event == Event.EVICT]
        blocks = {ids[seq]: [block for _, blocks in growth for block in blocks] for seq, growth in plan.grown.items()}
        blocks |= {ids[seq]: opening.tables[0] for seq, opening in plan.opened.items()}
        self._line = {
            "i": plan.index,
            "t": to_seconds(start),
            "dt": to_seconds(ticks),
            "sched": [
                [ids[seq], count, before]
                for seq, count, before in zip(plan.seqs, plan.counts, plan.starts, strict=True)
            ],
            "new": [ids[seq] for seq in new],
            "resumed": [ids[seq] for seq in resumed],
            "preempted": [ids[seq] for seq in plan.preempted],
            "hits": {ids[seq]: opening.hit for seq, opening in plan.opened.items()},
            "evicted": len(evicted),
            "free_sched": self._memory.free,
            "blocks": blocks,
            "evicted_ids": evicted,
        }
        if plan.moves:
            self._line["moves"] = [[move.kind, ids[move.sequence], move.source, move.target] for move in plan.moves]

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        self._line["finished"] = [sequence.name for sequence in ended]
        self._line["free"] = self._memory.free
        self._line["used"] = self._memory.blocks - 1 - self._memory.free
        if len(self._journal) > self._mark or not plan.index:  # otherwise the queue is what it was
            self._checksum = crc32(",".join(map(str, self._memory.free_queue())).encode())
        self._line["freeq_crc"] = self._checksum
        if plan.stalled:
            self._line["stall"] = True
        self._file.write(json.dumps(self._line) + "\n")
        self._mark = len(self._journal)

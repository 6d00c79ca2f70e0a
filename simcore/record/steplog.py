"""The step log: one JSON object a step, with the fields by which a run can be compared with a recorded one of vLLM."""

import json
from collections import deque
from typing import TextIO
from zlib import crc32

from simcore.memory.base import Growth, Memory
from simcore.policies.eviction import Block
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
        self._tables = memory.tables
        self._journal = journal
        self._read = 0  # entries of the journal
        self._summed = -1  # entries of the journal when the free queue was summed up
        self._checksum = 0
        self._names: dict[int, str] = {}
        self._lines: deque[dict[str, object]] = deque()  # of the steps in flight

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        ids = self._names
        new = [seq for seq in plan.opened if seq not in ids]
        resumed = [seq for seq in plan.opened if seq in ids]
        for seq, opening in plan.opened.items():
            ids[seq] = self._workload.id_of(opening.request) + (f"#{opening.branch}" if opening.branch else "")
        entries = self._journal.since(self._read)
        self._read = len(self._journal)
        evicted = [entry.block for entry in entries if entry.event == Event.EVICT]
        blocks = {ids[seq]: self._appended(growth) for seq, growth in plan.grown.items() if growth}
        for seq, opening in plan.opened.items():
            blocks[ids[seq]] = opening.tables if self._tables > 1 else opening.tables[0]
        line: dict[str, object] = {
            "i": plan.index,
            "t": to_seconds(plan.made),
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
            line["moves"] = [[move.kind, ids[move.sequence], move.source, move.target] for move in plan.moves]
        if plan.keeps:
            line["keeps"] = [[ids[keep.seq], keep.tokens, keep.dropped, keep.table] for keep in plan.keeps]
        self._lines.append(line)

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        line = self._lines.popleft()
        line["finished"] = [sequence.name for sequence in ended]
        line["free"] = self._memory.free
        line["used"] = self._memory.blocks - 1 - self._memory.free
        if len(self._journal) > self._summed:  # otherwise the queue is what it was
            self._checksum = crc32(",".join(map(str, self._memory.free_queue())).encode())
            self._summed = len(self._journal)
        line["freeq_crc"] = self._checksum
        if plan.stalled:
            line["stall"] = True
        self._file.write(json.dumps(line) + "\n")

    def _appended(self, growth: Growth) -> list[Block] | list[list[Block]]:
        """The new blocks of a sequence: a list of them for each table, if there are several."""
        tables: list[list[Block]] = [[] for _ in range(self._tables)]
        for table, blocks in growth:
            tables[table] += blocks
        return tables[0] if len(tables) == 1 else tables

"""An executor whose model computes names: it carries plans out on slots that hold the names of tokens.

It believes nothing but the plans, as an engine does: its own block tables, its own pool of slots, its own host. What it
checks is what an engine's answers hang on: that a row finds, at each position before its new tokens, what was computed
for that very prefix; that nobody writes into what another one reads; and that moves come in an order that works.
"""

from collections import Counter, deque
from collections.abc import Hashable

from simcore import Workload
from simcore.memory.base import MoveKind
from simcore.serving.plan import Outcome, StepPlan
from simcore.timing import StepTimer
from simcore.workload.columns import PRIVATE

Name = Hashable


class SymbolicExecutor:
    """`written`, `copied`, `swapped_out` and `swapped_in` count what was really done."""

    def __init__(self, workload: Workload, block_size: int, timer: StepTimer) -> None:
        self.workload = workload
        self.size = block_size
        self.timer = timer
        self.outcomes: deque[Outcome] = deque()
        self.tables: dict[int, list[int]] = {}
        self.owners: dict[int, tuple[int, int]] = {}
        """row of the request and branch of each sequence"""
        self.slots: dict[int, list[Name]] = {}
        """the content of each block: in a place, the name of the prefix that ends there"""
        self.host: dict[int, list[Name]] = {}
        self.count: Counter[str] = Counter()

    def submit(self, plan: StepPlan) -> None:
        for seq, opening in plan.opened.items():
            assert seq not in self.tables
            self.tables[seq] = list(opening.tables[0])
            self.owners[seq] = (opening.request, opening.branch)
            if opening.parent is not None:
                assert opening.branch
        for move in plan.moves:
            self.move(move.kind, move.sequence, move.place, move.source, move.target)
        for seq, growth in plan.grown.items():
            for _, blocks in growth:
                self.tables[seq] += blocks
        for seq in plan.closed:
            del self.tables[seq]
        rows = list(zip(plan.seqs, plan.starts, plan.counts, strict=True))
        for seq, start, count in rows:  # all write before anybody reads, layer by layer
            for place in range(start, start + count):
                block = self.tables[seq][place // self.size]
                holders = [other for other, table in self.tables.items() if block in table]
                content = self.slots.setdefault(block, [None] * self.size)
                if len(holders) > 1:  # only somebody who hits in the same step may hold it beside
                    assert all(other in plan.opened for other in holders if other != seq)
                content[place % self.size] = self.prefix(seq, place)
                self.count["written"] += 1
        for seq, start, count in rows:
            table = self.tables[seq]
            assert len(table) == -(-(start + count) // self.size)
            for place in range(start + count):
                found = self.slots.get(table[place // self.size], [None] * self.size)[place % self.size]
                assert found == self.prefix(seq, place), (plan.index, seq, place)
        assert set(self.tables) >= set(plan.seqs), "some may wait for a step of prompts"
        ticks = self.timer.ticks(plan.rows, plan.tokens, plan.context, plan.pairs)
        copies = sum(move.kind is MoveKind.COPY for move in plan.moves)
        self.outcomes.append(Outcome(plan.index, ticks + self.timer.move_ticks(copies, len(plan.moves) - copies)))

    def collect(self) -> Outcome:
        return self.outcomes.popleft()

    def move(self, kind: MoveKind, seq: int, place: int, source: int, target: int) -> None:
        self.count[kind] += 1
        match kind:
            case MoveKind.COPY:
                self.slots[target] = list(self.slots[source])
                assert self.tables[seq][place] == source
                self.tables[seq][place] = target
            case MoveKind.SWAP_OUT:
                assert self.tables[seq][place] == source
                self.host[target] = list(self.slots[source])
            case MoveKind.SWAP_IN:
                assert self.tables[seq][place] == target
                self.slots[target] = self.host[source]

    @property
    def held(self) -> int:
        """Blocks that some table lists."""
        return len({block for table in self.tables.values() for block in table})

    def prefix(self, seq: int, place: int) -> Name:
        """Names the tokens from the start of a sequence to a place: those of its prompt, then those of its branch."""
        row, branch = self.owners[seq]
        names = [self.token(row, branch, place) for place in range(place + 1)]
        return tuple(names)

    def token(self, row: int, branch: int, place: int) -> Name:
        prompt = int(self.workload.prompt_len[row])
        if place < prompt:
            runs = [] if self.workload.runs is None else self.workload.runs.of(row)
            for source, start, length in runs:
                if place < length:
                    return ("source", source, start + place)
                place -= length
            return ("prompt", row, place)
        source = PRIVATE if self.workload.output_source is None else int(self.workload.output_source[row])
        if source == PRIVATE or branch:
            return ("output", row, branch, place - prompt)
        return ("source", source, place - prompt)

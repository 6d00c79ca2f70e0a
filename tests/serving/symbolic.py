"""An executor whose model computes names: it carries plans out on slots that hold the names of tokens.

It believes nothing but the plans, as an engine does: its own block tables, its own pool of slots, its own host. What it
checks is what an engine's answers hang on: that a row finds, at each position before its new tokens, what was computed
for that very prefix; that nobody writes into what another one reads; and that moves come in an order that works.
"""

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from random import Random

from simcore import Workload
from simcore.memory.base import MoveKind
from simcore.scenario.model import STATE
from simcore.serving.beams import BeamSearch
from simcore.serving.plan import Keep, Outcome, StepPlan
from simcore.timing import StepTimer
from simcore.workload.columns import PRIVATE

Name = Hashable


class SymbolicExecutor:
    """`written`, `copied`, `swapped_out` and `swapped_in` count what was really done."""

    def __init__(
        self, workload: Workload, block_size: int, timer: StepTimer, windows: Sequence[int] = (0,), late: bool = False
    ) -> None:
        """Of each table's layers the window, 0: none, STATE: they have a state; late: a plan may be made before the one
        before it is done.
        """
        self.windows = windows
        self.late = late
        self.workload = workload
        self.size = block_size
        self.timer = timer
        self.outcomes: deque[Outcome] = deque()
        self.tables: dict[int, list[list[int]]] = {}
        """of each sequence, for each of the windows; 0 where a table has no block, or one that has been passed"""
        self.owners: dict[int, tuple[int, int]] = {}
        """row of the request and branch of each sequence"""
        self.slots: dict[int, list[Name]] = {}
        """the content of each block: in a place, the name of the prefix that ends there"""
        self.host: dict[int, list[Name]] = {}
        self.count: Counter[str] = Counter()
        self.beams = BeamSearch(workload, 0) if workload.beam_switch else None
        self.written: dict[int, list[tuple[int, int]]] = {}
        """of a beam: from which place on which sequence's tokens are its own"""
        self.kept: dict[int, list[Name]] = {}
        """what a pruned sequence has in its slots"""
        self.random = Random(0)

    def submit(self, plan: StepPlan) -> None:
        for seq, opening in plan.opened.items():
            assert seq not in self.tables
            self.tables[seq] = [list(table) for table in opening.tables]
            self.owners[seq] = (opening.request, opening.branch)
            if self.beams is not None and seq not in self.written:
                prompt = int(self.workload.prompt_len[opening.request])
                of_parent = [] if opening.parent is None else self.written[opening.parent]
                self.count["beams"] += opening.parent is not None and opening.computed > prompt
                self.written[seq] = [*of_parent, (opening.computed if of_parent else prompt, seq)]
            elif opening.parent is not None:
                assert opening.branch
        for move in plan.moves:
            self.move(move.kind, self.tables[move.sequence][move.table], move.place, move.source, move.target)
        for seq, growth in plan.grown.items():
            for table, blocks in growth:
                self.tables[seq][table] += blocks
        for seq in plan.closed:
            del self.tables[seq]
            self.kept.pop(seq, None)
        rows = list(zip(plan.seqs, plan.starts, plan.counts, strict=True))
        for seq, start, _ in rows:
            for table, window in self.tables_of_tokens(seq):
                passed = max(0, start - window + 1) // self.size if window else 0
                table[:passed] = [0] * passed  # who comes after it may have these blocks, and write into them
        for seq, start, count in rows:  # all write before anybody reads, layer by layer
            for which, table in enumerate(self.tables[seq]):
                if self.windows[which] == STATE:
                    self.update(seq, table, start, count)
                elif (kept := self.kept.get(seq)) is not None:
                    kept += [("pruned", seq, place) for place in range(start, start + count)]
                    self.write(plan, seq, which, table, dict(list(enumerate(kept))[-count:]))
                else:
                    places = range(start, start + count)
                    self.write(plan, seq, which, table, {place: self.prefix(seq, place) for place in places})
            self.count["written"] += count
        for seq, start, count in rows:
            if seq in self.kept:
                self.read(plan, seq)
                continue
            for table, window in self.tables_of_tokens(seq):
                assert len(table) == -(-(start + count) // self.size)
                for place in range(max(0, start - window + 1) if window else 0, start + count):
                    found = self.slots.get(table[place // self.size], [None] * self.size)[place % self.size]
                    assert found == self.prefix(seq, place), (plan.index, seq, place)
        assert set(self.tables) >= set(plan.seqs), "some may wait for a step of prompts, or for their last token"
        ticks = self.timer.ticks(plan.rows, plan.tokens, plan.context, plan.pairs)
        copies = sum(move.kind is MoveKind.COPY for move in plan.moves)
        ticks += self.timer.move_ticks(copies, len(plan.moves) - copies)
        ticks += self.timer.move_ticks(sum(len(keep.table) for keep in plan.keeps), 0)
        ends = {seq: start + count for seq, start, count in rows}
        for keep in plan.keeps:
            self.prune(keep, ends[keep.seq])
        self.outcomes.append(Outcome(plan.index, ticks, replaced=self.beams.step(plan) if self.beams else ()))

    def collect(self) -> Outcome:
        return self.outcomes.popleft()

    def prune(self, keep: Keep, end: int) -> None:
        """Any of its tokens stay, packed in their order; nobody else may hold what they are written into."""
        stored = self.kept.get(keep.seq) or [self.prefix(keep.seq, place) for place in range(end)]
        assert len(stored) == keep.tokens + keep.dropped
        assert len(keep.table) == len(set(keep.table)) == -(-keep.tokens // self.size)
        others = {block for seq, (table,) in self.tables.items() if seq != keep.seq for block in table}
        assert others.isdisjoint(keep.table)
        kept = [stored[place] for place in sorted(self.random.sample(range(len(stored)), keep.tokens))]
        for place, block in enumerate(keep.table):
            packed = kept[place * self.size : (place + 1) * self.size]
            self.slots[block] = packed + [None] * (self.size - len(packed))
        self.kept[keep.seq], self.tables[keep.seq] = kept, [list(keep.table)]
        self.count["pruned"] += 1

    def read(self, plan: StepPlan, seq: int) -> None:
        """A pruned sequence finds what it has kept, and nothing else."""
        (table,), kept = self.tables[seq], self.kept[seq]
        assert len(table) == -(-len(kept) // self.size)
        found = [name for block in table for name in self.slots[block]][: len(kept)]
        assert found == kept, (plan.index, seq)

    def write(self, plan: StepPlan, seq: int, which: int, table: list[int], names: dict[int, Name]) -> None:
        for place, name in names.items():
            block = table[place // self.size]
            assert block
            holders = [
                (other, i) for other, tables in self.tables.items() for i in range(len(tables)) if block in tables[i]
            ]
            content = self.slots.setdefault(block, [None] * self.size)
            for other, i in holders:  # only somebody who hits in the same step may hold it beside
                assert (other, i) == (seq, which) or other in plan.opened
            content[place % self.size] = name

    def tables_of_tokens(self, seq: int) -> list[tuple[list[int], int]]:
        """Those of a sequence's tables that hold tokens, each with its window."""
        tables = zip(self.tables[seq], self.windows, strict=True)
        return [(table, window) for table, window in tables if window != STATE]

    def update(self, seq: int, table: list[int], start: int, count: int) -> None:
        """A state that has seen all tokens before `start` sees `count` more; it is named after the prefix it saw."""
        (block,) = table
        holders = [other for other, tables in self.tables.items() for each in tables if block in each]
        assert holders == [seq], "nobody else may need what is overwritten"
        if start:
            assert self.slots[block][0] == self.prefix(seq, start - 1)
        self.slots[block] = [self.prefix(seq, start + count - 1)] + [None] * (self.size - 1)

    def move(self, kind: MoveKind, table: list[int], place: int, source: int, target: int) -> None:
        self.count[kind] += 1
        match kind:
            case MoveKind.COPY:
                self.slots[target] = list(self.slots[source])
                assert table[place] == source
                table[place] = target
            case MoveKind.SWAP_OUT:
                assert table[place] == source
                self.host[target] = list(self.slots[source])
            case MoveKind.SWAP_IN:
                assert table[place] == target
                self.slots[target] = self.host[source]

    @property
    def held(self) -> int:
        """Blocks that some table lists."""
        return len({block for tables in self.tables.values() for table in tables for block in table if block})

    def prefix(self, seq: int, place: int) -> Name:
        """Names the tokens from the start of a sequence to a place: those of its prompt, then those of its branch."""
        row, branch = self.owners[seq]
        names = [self.token(row, branch, place) for place in range(place + 1)]
        for begin, writer in self.written.get(seq, ()):
            names[begin:] = [("beam", row, writer, at) for at in range(begin, place + 1)]
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

"""Time travel: the state of every block and of every request at any step of a run, forwards and backwards.

A run is told by three tables: its steps, the journal of its blocks, and the events of its sequences. The state of a
block is what its last entry says, so a state is rebuilt by assigning whole stretches of the journal to arrays, where
of several entries of a block the last one stays. Every so many entries the arrays are kept; from the nearest of them
on it takes milliseconds, whichever way one goes. The same holds for a run that goes on, and for one that was saved.

"While a step ran" means: after it was planned, before who ended with it let go of its blocks.
"""

import math
import mmap
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from app.jobs.columns import ENTRIES, KNOWN, PLACES, STEP_TYPES, Numbers, open_table
from app.jobs.frames import Cells, Frames
from app.jobs.told import Alive, BlockEntry, Facts, Moment, Sequences, State, Status
from simcore.record.files import ColumnFiles
from simcore.record.journal import NOBODY, Event
from simcore.record.sequences import EVENT_TYPES, Kind
from simcore.ticks import TICKS_PER_SECOND

KEYFRAME = 1 << 16
"""Entries between two states that are kept; more for a pool of more blocks."""
ALIVE_EVERY = 1 << 14
"""Events between two lists of who has not ended; more where these are long."""
JUMPS = {"eviction": "evictions", "preemption": "preemptions", "hit": "hit_tokens"}
"""What can be jumped to, and the column of the steps that tells of it."""


_STATUS_OF = np.array(
    [
        Status.WAITING,
        Status.REFUSED,
        Status.PREFILL,
        Status.PREFILL,
        Status.DECODE,
        Status.PREEMPTED,
        Status.ENDED,
        Status.DECODE,
    ],
    np.int8,
)
"""By the kind of a sequence's last event."""


class History:
    """A run so far. It is told in tables that are given, or in files that another process writes.

    One that is kept in files can be pickled, whole: whoever gets it maps the same files.
    """

    def __init__(self, facts: Facts, folder: Path | None = None, *, write: bool = False) -> None:
        """Without a `folder` all is kept in memory; with `write` its files are written here. Raises OSError."""
        self.facts = facts
        self._folder = folder
        self.steps = open_table(folder, "steps", STEP_TYPES, write=write)
        """a row a step: `STEP_COLUMNS`, times in ticks; evictions are those so far"""
        self.entries = open_table(folder, "entries", ENTRIES, write=write)
        self.events = open_table(folder, "events", EVENT_TYPES, write=write)
        self._place = open_table(folder, "places", PLACES)
        self._tail = Cells(facts.blocks)
        self._frames = Frames(facts.blocks, max(KEYFRAME, 4 * facts.blocks), folder)
        self._noted = 0  # events that have been looked at
        self._alive = [Alive(0, 0, np.empty(0, np.int64), np.empty(0, np.int64))]  # every so many events
        self._known = {name: open_table(folder, name, KNOWN) for name in ("queue", "ttft", "e2e", "refused")}
        self._came = np.full(1024, -1, np.int64)  # when each request arrived, by its row; -1: it has not
        self._came_as = np.zeros(1024, np.int64)  # and the number of that event
        self._begun = np.full(1024, -1, np.int32)  # the steps in which it was first admitted
        self._answered = np.full(1024, -1, np.int32)  # and first got a token
        self._counts = np.zeros(1024, np.int32)  # blocks that each sequence holds
        self._ends = np.zeros(1024, np.int32)  # and the length at which it ends
        self._prompts = np.zeros(1024, np.int32)
        self._rows = np.full(1024, -1, np.int32)
        self._jumps = {kind: open_table(folder, kind, {"step": np.int64}) for kind in JUMPS}
        self._searched = 0  # steps in which something to jump to was looked for

    def __len__(self) -> int:
        """Steps."""
        return len(self.steps)

    def extend(
        self, steps: Mapping[str, Numbers], entries: Mapping[str, Numbers], events: Mapping[str, Numbers]
    ) -> None:
        """Rows that follow, of whole steps: the columns of `STEP_TYPES`, `ENTRIES` and `EVENT_TYPES`."""
        self.events.append(events)
        self.entries.append(entries)
        self.steps.append(steps)
        self._note()

    def follow(self, steps: int, entries: int, events: int) -> None:
        """The files hold so many rows of whole steps now."""
        for table, rows in ((self.events, events), (self.entries, entries), (self.steps, steps)):
            assert isinstance(table, ColumnFiles)
            table.follow(rows)
        self._note()

    def _note(self) -> None:
        """Look at what is new."""
        if len(self.events) > self._noted:
            self._note_events({name: self.events[name][self._noted :] for name in self.events.names})
            self._noted = len(self.events)
            self._keep_alive()
        if len(self.entries) > len(self._place):
            self._note_entries(len(self._place))
        if len(self.steps) > self._searched:
            self._note_jumps(self._searched)
            self._searched = len(self.steps)

    def _note_jumps(self, first: int) -> None:
        for kind, name in JUMPS.items():
            column = self.steps[name]
            new = column[first:]
            if kind == "eviction":  # they are counted from the start
                new = np.diff(new, prepend=column[first - 1] if first else 0)
            places = first + np.flatnonzero(new)
            if len(places):
                self._jumps[kind].append({"step": places})

    def _note_events(self, columns: Mapping[str, Numbers]) -> None:
        step, t, kind, sequence, row, tokens, end = (columns[name] for name in EVENT_TYPES)
        number = np.arange(self._noted, self._noted + len(row))
        known = sequence >= 0
        if known.any():
            self._rows = self._room(self._rows, int(sequence.max()) + 1, -1)
            self._rows[sequence[known]] = row[known]
        rows = int(row.max()) + 1
        self._ends, self._prompts = self._room(self._ends, rows, 0), self._room(self._prompts, rows, 0)
        self._came, self._came_as = self._room(self._came, rows, -1), self._room(self._came_as, rows, 0)
        self._begun, self._answered = self._room(self._begun, rows, -1), self._room(self._answered, rows, -1)
        came = kind == Kind.ARRIVE
        for column, values in (
            (self._ends, end),
            (self._prompts, tokens),
            (self._came, t),
            (self._came_as, number),
        ):
            column[row[came]] = values[came]

        def learn(name: str, places: Numbers, at: Numbers) -> None:
            if len(places):
                self._known[name].append({"event": number[places], "at": at, "took": at - self._came[row[places]]})

        refused = np.flatnonzero(kind == Kind.REFUSE)
        learn("refused", refused, t[refused])
        opened = _first(kind == Kind.OPEN, row, step, self._begun)
        learn("queue", opened, t[opened])
        answered = _first(kind == Kind.DECODE, row, step, self._answered)
        if len(answered):
            taken = np.minimum(step[answered], len(self.steps) - 1)  # one that was planned last may never be done
            learn("ttft", answered, self.steps["t"][taken] + self.steps["dt"][taken])
        ended = np.flatnonzero((kind == Kind.END) & (end == 0))
        learn("e2e", ended, t[ended])

    def _keep_alive(self) -> None:
        """Note who has not ended, every so many events."""
        kind = self.events["kind"]
        while True:
            last = self._alive[-1]
            end = last.events + max(ALIVE_EVERY, 4 * len(last.sequence))
            if end > len(self.events):
                return
            last = self._alive_at(end)
            lives = kind[last.number] != Kind.END
            self._alive.append(Alive(end, last.known, last.sequence[lives], last.number[lives]))

    def _alive_at(self, end: int) -> Alive:
        """After so many events: who has not ended, or only lately."""
        frame = self._alive[bisect_right(self._alive, end, key=lambda each: each.events) - 1]
        new = self.events["sequence"][frame.events : end]
        numbers = np.flatnonzero(new >= 0)
        sequence = np.concatenate([frame.sequence, new[numbers]])[::-1]
        number = np.concatenate([frame.number, frame.events + numbers])[::-1]
        sequence, last = np.unique(sequence, return_index=True)
        count = max(frame.known, int(sequence[-1]) + 1 if len(sequence) else 0)
        return Alive(end, count, sequence.astype(np.int64), number[last])

    def _note_entries(self, first: int) -> None:
        event, sequence, other = (self.entries[name][first:] for name in ("event", "sequence", "other"))
        self._place.append({"place": self._places(event, sequence, other)})
        while first < len(self.entries):
            end = min(self._frames.end + self._frames.spacing, len(self.entries))
            self._tail.play(self.entries, self._place, first, end)
            first = end
            if end == self._frames.end + self._frames.spacing:
                self._frames.keep(self._tail)

    def _places(self, event: Numbers, sequence: Numbers, other: Numbers) -> Numbers:
        """Which entry of its sequence's table each block that is taken becomes: the number of those it has already.

        A copy takes the place of its source, which is always the last one of a table. Pruning says the places anew.
        """
        taken = (event == Event.ALLOCATE) | (event == Event.HIT)
        change = taken.astype(np.int64) - (event == Event.FREE)
        change[sequence < 0] = 0
        who = np.maximum(sequence, 0)
        self._counts = self._room(self._counts, int(who.max()) + 1, 0)
        order = np.argsort(who, kind="stable")
        sorted_who, total = who[order], np.cumsum(change[order])
        starts = np.flatnonzero(np.diff(sorted_who, prepend=-1))
        lengths = np.diff(np.append(starts, len(order)))
        before = np.repeat(total[starts] - change[order][starts] - self._counts[sorted_who[starts]], lengths)
        held = np.empty(len(order), np.int64)
        held[order] = total - before
        ends = np.append(starts[1:], len(order)) - 1
        self._counts[sorted_who[ends]] = held[order[ends]]
        place = held - 1
        copies = np.flatnonzero(event == Event.COPY)
        place[copies[copies > 0] - 1] -= 1  # the entry before tells that its target was allocated
        return np.where(event == Event.PRUNE, other - 1, place)

    def _room(self, array: Numbers, needed: int, fill: int) -> Numbers:
        """The array, or a longer one with the same beginning: in a file that has no name, where there is a folder."""
        if needed <= len(array):
            return array
        rest = np.full(max(2 * len(array), needed) - len(array), fill, array.dtype)
        if self._folder is None:
            return np.concatenate([array, rest])
        with TemporaryFile(dir=self._folder) as file:
            file.write(array.tobytes())
            file.write(rest.tobytes())  # written, not only asked for: a full disk is an error here, and later a crash
            file.flush()
            return np.frombuffer(mmap.mmap(file.fileno(), array.nbytes + rest.nbytes), array.dtype)

    def row_of(self, sequence: int) -> int:
        """The row of a sequence's request; -1: it is not known."""
        return int(self._rows[sequence]) if 0 <= sequence < len(self._rows) else -1

    @property
    def rows(self) -> Numbers:
        """The row of each sequence's request, by the sequence's number; -1 where there is none."""
        return self._rows

    def arrivals(self, step: int) -> Numbers:
        """When each request arrived, in seconds, by its row; NaN: it had not."""
        known = min(self.facts.requests, len(self._came))
        out = np.full(self.facts.requests, np.nan)
        came = (self._came[:known] >= 0) & (self._came_as[:known] < self.steps["events"][step])
        out[:known][came] = self._came[:known][came] / TICKS_PER_SECOND
        return out

    @property
    def ends(self) -> Numbers:
        """The length at which each request ends, by its row."""
        return self._ends

    def prompt_of(self, row: int) -> int:
        """The tokens of a request's prompt."""
        return int(self._prompts[row]) if row < len(self._prompts) else 0

    def marks(self, kind: str) -> Numbers:
        """All steps so far with an `eviction`, `preemption` or `hit`."""
        return self._jumps[kind]["step"]

    def ended(self, step: int) -> int:
        """Requests that had ended, or were refused, while a step ran."""
        end = self.steps["events"][step]
        return sum(int(np.searchsorted(self._known[name]["event"], end)) for name in ("e2e", "refused"))

    def at(self, step: int) -> State:
        """Every block while a step ran. Raises IndexError for a step that has not been."""
        if not 0 <= step < len(self):
            raise IndexError(f"there is no step {step} among {len(self)}")
        end = int(self.steps["entries"][step])
        if step == len(self) - 1 and end == len(self.entries):
            cells = self._tail
        else:
            first, cells = self._frames.before(end)
            cells.play(self.entries, self._place, first, end)
        return self._state(step, cells)

    def _state(self, step: int, cells: Cells) -> State:
        size = self.facts.block_size
        refs, key = cells.refs.copy(), cells.key.copy()
        held = refs > 0
        owner = np.where(held, np.where(refs == 1, cells.holders, cells.taker), NOBODY).astype(np.int32)
        full = key != 0
        filled = np.where(full | (refs > 1), size, 0).astype(np.int32)
        part = held & ~full & (refs == 1)
        if self.facts.tables > 1:
            filled[part] = size
        elif part.any():
            computed = self.sequences(step).tokens
            tokens = computed[owner[part]] - cells.place[part] * size
            filled[part] = np.clip(tokens, 0, size)
        return State(step, refs, key, owner, cells.place.copy(), filled, cells.touched.copy(), cells.origin.copy())

    def sequences(self, step: int) -> Sequences:
        """Every sequence that had arrived while a step ran."""
        alive = self._alive_at(int(self.steps["events"][step]))
        who, last = alive.sequence, alive.number
        status = np.full(alive.known, Status.ENDED, np.int8)
        computed = np.zeros(alive.known, np.int64)
        rows = self._rows[: alive.known].copy()
        status[who] = _STATUS_OF[self.events["kind"][last]]
        running = (status[who] == Status.PREFILL) | (status[who] == Status.DECODE)
        computed[who[running]] = self.events["tokens"][last[running]]
        decoding = status[who] == Status.DECODE
        who, last = who[decoding], last[decoding]
        clock = self.steps["clock"]
        tokens = computed[who] + clock[step] - clock[self.events["step"][last]]
        computed[who] = np.minimum(tokens, self._ends[rows[who]] - 1)
        return Sequences(status, rows, computed)

    def tables(self, step: int, sequences: Sequence[int]) -> dict[int, Numbers]:
        """The block tables of running sequences while a step ran, each in its own order.

        Of a sequence with several tables, all of its blocks in the order in which it took them.
        """
        end = int(self.steps["entries"][step])
        wanted = np.zeros(int(max(sequences, default=0)) + 1, bool)
        wanted[list(sequences)] = True
        first = self._opened(sequences)
        who, block, event = (self.entries[name][first:end] for name in ("sequence", "block", "event"))
        place = self._place["place"][first:end]
        mine = (who >= 0) & (who < len(wanted))
        mine[mine] = wanted[who[mine]]
        mine &= np.isin(event, (Event.ALLOCATE, Event.HIT, Event.FREE, Event.PRUNE))
        places = np.flatnonzero(mine)
        who, block, event, place = who[places], block[places], event[places], place[places]
        # of all that a sequence did with a block the last thing counts: it has it, unless that was letting go
        pair = who.astype(np.int64) * self.facts.blocks + block
        _, last = np.unique(pair[::-1], return_index=True)
        last = len(pair) - 1 - last
        last = last[event[last] != Event.FREE]
        order = last[np.lexsort((last, place[last], who[last]))]
        who, block = who[order], block[order]
        cuts = np.searchsorted(who, list(sequences)), np.searchsorted(who, list(sequences), "right")
        return {sequence: block[a:b] for sequence, a, b in zip(sequences, *cuts, strict=True)}

    def _opened(self, sequences: Sequence[int]) -> int:
        """The entry before which none of these sequences, which run, held anything."""
        began = int(self._begun[self._rows[list(sequences)]].min(initial=len(self)))
        return int(self.steps["entries"][began - 1]) if began > 0 else 0

    def holders(self, block: int, step: int) -> list[int]:
        """The sequences that held a block while a step ran, who came first first."""
        held: dict[int, int] = {}
        for entry in self.of_block(block, step):
            if entry.event in (Event.ALLOCATE, Event.HIT):
                held[entry.sequence] = held.get(entry.sequence, 0) + 1
            elif entry.event == Event.FREE:
                held[entry.sequence] = held.get(entry.sequence, 0) - 1
        return [sequence for sequence, times in held.items() if times > 0]

    def of_block(self, block: int, step: int | None = None) -> list[BlockEntry]:
        """What happened to a block, up to a step or to the end, in order."""
        end = len(self.entries) if step is None else int(self.steps["entries"][step])
        places = np.flatnonzero(self.entries["block"][:end] == block)
        columns = [
            self.entries[name][places].tolist() for name in ("step", "event", "sequence", "key", "refs", "other")
        ]
        return [BlockEntry(s, Event(e), *rest) for s, e, *rest in zip(*columns, strict=True)]

    def of_request(self, row: int, step: int | None = None) -> list[Moment]:
        """What happened to a request and its branches, up to a step or to the end, in order."""
        end = len(self.events) if step is None else int(self.steps["events"][step])
        places = np.flatnonzero(self.events["row"][:end] == row)
        columns = [self.events[name][places].tolist() for name in ("step", "t", "kind", "sequence", "tokens", "end")]
        return [Moment(s, t / TICKS_PER_SECOND, Kind(kind), *rest) for s, t, kind, *rest in zip(*columns, strict=True)]

    def chain(self, block: int, step: int, state: State | None = None) -> list[tuple[int, int]]:
        """The prefix that a block's content ends: (block, key) of its sequence's table from the beginning to it.

        Each key names all tokens up to the end of its block. Empty where nobody holds the block.
        """
        state = state or self.at(step)
        owner = int(state.owner[block])
        if owner < 0:
            return [(block, int(state.key[block]))] if state.key[block] else []
        table = self.tables(step, [owner])[owner]
        places = np.flatnonzero(table == block)
        if not len(places):
            return []
        return [(int(b), int(state.key[b])) for b in table[: places[0] + 1].tolist()]

    def why_waits(self, sequence: int, step: int) -> str:
        """Why a waiting sequence is not admitted in a step, in a sentence."""
        sequences, steps, facts = self.sequences(step), self.steps, self.facts
        if not 0 <= sequence < len(sequences.status):
            return "It has not arrived yet."
        status = Status(int(sequences.status[sequence]))
        if status not in (Status.WAITING, Status.PREEMPTED):
            return "It does not wait."
        waits = np.isin(sequences.status, (Status.WAITING, Status.PREEMPTED))
        back = int((sequences.status == Status.PREEMPTED).sum())
        if status == Status.PREEMPTED:
            ahead = int(((sequences.status == Status.PREEMPTED) & (np.arange(len(waits)) < sequence)).sum())
            since = "It was preempted to make room, and goes to the front of the queue. "
        else:
            ahead = back + int((waits & (sequences.status == Status.WAITING))[:sequence].sum())
            since = ""
        if ahead and facts.queue == "fcfs":
            return f"{since}{ahead} {'request is' if ahead == 1 else 'requests are'} before it in the queue."
        if ahead:
            since += f"The queue is served by {facts.queue}. "
        running, used = int(steps["running"][step]), int(steps["scheduled_tokens"][step])
        idle = int(steps["blocks_free"][step] + steps["blocks_cached"][step])
        if running >= facts.max_num_seqs:
            return f"{since}The batch is full: {running} run, and scheduler.max_num_seqs is {facts.max_num_seqs}."
        if int(steps["preemptions"][step]):
            return f"{since}Somebody had to give way in this step, so nobody is admitted."
        if used >= facts.max_num_batched_tokens:
            return f"{since}The step's budget of {facts.max_num_batched_tokens:,} tokens is spent."
        prompt = self.prompt_of(self.row_of(sequence))
        needs = -(-prompt // facts.block_size)
        return (
            f"{since}No blocks free: its prompt of {prompt:,} tokens fills {needs:,} blocks, less what it finds in the "
            f"prefix cache; {idle:,} are free or idle."
        )

    def next(self, kind: str, step: int) -> int | None:
        """The first step after `step` with an `eviction`, `preemption` or `hit`; None: there is none."""
        steps = self._jumps[kind]["step"]
        place = int(np.searchsorted(steps, step, "right"))
        return int(steps[place]) if place < len(steps) else None

    def previous(self, kind: str, step: int) -> int | None:
        """The last one before `step`."""
        steps = self._jumps[kind]["step"]
        place = int(np.searchsorted(steps, step)) - 1
        return int(steps[place]) if place >= 0 else None

    def seconds(self, step: int) -> float:
        """When a step began."""
        return float(self.steps["t"][step]) / TICKS_PER_SECOND

    def step_at(self, seconds: float) -> int:
        """The last step that had begun by then, or the first one."""
        ticks = seconds * TICKS_PER_SECOND
        ticks = int(ticks + math.ulp(ticks))  # as whole as the column, which would be copied otherwise
        place = int(np.searchsorted(self.steps["t"], ticks, "right")) - 1
        return min(max(place, 0), max(len(self) - 1, 0))

    def latencies(self, step: int, name: str) -> Numbers:
        """[n, 2] seconds: when the `queue`, `ttft` or `e2e` of each request was known, and how long it was.

        Of all requests up to a step.
        """
        known = self._known[name]
        count = int(np.searchsorted(known["event"], self.steps["events"][step]))
        return np.stack([known["at"][:count], known["took"][:count]], axis=1) / TICKS_PER_SECOND


def _first(wanted: Numbers, row: Numbers, step: Numbers, seen: Numbers) -> Numbers:
    """Where events are wanted, of each request the first one; `seen` keeps the steps of those that were found."""
    places = np.flatnonzero(wanted)
    places = places[seen[row[places]] < 0]
    _, once = np.unique(row[places], return_index=True)
    places = places[np.sort(once)]
    seen[row[places]] = step[places]
    return places

"""The scheduler: a pure state machine that decides, step by step, who computes which tokens.

Time comes in as an argument, memory is spoken to through a protocol, and what is decided goes out as a plan. The rules
are those of vLLM 0.33's v1 scheduler: continuous batching under a token budget, chunked prefill, running sequences
before waiting ones, preemption by recomputation. Beyond vLLM's: parallel samples that share their prompt's blocks
(a request computes its prompt once, then forks), and preemption by swapping to the host. A branch is a row of its own
from then on: it is preempted, resumed and ended by itself.

Decoding sequences move with a clock of their own, and are looked at only when something is due (see `Decoding`).

**A plan may be made while the last one is in flight** (vLLM's async scheduling). All rows of the last plan that sample
have one token more than is known; it is planned with as if it were there. What differs is noted where it does: whoever
got its last token in the plan in flight runs on without a row; a victim still gets the token that is on its way; and
the memory is told what is known, and what may still be read.

Who is admitted and who gives way are policies. With `batching = "prefill-first"` or `"static"` a step computes prompts
only, or outputs only. The clock of those who decode stands still in a step of prompts.
"""

from array import array
from bisect import bisect
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter

from simcore.memory.base import Memory
from simcore.memory.pruned import PrunedMemory
from simcore.memory.tiers import TieredMemory, Transfer
from simcore.policies.queue import QUEUE, QueueSetting
from simcore.policies.victim import VICTIM
from simcore.scenario.scheduler import SchedulerSection
from simcore.serving.decoding import Decoding
from simcore.serving.plan import Opening, Outcome, StepPlan
from simcore.serving.pruning import PruningPlanner
from simcore.serving.request import NEVER, Request, Sequence
from simcore.ticks import Tick

_PLACE = attrgetter("place")
_BRANCHES = 1 << 14
"""More than the samples that a request may have."""


class Scheduler:
    """Plans steps, applies their outcomes, and owns the waiting and the running sequences.

    Between `schedule` and `commit` a plan is in flight. Plans are committed in the order in which they were made, and
    when one is made, none but the last may be in flight.
    """

    def __init__(
        self,
        options: SchedulerSection,
        memory: Memory,
        max_model_len: int,
        watermark: int = 0,
        list_rows: bool = False,
        keep_unwritten: bool = True,
        seed: int = 0,
        swap_pays: Callable[[int, int], bool] | None = None,
    ) -> None:
        """Whenever a waiting sequence is admitted beside running ones, `watermark` blocks stay free.

        An executor that runs a model needs the rows of its plans listed; one that asks a timer needs only the totals.
        With `keep_unwritten` a victim leaves blocks in the prefix cache that its step would have filled, as in vLLM.
        With `preemption = "cheaper"`, `swap_pays` says of so many computed tokens, so many of which the prefix cache
        has, whether swapping takes less time than computing them again.
        """
        self.memory = memory
        self.waiting = QUEUE.make(options.policy)
        self.waiting.start(QueueSetting(seed, lambda sequence: memory.lookup(sequence).found))
        self.running: list[Sequence] = []
        """in the order of admission"""
        self.steps = 0
        """plans made so far; the index of the next"""
        self.preemptions = 0
        self.owners = array("q")
        """the workload's row of every sequence, by its number"""
        self._options = options
        self._max_model_len = max_model_len
        self._watermark = watermark
        self._list_rows = list_rows
        self._keep_unwritten = keep_unwritten
        self._swap_pays = swap_pays
        self._victim = VICTIM.make(options.victim)
        self._victim.start(self.waiting.victim)
        self._hears_clock = self.waiting.hears_clock
        self._longest = options.max_num_batched_tokens
        self._threshold = options.long_prefill_token_threshold
        self._continuous = options.batching == "continuous"

        self._prefilling: list[Sequence] = []  # in the order of admission
        self._decoding = Decoding()
        self._paused = False  # this step is such a step
        self._yields = False  # the last step was, and somebody had to give way in it: those who decode are next
        self._open = True  # a static batch still takes requests in
        self._admitted = 0
        self._refused: Sequence | None = None  # for want of blocks, when the memory's chances were `_refused_at`
        self._refused_at = 0
        self._promised = 0  # seats of branches that have not forked yet from those that run
        self._forked: dict[int, Opening] = {}  # since the last plan
        self._closed: list[int] = []
        self.tiered = memory if isinstance(memory, TieredMemory) else None
        """the memory, if there are tiers below its pool"""
        self._pruning = PruningPlanner(memory, self._decoding) if isinstance(memory, PrunedMemory) else None
        self.fetching: list[Sequence] = []
        """who holds blocks, and waits until they have been fetched, in the order in which that began"""
        self._fetched: list[Sequence] = []  # those of them that can run, in the same order
        self._in_flight: deque[list[Sequence]] = deque()  # of each plan, whom it gives the token after its prompt
        self._chunks: dict[Sequence, int] = {}  # of the last plan, tokens of prompts
        self._finishing: list[Sequence] = []  # they run without a row: their last token is in flight
        self._overdue: list[tuple[int, Sequence]] = []  # preempted with a token in flight, and where they stood

    def add(self, request: Request) -> bool:
        """A request arrives. False: it is refused, since it could never be served."""
        if request.prompt_len >= self._max_model_len or request.samples > self._options.max_num_seqs:
            return False
        computed = min(request.prompt_len + request.output_len, self._max_model_len) - 1  # the last one never is
        if self._options.never_fits == "reject" and not self.memory.fits(computed, request.prompt_len):
            return False
        request.live = request.samples
        sequence = self._mint(request)
        self.waiting.add(sequence)
        self.memory.expect(sequence)
        return True

    def live(self) -> list[Sequence]:
        """All that run or wait, settled."""
        for sequence in self.running:
            sequence.settle(self.steps - self._decoding.pauses)
        return [*self.running, *self.fetching, *self.waiting]

    def schedule(self, now: Tick) -> StepPlan | None:
        """Plan the step that begins at `now`; None: there is nobody to serve."""
        if not (self.running or self.waiting or self._fetched):
            return None
        self.memory.turn(self.steps, now)
        plan = StepPlan(self.steps, now, self._closed)
        self._closed = []
        if self._forked:
            plan.opened, self._forked = self._forked, {}
        if self._in_flight:
            self._finishing = self._decoding.ends.get(plan.index - 1, [])[:]
        elif self._finishing:
            self._finishing = []
        if self._hears_clock:
            self.waiting.turn(self.steps - self._decoding.pauses)
        self.steps += 1

        longest = self._longest
        if self._threshold and len(self.running) + len(self.waiting) + len(self._fetched) > 1:
            longest = self._threshold
        chunks: dict[Sequence, int] = {}
        if self._continuous:
            due = self._decoding.asks.pop(plan.index, None)
            if due or self._prefilling:
                self._continue_running(plan, chunks, longest, (due or []) + self._prefilling)
            if (self.waiting or self._fetched) and not plan.preempted:
                self._admit_waiting(plan, chunks, longest, now)
        else:
            self._plan_one_phase(plan, chunks, longest, now)
        if self.memory.moves:
            plan.moves, self.memory.moves = self.memory.moves, []

        decoded = self._decoding.held(self.steps)
        if self._continuous and not (chunks or self._finishing):  # as most steps are
            plan.rows = plan.tokens = self._decoding.count
            plan.context = plan.pairs = plan.held = decoded
        else:
            self._count(plan, chunks, decoded)
        if self._list_rows:
            self._list_rows_of(plan, chunks)
        sampled = [sequence for sequence in chunks if sequence.computed == sequence.length] if chunks else []
        for sequence in sampled:
            self._prefilling.remove(sequence)
            self._start_decoding(sequence)
        if self._pruning is not None:
            self._pruning.plan(plan, sampled, self.clock)
        self._in_flight.append(sampled)
        self._chunks = chunks
        return plan

    def _count(self, plan: StepPlan, chunks: dict[Sequence, int], decoded: int) -> None:
        """What a step adds up to, with `decoded` tokens of those who decode. The chunks are applied."""
        for sequence in self._finishing:
            assert sequence.offset is not None
            decoded -= self.steps - sequence.offset
            plan.held += sequence.end - 1
        if self._paused:
            plan.held += decoded
        else:
            plan.rows = plan.tokens = self._decoding.count - len(self._finishing)
            plan.context = plan.pairs = decoded
            if self._prefilling and not chunks:
                plan.held += sum(sequence.computed for sequence in self._prefilling)  # they wait for the others
        plan.rows += len(chunks)
        for sequence, tokens in chunks.items():
            plan.tokens += tokens
            plan.pairs += tokens * sequence.computed + tokens * (tokens + 1) // 2
            sequence.computed += tokens
            plan.context += sequence.computed
            if tokens > 1:
                plan.chunks += 1
                plan.chunk_tokens += tokens
                plan.chunk_context += sequence.computed
        plan.held += plan.context

    def commit(self, plan: StepPlan, outcome: Outcome, now: Tick) -> list[Sequence]:
        """The oldest plan in flight is done at `now`: append the tokens it sampled; free and return who has ended."""
        for sequence in self._in_flight.popleft():
            sequence.streak = plan.index
            if sequence.request.first_token == NEVER:
                sequence.request.first_token = now
            if sequence.place == NEVER:
                sequence.stop_streak(plan.index + 1)  # it has had to give way since
            if sequence.forks:
                self.memory.turn(plan.index, now)
                self._fork(sequence)
        if plan.keeps:
            assert self._pruning is not None
            self.memory.turn(plan.index, now)
            self._pruning.done(plan, self.clock)
        ended = self._decoding.ends.pop(plan.index - self._decoding.pauses, [])
        if outcome.ended:
            ended += [s for s in self.running if (s.request.row, s.branch) in outcome.ended and s not in ended]
        if self._overdue:
            ended += self._deliver(outcome)
        if ended:
            ended.sort(key=_PLACE)
            self.memory.turn(plan.index, now)
            for sequence in ended:
                if sequence.offset is None:
                    self._give_up_waiting(sequence)
                else:
                    self._end(sequence, plan.index + 1)
                request = sequence.request
                request.output_tokens += sequence.outputs
                request.live -= 1
                if not request.live:
                    request.finished = now
            self.running = [sequence for sequence in self.running if sequence.place != NEVER]
        if outcome.replaced and not self._paused:
            self.memory.turn(plan.index, now)
            self._replace(outcome.replaced)
        if self.tiered:
            self.tiered.tiers.done(plan.index)
        return ended

    @property
    def clock(self) -> int:
        """Steps planned so far that gave a token to all who decode."""
        return self.steps - self._decoding.pauses

    @property
    def chunks(self) -> Mapping[Sequence, int]:
        """The tokens that each prompt, whole or in part, has in the last plan."""
        return self._chunks

    @property
    def awaits(self) -> bool:
        """Whether a transfer is under way after which somebody can be admitted."""
        return len(self.fetching) > len(self._fetched)

    def transfers(self) -> list[Transfer]:
        """What is to be carried between the pool and its tiers; asked after each `schedule` and each `commit`."""
        return self.tiered.tiers.transfers() if self.tiered else []

    def arrived(self, transfer: Transfer, now: Tick) -> bool:
        """A transfer has ended at `now`. True: somebody who waited for it can be admitted."""
        assert self.tiered is not None
        self.memory.turn(max(self.steps - 1, 0), now)
        sequence = self.tiered.arrived(transfer, now)
        if sequence is None:
            return False
        self._fetched = [each for each in self.fetching if each is sequence or each in self._fetched]
        return True

    def _deliver(self, outcome: Outcome) -> list[Sequence]:
        """Those preempted with a token in flight are given it while they wait; return whom it ends."""
        ended = []
        for place, sequence in self._overdue:
            sequence.length += 1
            if sequence.length == sequence.end or (sequence.request.row, sequence.branch) in outcome.ended:
                sequence.place = place
                ended.append(sequence)
        self._overdue = []
        return ended

    def _end(self, sequence: Sequence, next_step: int) -> None:
        """A running sequence has got its last token, in the step before `next_step`."""
        sequence.settle(next_step - self._decoding.pauses)
        if self._in_flight and sequence.ends >= next_step:  # nobody knew, and one more is being computed
            sequence.request.computed_tokens += 1
        self._stop_decoding(sequence)
        self._release(sequence, next_step, sequence.computed, returns=False)
        self._close(sequence)

    def _give_up_waiting(self, sequence: Sequence) -> None:
        """A waiting sequence has got its last token: it need not come back."""
        sequence.place = NEVER
        self.waiting.remove(sequence)
        self.memory.forget(sequence)

    def _mint(self, request: Request, branch: int = 0) -> Sequence:
        self.owners.append(request.row)
        return Sequence(len(self.owners) - 1, request, self._max_model_len, branch)

    def _fork(self, parent: Sequence) -> None:
        """The prompt of a request with several samples is done: from now on each is a sequence of its own."""
        place = bisect(self.running, parent.place, key=_PLACE)
        for branch in range(1, parent.forks + 1):
            child = self._mint(parent.request, branch)
            child.computed, child.length = parent.computed, parent.length
            child.place, child.streak = parent.place + branch, parent.streak
            self.memory.fork(parent, child)
            child.request.computed_tokens -= child.computed  # it has them from its parent
            self.running.insert(place + branch - 1, child)
            self._start_decoding(child)
            self._note_fork(parent, child)
        self._promised -= parent.forks
        parent.forks = 0

    def _replace(self, beams: Iterable[tuple[int, int]]) -> None:
        """Each beam gives its place to a fork of another one that is as long."""
        running = {sequence.id: sequence for sequence in self.running}
        for dropped, kept in beams:
            sequence, parent = running.get(dropped), running.get(kept)
            if sequence is None or parent is None or sequence.offset is None or sequence.offset != parent.offset:
                continue  # one of them had to give way, or has ended
            for branch in (sequence, parent):
                branch.settle(self.steps - self._decoding.pauses)
            child = self._mint(parent.request, sequence.branch)
            child.forks = 0  # the first branch has forked long ago
            child.computed, child.length = parent.computed, parent.length
            child.place = sequence.place
            child.streak = self.steps if self._options.batching == "continuous" else NEVER
            self.memory.fork(parent, child)
            child.request.computed_tokens -= child.computed  # it has them from its parent
            self.running[self.running.index(sequence)] = child
            self._stop_decoding(sequence)
            self._release(sequence, self.steps, sequence.computed, returns=False)
            self._close(sequence)
            self._start_decoding(child)
            self._note_fork(parent, child)

    def _note_fork(self, parent: Sequence, child: Sequence) -> None:
        """The next plan tells of a branch that has just forked. Either asks the memory before it writes."""
        tables = [table.copy() for table in child.tables]
        known = child.computed + 1
        self._forked[child.id] = Opening(child.request.row, child.branch, parent.id, tables, child.computed, 0, known)
        self._decoding.asks.strike(parent.asks, parent)
        self._decoding.note_ask(parent)

    def _close(self, sequence: Sequence) -> None:
        """It is gone; the executor need not hear of one that it has not heard of yet."""
        if self._forked.pop(sequence.id, None) is None:
            self._closed.append(sequence.id)

    def _plan_one_phase(self, plan: StepPlan, chunks: dict[Sequence, int], longest: int, now: Tick) -> None:
        """Compute prompts for as long as there are any that run or can be admitted, and outputs otherwise.

        As vLLM v0 does without chunked prefill. With `static` batching the queue is open from when nobody runs until
        it is empty, or its head finds no slot or no blocks; so a batch is admitted in as many steps as its prompts
        need, and then decodes until all of it has ended.

        After a step of prompts in which somebody had to give way those who decode have the next one. Otherwise a
        request could be admitted and preempted for ever, and nobody else would get on.
        """
        static = self._options.batching == "static"
        if not self.running:
            self._open = True
        self._paused = not (self._yields and self._decoding.count)
        if self._paused:
            self._continue_running(plan, chunks, longest, self._prefilling.copy())
            admits = self._open and bool(self.waiting) and not plan.preempted
            more = admits and self._admit_waiting(plan, chunks, longest, now)
            self._open = (bool(self.waiting) and more) or not static
            self._paused = bool(chunks or plan.preempted)
        self._yields = self._paused and bool(plan.preempted)
        if self._paused:
            self._decoding.pauses += 1
        else:
            self._continue_running(
                plan, chunks, longest, self._decoding.asks.pop(plan.index - self._decoding.pauses, [])
            )
        for sequence in self.running:
            if sequence.offset is not None:
                if self._paused:
                    sequence.stop_streak(plan.index)
                elif sequence.streak == NEVER:
                    sequence.streak = plan.index

    def _continue_running(
        self, plan: StepPlan, chunks: dict[Sequence, int], longest: int, active: list[Sequence]
    ) -> None:
        """Give the running what they want: the next token each, or more of the prompt.

        Only those in prefill and those that ask the memory for something are `active`: the others need not be looked
        at. Each row is sure of one token, since there are no more rows than the budget has tokens. Without forks that
        changes nothing of vLLM's order, in which the first take what they want: whoever was admitted got a token after
        all before it had that, and what they want never grows.
        """
        step, running, budget = plan.index - self._decoding.pauses, self.running, self._options.max_num_batched_tokens
        pending = bool(self._in_flight)
        active.sort(key=_PLACE)
        for sequence in active:
            if sequence.place == NEVER:
                continue  # it gave way to one before it
            tokens = 1
            if sequence.offset is None:
                left = budget - self._spent(chunks) + 1
                tokens = min(sequence.length - sequence.computed, longest, left)
            else:
                sequence.settle(step, pending)
            if pending:
                sequence.in_flight = self._chunks.get(sequence, 1)
            while (growth := self.memory.grow(sequence, tokens)) is None:
                if self._victim.sees_progress:
                    for other in running:
                        other.settle(step, pending)
                victim = self._victim.choose(running)
                self._preempt(plan, chunks, victim, victim.place < sequence.place and not self._paused)
                if victim is sequence:
                    break
            if growth is None:
                continue
            if growth:
                plan.grown[sequence.id] = growth
            if sequence.offset is None:
                chunks[sequence] = tokens
            elif sequence.computed + 1 < sequence.limit:
                self._decoding.note_ask(sequence)
            else:
                assert self._pruning is not None
                self._pruning.due.append(sequence)

    def _admit_waiting(self, plan: StepPlan, chunks: dict[Sequence, int], longest: int, now: Tick) -> bool:
        """Admit from the head of the queue for as long as slots, budget and blocks last; nobody overtakes.

        But who has to wait for a transfer lets the others pass, and has the first claim once it has arrived. Returns
        whether it was the budget that did not last.
        """
        options = self._options
        budget = options.max_num_batched_tokens - self._spent(chunks)
        while budget and (self._fetched or self.waiting):
            sequence = self._fetched[0] if self._fetched else self.waiting.head()
            if len(self.running) + self._promised + sequence.forks >= options.max_num_seqs:
                return False
            if sequence is self._refused and self.memory.chances == self._refused_at:
                return False
            hit = self.memory.lookup(sequence)
            spare = self._watermark if self.running else 0
            if self.tiered and hit.waits and not self._fetched and self.tiered.fetch(sequence, hit, spare):
                self.fetching.append(self.waiting.take())
                continue
            tokens = min(sequence.length - hit.tokens, longest)
            if tokens > budget:
                if not options.chunked_prefill:
                    return True
                tokens = budget
            if (hit.waits and not self._fetched) or not self.memory.admit(
                sequence, tokens, hit, spare, options.reserve_full_prompt
            ):
                if options.reserve_full_prompt:  # otherwise it depends on the chunk too
                    self._refused, self._refused_at = sequence, self.memory.chances
                return False
            if self._fetched:
                self.fetching.remove(self._fetched.pop(0))
            else:
                self.waiting.take()
            self.running.append(sequence)
            self._prefilling.append(sequence)
            sequence.place = self._admitted
            self._admitted += _BRANCHES
            self._promised += sequence.forks
            sequence.computed = hit.tokens
            chunks[sequence] = tokens
            budget -= tokens

            request, found = sequence.request, hit.found
            if request.first_scheduled == NEVER:
                request.first_scheduled = now
                request.hit_tokens_first = found
            request.query_tokens += sequence.length
            request.hit_tokens += found
            request.tier_hit_tokens += hit.fetched
            request.computed_tokens -= hit.tokens  # what it ends with was computed, but for this
            tables = [table.copy() for table in sequence.tables]
            plan.opened[sequence.id] = Opening(
                request.row, sequence.branch, None, tables, hit.tokens, found, sequence.length
            )
        return not budget

    def _preempt(self, plan: StepPlan, chunks: dict[Sequence, int], sequence: Sequence, scheduled: bool) -> None:
        """Free all that a running sequence holds; it will start again, or go on from what is kept on the host.

        If it was `scheduled` already, that is undone. But in vLLM, blocks that the step would have filled for it stay
        in the prefix cache, though they are never computed: a later sequence can hit them.

        With a plan in flight, what a decoding sequence computes there is in no block that is cached yet: that happens
        when the next step takes it along. And the token that it gets there will be given to it while it waits.
        """
        pending = bool(self._in_flight)
        if sequence.offset is None:
            self._prefilling.remove(sequence)
            undone = chunks.pop(sequence, 0)
        else:
            if sequence in self._finishing:
                self._finishing.remove(sequence)
                scheduled = False
            sequence.settle(plan.index - self._decoding.pauses, pending)
            self._stop_decoding(sequence)
            undone = int(scheduled)
            if pending:
                undone = 0 if scheduled or sequence in self._chunks else -1
                self._overdue.append((sequence.place, sequence))
        if self._to_be_swapped(sequence):
            self.memory.swap_out(sequence)
        filled = sequence.computed
        if self._keep_unwritten or undone < 0:
            filled += undone
        self.running.remove(sequence)
        self._promised -= sequence.forks
        self._release(sequence, plan.index, filled, returns=True)
        sequence.computed = 0
        sequence.request.preemptions += 1
        self.preemptions += 1
        self.waiting.put_back(sequence)
        plan.grown.pop(sequence.id, None)
        plan.preempted.append(sequence.id)
        plan.closed.append(sequence.id)

    def _to_be_swapped(self, sequence: Sequence) -> bool:
        """Whether a victim's blocks go to the host.

        What of it has a name in the prefix cache, and so may be somebody else's too, is taken to be still there when it
        comes back.
        """
        if self._swap_pays is None:
            return self._options.preemption == "swap"
        return self._swap_pays(sequence.computed, min(self.memory.lookup(sequence).found, sequence.computed))

    def _release(self, sequence: Sequence, next_step: int, filled: int, returns: bool) -> None:
        """It no longer runs; `next_step` is the first that gives it no token.

        The blocks that its first `filled` tokens fill may be cached.
        """
        sequence.stop_streak(next_step)
        sequence.request.computed_tokens += sequence.computed + sequence.dropped
        sequence.place = NEVER
        self.memory.release(sequence, filled, returns)
        if sequence.dropped:
            sequence.drop(-sequence.dropped)

    def _start_decoding(self, sequence: Sequence) -> None:
        """From the next step on it gets a token in every step."""
        self._decoding.start(sequence, self.steps)
        if self._hears_clock:
            self.waiting.decodes(sequence, self.steps - self._decoding.pauses)

    def _stop_decoding(self, sequence: Sequence) -> None:
        assert sequence.offset is not None
        if self._hears_clock:
            self.waiting.rests(sequence, sequence.offset + sequence.computed)
        self._decoding.stop(sequence)

    def _list_rows_of(self, plan: StepPlan, chunks: dict[Sequence, int]) -> None:
        finishing = self._finishing
        rows = [
            s for s in self.running if s in chunks or (s.offset is not None and not self._paused and s not in finishing)
        ]
        for sequence in rows:
            sequence.settle(plan.index - self._decoding.pauses)
        plan.seqs = [sequence.id for sequence in rows]
        plan.counts = [chunks.get(sequence, 1) for sequence in rows]
        plan.starts = [sequence.computed + sequence.dropped - chunks.get(sequence, 0) for sequence in rows]

    def _spent(self, chunks: dict[Sequence, int]) -> int:
        """The tokens of a step that are not free to be given: one a row, and what chunks have beyond it."""
        rows = len(self.running) - (self._decoding.count if self._paused else len(self._finishing))
        return rows + sum(chunks.values()) - len(chunks)

"""The scheduler: a pure state machine that decides, step by step, who computes which tokens.

Time comes in as an argument, memory is spoken to through a protocol, and what is decided goes out as a plan. The rules
are those of vLLM 0.33's v1 scheduler: continuous batching under a token budget, chunked prefill, running requests
before waiting ones, preemption by recomputation.
"""

from collections import deque

from simcore.memory.base import Memory
from simcore.scenario.scheduler import SchedulerSection
from simcore.serving.plan import Opening, Outcome, StepPlan
from simcore.serving.queues import QUEUES
from simcore.serving.request import NEVER, Sequence
from simcore.ticks import Tick


class Scheduler:
    """Plans steps, applies their outcomes, and owns the waiting and the running sequences.

    Between `schedule` and `commit` a plan is in flight; plans are committed in the order in which they were made.
    """

    def __init__(self, options: SchedulerSection, memory: Memory, max_model_len: int, watermark: int = 0) -> None:
        """`watermark` blocks stay free whenever a waiting sequence is admitted beside running ones."""
        self.memory = memory
        self.waiting = QUEUES[options.policy]()
        self.running: list[Sequence] = []
        """in the order of admission"""
        self.computed = 0
        """the running sequences' computed tokens in all, once the step in flight is done"""
        self.preemptions = 0
        self.steps = 0
        """plans made so far; the index of the next"""
        self._options = options
        self._max_model_len = max_model_len
        self._watermark = watermark
        self._in_flight: deque[list[Sequence]] = deque()
        self._closed: list[int] = []

    def add(self, sequence: Sequence) -> bool:
        """A request arrives. False: it is refused, since it could never be served."""
        if sequence.length >= self._max_model_len:
            return False
        computed = sequence.end - 1  # the last token is sampled, but never computed
        if self._options.never_fits == "reject" and not self.memory.fits(computed):
            return False
        self.waiting.add(sequence)
        return True

    def schedule(self, now: Tick) -> StepPlan | None:
        """Plan the step that begins at `now`; None: there is nobody to serve."""
        requests = len(self.running) + len(self.waiting)
        if not requests:
            return None
        self.memory.turn(self.steps, now)
        plan = StepPlan(self.steps, closed=self._closed)
        self._closed = []
        self.steps += 1

        chunk = budget = self._options.max_num_batched_tokens
        if requests > 1 and self._options.long_prefill_token_threshold:
            chunk = self._options.long_prefill_token_threshold
        rows: list[Sequence] = []
        budget, starved = self._continue_running(plan, rows, budget, chunk)
        if self.waiting and not plan.preempted:
            budget = self._admit_waiting(plan, rows, budget, chunk, now)

        plan.seqs = [sequence.id for sequence in rows]
        plan.tokens = self._options.max_num_batched_tokens - budget
        plan.context = sum(plan.starts) + plan.tokens
        plan.pairs += plan.context
        self.computed = plan.context + sum(sequence.computed for sequence in starved)
        self._in_flight.append(rows)
        return plan

    def commit(self, plan: StepPlan, outcome: Outcome, now: Tick) -> list[Sequence]:
        """The oldest plan in flight is done at `now`: append the tokens it sampled; free and return who has ended."""
        ended = []
        for sequence in self._in_flight.popleft():
            if sequence.computed < sequence.length:
                continue  # a prompt in the middle of its prefill
            sequence.length += 1
            if sequence.streak == NEVER:
                sequence.streak = plan.index
                if sequence.request.first_token == NEVER:
                    sequence.request.first_token = now
            if sequence.length >= sequence.end:
                ended.append(sequence)
        if ended:
            self.memory.turn(plan.index, now)
            for sequence in ended:
                sequence.request.finished = now
                sequence.request.computed_tokens += sequence.computed
                sequence.stop_streak(plan.index + 1)
                self.memory.release(sequence)
                self._closed.append(sequence.id)
            self.running = [sequence for sequence in self.running if sequence.length < sequence.end]
        return ended

    def _continue_running(
        self, plan: StepPlan, rows: list[Sequence], budget: int, chunk: int
    ) -> tuple[int, list[Sequence]]:
        """Give the running sequences what they want: the next token each, or more of the prompt.

        Returns the budget that is left, and the sequences it did not reach.
        """
        running, starts, counts = self.running, plan.starts, plan.counts
        i = 0
        while budget and i < len(running):
            sequence = running[i]
            start = sequence.computed
            tokens = sequence.length - start
            if tokens > 1:
                tokens = min(tokens, chunk, budget)
                plan.pairs += (tokens - 1) * (2 * start + tokens) // 2
            if start + tokens >= sequence.horizon:
                growth = self.memory.grow(sequence, tokens)
                while growth is None:
                    victim = self.waiting.victim(running)
                    is_last_resort = running[victim] is sequence
                    budget += self._preempt(plan, rows, victim)
                    if is_last_resort:
                        break
                    i -= victim < i
                    growth = self.memory.grow(sequence, tokens)
                if growth is None:
                    continue  # it gave way itself; running[i] is the next
                if growth:
                    plan.grown[sequence.id] = growth
            rows.append(sequence)
            starts.append(start)
            counts.append(tokens)
            sequence.computed = start + tokens
            budget -= tokens
            i += 1
        starved = running[i:]
        for sequence in starved:
            sequence.stop_streak(plan.index)
        return budget, starved

    def _admit_waiting(self, plan: StepPlan, rows: list[Sequence], budget: int, chunk: int, now: Tick) -> int:
        """Admit from the head of the queue for as long as all of slots, budget and blocks last; nobody overtakes."""
        options = self._options
        while budget and self.waiting and len(self.running) < options.max_num_seqs:
            sequence = self.waiting.head()
            hit = self.memory.lookup(sequence)
            tokens = min(sequence.length - hit.tokens, chunk)
            if tokens > budget:
                if not options.chunked_prefill:
                    break
                tokens = budget
            spare = self._watermark if self.running else 0
            growth = self.memory.admit(sequence, tokens, hit, spare, options.reserve_full_prompt)
            if growth is None:
                break
            self.waiting.pop()
            self.running.append(sequence)
            self._open(plan, sequence, hit.tokens, now)
            rows.append(sequence)
            plan.starts.append(hit.tokens)
            plan.counts.append(tokens)
            plan.pairs += (tokens - 1) * (2 * hit.tokens + tokens) // 2
            sequence.computed = hit.tokens + tokens
            budget -= tokens
        return budget

    def _open(self, plan: StepPlan, sequence: Sequence, hit_tokens: int, now: Tick) -> None:
        request = sequence.request
        if request.first_scheduled == NEVER:
            request.first_scheduled = now
            request.hit_tokens_first = hit_tokens
        request.query_tokens += sequence.length
        request.hit_tokens += hit_tokens
        request.computed_tokens -= hit_tokens  # what it ends with was computed, but for the hits
        tables = [table.copy() for table in sequence.tables]
        plan.opened[sequence.id] = Opening(request.row, tables, hit_tokens, sequence.length)

    def _preempt(self, plan: StepPlan, rows: list[Sequence], victim: int) -> int:
        """Free all that a running sequence holds; it starts again later. Returns the budget it had taken in this step.

        With prefix caching, blocks that the step would have filled for it stay registered though they are never
        computed, as in vLLM: a later sequence can hit them.
        """
        sequence = self.running.pop(victim)
        refund = 0
        if sequence in rows:  # by priority only: first come, first served takes victims from the end
            row = rows.index(sequence)
            refund = plan.counts.pop(row)
            start = plan.starts.pop(row)
            plan.pairs -= (refund - 1) * (2 * start + refund) // 2
            del rows[row]
            plan.grown.pop(sequence.id, None)
        self.memory.release(sequence)
        sequence.request.computed_tokens += sequence.computed - refund
        sequence.request.preemptions += 1
        sequence.computed = 0
        sequence.stop_streak(plan.index)
        self.preemptions += 1
        plan.preempted.append(sequence.id)
        plan.closed.append(sequence.id)
        self.waiting.put_back(sequence)
        return refund

"""Who is pruned, and when: the part of a scheduler that is there where live sequences lose tokens."""

from collections.abc import Iterable

from simcore.memory.pruned import PrunedMemory
from simcore.serving.decoding import Decoding
from simcore.serving.plan import Keep, StepPlan
from simcore.serving.request import NEVER, Sequence


class PruningPlanner:
    """Notes in a plan who keeps some of its tokens after the step, and makes these shorter when it is done."""

    def __init__(self, memory: PrunedMemory, decoding: Decoding) -> None:
        self.due: list[Sequence] = []
        """who decodes, and has as many tokens in this step as it may"""
        self._memory = memory
        self._decoding = decoding
        self._shortened: list[Sequence] = []  # whom the plan in flight prunes

    def plan(self, plan: StepPlan, sampled: Iterable[Sequence], clock: int) -> None:
        """Plan who is pruned after this step: those `sampled`, whose prompts are done with it, and those `due`.

        Whoever ends with this step is spared, and whoever finds no room to pack what it keeps tries again in the next.
        `clock`: that of those who decode, after this step.
        """
        due = [(sequence, sequence.computed + 1) for sequence in self.due if sequence.place != NEVER]
        self.due = []
        for sequence in sampled:
            sequence.stays = self._memory.budget.stays(sequence.computed)
            due.append((sequence, sequence.computed))
        keeps, put_off = [], []
        for sequence, stored in due:
            sequence.limit = self._memory.budget.next_at(sequence.stays)
            dropped = stored - sequence.stays
            if dropped > 0 and sequence.ends >= clock:
                table = self._memory.pack(sequence, sequence.stays)
                if table is not None:
                    keeps.append(Keep(sequence.id, sequence.stays, table, dropped))
                    self._shortened.append(sequence)
                    continue
                put_off.append(sequence.id)
                sequence.limit = stored + 1
            self._decoding.asks.strike(sequence.asks, sequence)
            self._decoding.note_ask(sequence)
        if keeps:
            plan.keeps = keeps
        if put_off:
            plan.put_off = put_off

    def done(self, plan: StepPlan, clock: int) -> None:
        """The step is done: who was to be pruned after it has fewer tokens now."""
        for sequence, keep in zip(self._shortened, plan.keeps, strict=True):
            sequence.settle(clock)
            self._memory.keep(sequence, keep.table, keep.dropped)
            self._decoding.shorten(sequence, keep.dropped)
        self._shortened = []

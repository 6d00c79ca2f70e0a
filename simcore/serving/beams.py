"""Beam search: which beams go on, and from which."""

from collections.abc import Sequence
from random import Random

from simcore.serving.plan import Seq, StepPlan
from simcore.workload.columns import Workload


class BeamSearch:
    """Draws, at every token, which beams of a request are dropped for forks of others: a Moran model.

    How long beams stay together hangs on the model and the prompt, and decides what sharing saves. Here each beam is
    dropped with one chance at each token, and a beam that goes on, any of them, is forked in its place.
    https://arxiv.org/abs/2309.06180, section 4.4
    """

    def __init__(self, workload: Workload, seed: int) -> None:
        self._switch = workload.beam_switch
        self._seed = seed
        self._owners: dict[Seq, tuple[int, int]] = {}  # request and branch
        self._beams: dict[int, dict[int, Seq]] = {}  # by request and branch
        self._draws: dict[int, Random] = {}

    def step(self, plan: StepPlan) -> Sequence[tuple[Seq, Seq]]:
        """Beams that a step's tokens end, and the one that each gives way to a fork of."""
        for seq, opening in plan.opened.items():
            self._owners[seq] = opening.request, opening.branch
            self._beams.setdefault(opening.request, {})[opening.branch] = seq
        for seq in plan.closed:
            row, branch = self._owners[seq]
            beams = self._beams.get(row, {})
            if beams.get(branch) == seq:
                del beams[branch]
        replaced: list[tuple[Seq, Seq]] = []
        for row in [row for row, beams in self._beams.items() if not beams]:
            del self._beams[row]
        for row, beams in self._beams.items():
            draw = self._draws.setdefault(row, Random(self._seed << 32 | row))
            dropped = [seq for seq in beams.values() if draw.random() < self._switch]
            kept = [seq for seq in beams.values() if seq not in dropped]
            if kept:
                replaced += [(seq, draw.choice(kept)) for seq in dropped]
        return replaced

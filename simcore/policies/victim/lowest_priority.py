"""By priority."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import Victim

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class LowestPriority(Victim):
    """The largest priority gives way, then the latest arrival, then whoever was admitted first, as in vLLM by priority.

    https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/scheduler/

    Of branches of one request it is the last: they would give way to each other for ever. Two requests that are equal
    in both may do that nevertheless; otherwise the one with the smallest priority and arrival never is the victim of
    another one, so it ends, and then the next.
    """

    name = "lowest-priority"

    def choose(self, running: "list[Sequence]") -> "Sequence":
        victim = max(running, key=lambda sequence: (sequence.request.priority, sequence.request.arrival))
        if victim.request.samples > 1:
            victim = next(sequence for sequence in reversed(running) if sequence.request is victim.request)
        return victim

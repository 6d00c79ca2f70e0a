"""What goes with the queue."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import Victim
from simcore.policies.victim.last_admitted import LastAdmitted
from simcore.policies.victim.lowest_priority import LowestPriority

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class ByQueue(Victim):
    """The rule that goes with the queue: lowest-priority with the policy priority, last-admitted with any other.

    https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/scheduler/
    """

    name = "by-queue"

    def start(self, queue_rule: str) -> None:
        self._rule = next(rule for rule in (LastAdmitted, LowestPriority) if rule.name == queue_rule)()

    def choose(self, running: "list[Sequence]") -> "Sequence":
        return self._rule.choose(running)

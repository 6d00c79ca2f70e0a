"""Last in, first out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.victim.base import Victim

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class LastAdmitted(Victim):
    """Whoever was admitted last gives way, as in vLLM with its queue of first come, first served.

    https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/scheduler/
    """

    name = "last-admitted"

    def choose(self, running: "list[Sequence]") -> "Sequence":
        return running[-1]

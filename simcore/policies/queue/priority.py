"""By the requests' own priority."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simcore.policies.queue.base import RankedQueue

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class Priority(RankedQueue):
    """Serve the smallest priority first, then the earliest arrival, then the id as a string (`r10` before `r2`).

    As vLLM does it: https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/request_queue/
    """

    name = "priority"
    victim: ClassVar[str] = "lowest-priority"

    def rank(self, sequence: "Sequence") -> tuple[Any, ...]:
        request = sequence.request
        return request.priority, request.arrival, request.id, sequence.id

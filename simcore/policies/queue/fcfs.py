"""First come, first served."""

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.queue.base import Queue, QueueSetting

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class FCFS(deque["Sequence"], Queue):
    """Serve in the order of arrival; whoever was preempted goes to the front of the queue.

    https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/request_queue/

    It is the default and has to be quick: it is a deque itself.
    """

    name = "fcfs"

    def start(self, setting: QueueSetting) -> None:
        self.clear()

    def add(self, sequence: "Sequence") -> None:
        self.append(sequence)

    def put_back(self, sequence: "Sequence") -> None:
        self.appendleft(sequence)

    take = deque.popleft

    def head(self) -> "Sequence":
        return self[0]

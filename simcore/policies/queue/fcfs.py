"""First come, first served."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcore.policies.queue.base import Queue, QueueSetting

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class FCFS(Queue):
    """Serve in the order of arrival; whoever was preempted goes to the front of the queue.

    https://docs.vllm.ai/en/latest/api/vllm/v1/core/sched/request_queue/
    """

    name = "fcfs"

    def start(self, setting: QueueSetting) -> None:
        self._line: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> "Iterator[Sequence]":
        return iter(self._line)

    def add(self, sequence: "Sequence") -> None:
        self._line.append(sequence)

    def put_back(self, sequence: "Sequence") -> None:
        self._line.appendleft(sequence)

    def head(self) -> "Sequence":
        return self._line[0]

    def take(self) -> "Sequence":
        return self._line.popleft()

    def remove(self, sequence: "Sequence") -> None:
        self._line.remove(sequence)

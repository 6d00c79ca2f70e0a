"""Who is admitted next, and who is preempted first."""

from collections import deque
from heapq import heappop, heappush
from typing import Protocol

from simcore.serving.request import Sequence


class Queue(Protocol):
    """The waiting sequences in the order of admission, and the choice of a victim among the running."""

    def __len__(self) -> int: ...

    def add(self, sequence: Sequence) -> None:
        """A new request joins."""

    def put_back(self, sequence: Sequence) -> None:
        """A preempted one joins again."""

    def head(self) -> Sequence:
        """The next to be admitted; it stays in the queue."""
        ...

    def pop(self) -> Sequence:
        """Take the head out."""
        ...

    def victim(self, running: list[Sequence]) -> int:
        """Index of the running sequence to preempt first."""
        ...

    def waiting(self) -> list[Sequence]:
        """All of them, in no particular order."""
        ...


class FCFS:
    """First come, first served. The last admitted is preempted first and goes to the front of the queue."""

    def __init__(self) -> None:
        self._queue: deque[Sequence] = deque()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, sequence: Sequence) -> None:
        self._queue.append(sequence)

    def put_back(self, sequence: Sequence) -> None:
        self._queue.appendleft(sequence)

    def head(self) -> Sequence:
        return self._queue[0]

    def pop(self) -> Sequence:
        return self._queue.popleft()

    def victim(self, running: list[Sequence]) -> int:
        return len(running) - 1

    def waiting(self) -> list[Sequence]:
        return list(self._queue)


class Priority:
    """The smallest priority first, then the earliest arrival, then the id as a string (`r10` before `r2`), as in vLLM.

    The victim is the one with the largest priority, then the latest arrival; among equals the first admitted.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, str, int, Sequence]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, sequence: Sequence) -> None:
        request = sequence.request
        heappush(self._heap, (request.priority, request.arrival, request.id, sequence.id, sequence))

    put_back = add

    def head(self) -> Sequence:
        return self._heap[0][-1]

    def pop(self) -> Sequence:
        return heappop(self._heap)[-1]

    def victim(self, running: list[Sequence]) -> int:
        return max(range(len(running)), key=lambda i: (running[i].request.priority, running[i].request.arrival))

    def waiting(self) -> list[Sequence]:
        return [entry[-1] for entry in self._heap]


QUEUES: dict[str, type[Queue]] = {"fcfs": FCFS, "priority": Priority}
"""Every scheduling policy by the name a scenario uses."""

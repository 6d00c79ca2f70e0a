"""Who is admitted next, and who is preempted first."""

from collections import deque
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Protocol

from simcore.serving.request import Sequence
from simcore.ticks import Tick


class Queue(Protocol):
    """The waiting sequences, and the choice of a victim among the running. It is true while anybody waits."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Sequence]:
        """All that wait, in no particular order."""
        ...

    def add(self, sequence: Sequence) -> None:
        """A new request joins."""

    def put_back(self, sequence: Sequence) -> None:
        """A preempted one joins again."""

    def head(self) -> Sequence:
        """The next to be admitted; it stays in the queue."""
        ...

    def take(self) -> Sequence:
        """Take the head out."""
        ...

    def remove(self, sequence: Sequence) -> None:
        """It need not be admitted any more."""

    def victim(self, running: list[Sequence]) -> Sequence:
        """Which of the running sequences, in the order of admission, is preempted first."""
        ...


class FCFS(deque[Sequence]):
    """First come, first served. The last admitted is preempted first and goes to the front of the queue."""

    add = deque.append
    put_back = deque.appendleft
    take = deque.popleft

    def head(self) -> Sequence:
        return self[0]

    def victim(self, running: list[Sequence]) -> Sequence:
        return running[-1]


class Priority:
    """The smallest priority first, then the earliest arrival, then the id as a string (`r10` before `r2`), as in vLLM.

    The victim is the one with the largest priority, then the latest arrival; among equals the first admitted, but of
    branches of one request the last: they would give way to each other for ever.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[int, Tick, str, int, Sequence]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Sequence]:
        return (entry[-1] for entry in self._heap)

    def add(self, sequence: Sequence) -> None:
        request = sequence.request
        heappush(self._heap, (request.priority, request.arrival, request.id, sequence.id, sequence))

    put_back = add

    def head(self) -> Sequence:
        return self._heap[0][-1]

    def take(self) -> Sequence:
        return heappop(self._heap)[-1]

    def remove(self, sequence: Sequence) -> None:
        self._heap = [entry for entry in self._heap if entry[-1] is not sequence]
        heapify(self._heap)

    def victim(self, running: list[Sequence]) -> Sequence:
        victim = max(running, key=lambda sequence: (sequence.request.priority, sequence.request.arrival))
        if victim.request.samples > 1:
            victim = next(sequence for sequence in reversed(running) if sequence.request is victim.request)
        return victim


QUEUES: dict[str, type[Queue]] = {"fcfs": FCFS, "priority": Priority}
"""Every scheduling policy by the name a scenario uses."""

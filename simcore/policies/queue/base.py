"""What a queue policy is told, and what it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, ClassVar

from simcore.policies.base import Policy

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


def _nothing(sequence: "Sequence") -> int:
    return 0


@dataclass(frozen=True)
class QueueSetting:
    """Where a queue works."""

    seed: int = 0
    """of what it draws at random"""
    cached: "Callable[[Sequence], int]" = _nothing
    """tokens of a waiting sequence that the prefix cache has now"""


@dataclass
class Queue(Policy, ABC):
    """Who is admitted next. It is true while anybody waits.

    Admission is from the head, and nobody overtakes: if the head finds no room, nobody is admitted. The head may change
    only when somebody joins or leaves, or with the next `turn`.
    """

    victim: ClassVar[str] = "last-admitted"
    """the rule that chooses a victim where the scenario leaves it to the queue"""
    hears_clock: ClassVar[bool] = False
    """whether `turn`, `decodes` and `rests` are to be called"""

    @abstractmethod
    def start(self, setting: QueueSetting) -> None:
        """Start with nobody."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __iter__(self) -> "Iterator[Sequence]":
        """All that wait, in no particular order."""

    @abstractmethod
    def add(self, sequence: "Sequence") -> None:
        """A new request joins."""

    @abstractmethod
    def put_back(self, sequence: "Sequence") -> None:
        """A preempted one joins again."""

    @abstractmethod
    def head(self) -> "Sequence":
        """The next to be admitted; it stays in the queue."""

    @abstractmethod
    def take(self) -> "Sequence":
        """Take the head out."""

    @abstractmethod
    def remove(self, sequence: "Sequence") -> None:
        """It need not be admitted any more."""

    def turn(self, clock: int) -> None:
        """A step begins; `clock` counts the steps in which sequences decode."""

    def decodes(self, sequence: "Sequence", clock: int) -> None:
        """It got a token from its prompt, and from `clock` on gets another one with each tick of that clock."""

    def rests(self, sequence: "Sequence", clock: int) -> None:
        """The last token that it got was that of `clock - 1`."""


@dataclass
class RankedQueue(Queue):
    """A queue in which each sequence has a rank that never changes while it waits."""

    def start(self, setting: QueueSetting) -> None:
        self._heap: list[tuple[tuple[Any, ...], Sequence]] = []

    @abstractmethod
    def rank(self, sequence: "Sequence") -> tuple[Any, ...]:
        """The smallest is the next; no two are equal."""

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> "Iterator[Sequence]":
        return (sequence for _, sequence in self._heap)

    def add(self, sequence: "Sequence") -> None:
        heappush(self._heap, (self.rank(sequence), sequence))

    def put_back(self, sequence: "Sequence") -> None:
        self.add(sequence)

    def head(self) -> "Sequence":
        return self._heap[0][1]

    def take(self) -> "Sequence":
        return heappop(self._heap)[1]

    def remove(self, sequence: "Sequence") -> None:
        self._heap = [entry for entry in self._heap if entry[1] is not sequence]
        heapify(self._heap)

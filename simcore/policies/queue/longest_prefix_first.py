"""What is cached first."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simcore.policies.base import parameter
from simcore.policies.queue.base import Queue, QueueSetting

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class LongestPrefixFirst(Queue):
    """Serve the request first of which the prefix cache has most tokens, then by arrival (SGLang's cache-aware LPM).

    https://arxiv.org/abs/2312.07104

    The order is made once a step. While more than `most` wait it is that of arrival: looking all of them up takes a
    server longer than it gains, so SGLang stops at 128. Nothing keeps a request without a prefix from starving for as
    long as others with one arrive.
    """

    name = "longest-prefix-first"
    hears_clock: ClassVar[bool] = True
    most: int = parameter(
        128,
        help="Most waiting requests that are looked up; while more wait, first come is first served.",
        ge=1,
        le=10**9,
    )

    def start(self, setting: QueueSetting) -> None:
        self._cached: Callable[[Sequence], int] = setting.cached
        self._line: list[Sequence] = []  # in the order of arrival, who was preempted before all
        self._order: list[Sequence] | None = None  # of this step, the next one last

    def __len__(self) -> int:
        return len(self._line)

    def __iter__(self) -> "Iterator[Sequence]":
        return iter(self._line)

    def add(self, sequence: "Sequence") -> None:
        self._line.append(sequence)
        self._order = None

    def put_back(self, sequence: "Sequence") -> None:
        self._line.insert(0, sequence)
        self._order = None

    def head(self) -> "Sequence":
        if self._order is None:
            self._order = self._line[::-1]
            if len(self._line) <= self.most:
                self._order.sort(key=self._cached)  # stable: of equals the first to arrive stays last
        return self._order[-1]

    def take(self) -> "Sequence":
        sequence = self.head()
        assert self._order is not None
        self._order.pop()
        self._line.remove(sequence)
        return sequence

    def remove(self, sequence: "Sequence") -> None:
        self._line.remove(sequence)
        self._order = None

    def turn(self, clock: int) -> None:
        self._order = None

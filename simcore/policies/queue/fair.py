"""Fair among clients: virtual token counters."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from simcore.policies.base import parameter
from simcore.policies.queue.base import Queue, QueueSetting

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass(slots=True)
class _Client:
    charged: float = 0.0
    decoding: int = 0
    """sequences of it that decode"""
    since: int = 0
    """the sum of the instants since which they do"""


@dataclass
class Fair(Queue):
    """Serve the waiting client that has been served least, by a virtual token counter for each client (VTC).

    https://arxiv.org/abs/2401.00588

    The client of a request is its category. Its counter grows by the input weight for each token of a prompt when it is
    admitted, and by the output weight for each token of an output when it is computed; what is recomputed after a
    preemption is not charged again. A client that comes back after nobody of it waited is lifted to the least counter
    among the waiting clients, or if none waits to that of the client that left the queue last: nobody saves up
    service by being away. Each client's own requests are served in the order of arrival.

    What a decoding sequence is charged moves with the clock, so a step costs nothing here.
    """

    name = "fair"
    hears_clock: ClassVar[bool] = True
    input_weight: float = parameter(1.0, help="What a token of a prompt counts.", ge=0, le=1e6)
    output_weight: float = parameter(2.0, help="What a token of an output counts.", ge=0, le=1e6)

    def start(self, setting: QueueSetting) -> None:
        self._clients: dict[int, _Client] = {}
        self._lines: dict[int, deque[Sequence]] = {}  # of the clients that wait
        self._last: int | None = None  # the client that was admitted last
        self._clock = 0

    def counter(self, client: int) -> float:
        """The service that a client has had, or is taken to have had."""
        account = self._clients[client]
        return account.charged + self.output_weight * (account.decoding * self._clock - account.since)

    def __len__(self) -> int:
        return sum(map(len, self._lines.values()))

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __iter__(self) -> "Iterator[Sequence]":
        return (sequence for line in self._lines.values() for sequence in line)

    def add(self, sequence: "Sequence") -> None:
        client = sequence.request.category
        account = self._clients.setdefault(client, _Client())
        if client not in self._lines:
            others = list(self._lines) or [client if self._last is None else self._last]
            account.charged += max(min(map(self.counter, others)) - self.counter(client), 0.0)
        self._lines.setdefault(client, deque()).append(sequence)

    def put_back(self, sequence: "Sequence") -> None:
        self._lines.setdefault(sequence.request.category, deque()).appendleft(sequence)

    def head(self) -> "Sequence":
        return self._lines[self._next()][0]

    def take(self) -> "Sequence":
        client = self._last = self._next()
        sequence = self._lines[client][0]
        self.remove(sequence)
        if not sequence.request.preemptions:
            self._clients[client].charged += self.input_weight * sequence.request.prompt_len
        return sequence

    def remove(self, sequence: "Sequence") -> None:
        client = sequence.request.category
        self._lines[client].remove(sequence)
        if not self._lines[client]:
            del self._lines[client]

    def turn(self, clock: int) -> None:
        self._clock = clock

    def decodes(self, sequence: "Sequence", clock: int) -> None:
        account = self._clients[sequence.request.category]
        account.charged += self.output_weight
        account.decoding += 1
        account.since += clock

    def rests(self, sequence: "Sequence", clock: int) -> None:
        account = self._clients[sequence.request.category]
        account.decoding -= 1
        account.since -= clock

    def _next(self) -> int:
        return min(self._lines, key=lambda client: (self.counter(client), client))

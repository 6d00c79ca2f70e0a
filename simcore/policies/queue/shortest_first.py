"""Shortest job first."""

from dataclasses import dataclass
from math import exp
from random import Random
from typing import TYPE_CHECKING, Any, Literal

from simcore.policies.base import parameter
from simcore.policies.queue.base import QueueSetting, RankedQueue
from simcore.ticks import TICKS_PER_SECOND

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class ShortestFirst(RankedQueue):
    """Serve the request with the shortest output first, as an oracle knows it or a predictor guesses it (SSJF).

    https://arxiv.org/abs/2404.08509

    A predicted length is the true one times a lognormal factor of median 1, drawn once a request from the seed and the
    request's row. With ageing a request's length counts `ageing` tokens less for each second that it has waited; since
    that is the same for all, the order is that of the length plus `ageing` times the arrival, and never changes.
    """

    name = "shortest-first"
    know: Literal["oracle", "predicted"] = parameter(
        "oracle", help="Whether output lengths are known, or predicted with an error of `noise`."
    )
    noise: float = parameter(
        0.5,
        help="Standard deviation of the logarithm of predicted by true length, where they are predicted.",
        ge=0,
        le=10,
    )
    ageing: float = parameter(
        0.0,
        help="How much shorter a request counts for each second that it has waited, against starvation; 0: not at all.",
        unit="tokens/s",
        ge=0,
        le=1e9,
    )

    def start(self, setting: QueueSetting) -> None:
        super().start(setting)
        self._seed = setting.seed

    def length(self, sequence: "Sequence") -> float:
        """Of the output, in tokens, as far as it is known."""
        request = sequence.request
        if self.know == "oracle":
            return request.output_len
        return request.output_len * exp(Random((self._seed << 64) + request.row).gauss(0.0, self.noise))

    def rank(self, sequence: "Sequence") -> tuple[Any, ...]:
        request = sequence.request
        aged = self.length(sequence) + self.ageing * (request.arrival / TICKS_PER_SECOND)
        return aged, request.arrival, request.row, sequence.id

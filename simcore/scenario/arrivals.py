"""When the requests of a workload arrive. Each process is chosen by the key `process`; its other keys are its own."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from simcore.scenario.distributions import ExponentialTime, Times
from simcore.schema import Misfit, Section, key


def _rate(default: float = 1.0, help: str = "Mean rate of arrivals.", lowest: float = 1e-6) -> Any:
    return key(default, help=help, unit="1/s", ge=lowest, le=100_000)


_CV = key(2.0, help="Standard deviation over mean of the gaps; 1 is Poisson, above it bursty.", ge=0.01, le=100)


class Constant(Section):
    """Equal gaps; the first request arrives at 0."""

    process: Literal["constant"] = key("constant", help="Equal gaps.")
    rate: float = _rate()


class Poisson(Section):
    """Independent exponential gaps."""

    process: Literal["poisson"] = key("poisson", help="Independent exponential gaps.")
    rate: float = _rate()


class Gamma(Section):
    """Independent gamma gaps: burstier than Poisson above a CV of 1, more regular below."""

    process: Literal["gamma"] = key("gamma", help="Independent gamma gaps.")
    rate: float = _rate()
    cv: float = _CV


class Weibull(Section):
    """Independent Weibull gaps; the shape follows from the CV."""

    process: Literal["weibull"] = key("weibull", help="Independent Weibull gaps.")
    rate: float = _rate()
    cv: float = _CV


class Bursts(Section):
    """A Markov-modulated Poisson process of two states, which begins in the base state.

    The mean rate is (base_rate base_duration + burst_rate burst_duration) / (base_duration + burst_duration).
    """

    process: Literal["bursts"] = key(
        "bursts", help="Poisson at a base rate and, in bursts that begin at random, at another."
    )
    base_rate: float = _rate(1.0, "Rate of arrivals between bursts; 0: none.", lowest=0)
    burst_rate: float = _rate(10.0, "Rate of arrivals in a burst.")
    base_duration: float = key(60.0, help="Mean time between two bursts (exponential).", unit="s", ge=1e-3, le=1e6)
    burst_duration: float = key(10.0, help="Mean time of a burst (exponential).", unit="s", ge=1e-3, le=1e6)

    @model_validator(mode="after")
    def _brings_requests(self) -> Self:
        if self.base_rate * self.base_duration + self.burst_rate * self.burst_duration < 1:
            raise Misfit(self, {"burst_duration": "a burst and the time before it must bring a request on average"})
        return self


class Daily(Section):
    """A Poisson process whose rate follows a cosine, from the trough at time 0 to the peak half a period later."""

    process: Literal["daily"] = key("daily", help="Poisson with a rate that rises and falls like a day's.")
    rate: float = _rate(1.0, "Mean rate of arrivals over a period.")
    peak_to_trough: float = key(4.0, help="The highest rate over the lowest.", ge=1, le=1e6)
    period: float = key(86_400.0, help="Time from trough to trough.", unit="s", ge=1, le=1e7)


class ClosedLoop(Section):
    """So many users, each of whom thinks, asks, waits for the whole answer, and thinks again.

    Requests are dealt to the users in turn.
    """

    process: Literal["closed-loop"] = key("closed-loop", help="Users who wait for an answer before they ask again.")
    users: int = key(16, help="Users, and so the most requests in the server.", unit="users", ge=1, le=10_000_000)
    think: Times = key(ExponentialTime(), help="Time from an answer (or the run's start) to the user's next request.")


class AllAtOnce(Section):
    """Everything arrives at time 0."""

    process: Literal["all-at-once"] = key("all-at-once", help="All requests arrive at time 0.")


Arrivals = Annotated[
    Constant | Poisson | Gamma | Weibull | Bursts | Daily | ClosedLoop | AllAtOnce, Field(discriminator="process")
]
"""An arrival process."""

"""Arrival times and times to think.

Every gap and every time is rounded to a whole multiple of 2^-20 s (about a microsecond). Such numbers add up exactly,
and the last bits of `exp`, `log` and `pow`, in which platforms differ, are gone.
"""

import math

import numpy as np
from numpy.random import Generator

from simcore.scenario.arrivals import (
    AllAtOnce,
    Arrivals,
    Bursts,
    ClosedLoop,
    Constant,
    Daily,
    Gamma,
    Poisson,
    Weibull,
)
from simcore.scenario.distributions import ExponentialTime, FixedTime, LogNormalTime, Times, UniformTime
from simcore.workload.columns import OPEN, Floats, Ints


def arrive(process: Arrivals, count: int, rng: Generator) -> tuple[Floats, Ints | None]:
    """The columns `arrival` and `after` of `count` requests; the second is None where nobody waits for another."""
    match process:
        case ClosedLoop(users=users, think=think):
            arrival = draw_times(think, count, rng)
            arrival[:users].sort()
            return arrival, np.maximum(np.arange(count) - users, OPEN)
        case AllAtOnce():
            arrival = np.zeros(count)
        case Constant(rate=rate):
            arrival = np.arange(count) / rate
        case Poisson(rate=rate):
            arrival = _unit_poisson(count, rng, rate)
        case Gamma(rate=rate, cv=cv):
            shape = cv**-2
            arrival = np.cumsum(_rounded(rng.gamma(shape, 1 / (shape * rate), count)))
        case Weibull(rate=rate, cv=cv):
            shape = weibull_shape(cv)
            arrival = np.cumsum(_rounded(rng.weibull(shape, count) / (rate * math.gamma(1 + 1 / shape))))
        case Bursts():
            arrival = _bursts(process, count, rng)
        case Daily():
            arrival = _daily(process, count, rng)
    return _rounded(arrival), None


def draw_times(times: Times, count: int, rng: Generator) -> Floats:
    """[count] seconds"""
    match times:
        case FixedTime(seconds=seconds):
            drawn = np.full(count, seconds)
        case UniformTime(min=low, max=high):
            drawn = low + (high - low) * rng.random(count)
        case ExponentialTime(mean=mean):
            drawn = mean * rng.standard_exponential(count)
        case LogNormalTime(mean=mean, cv=cv):
            drawn = lognormal(mean, cv, count, rng)
    return _rounded(drawn)


def lognormal(mean: float, cv: float, count: int, rng: Generator) -> Floats:
    """[count] log-normal numbers with this mean and this coefficient of variation."""
    variance = math.log1p(cv**2)
    return rng.lognormal(math.log(mean) - variance / 2, math.sqrt(variance), count)


def weibull_shape(cv: float) -> float:
    """The shape k of the Weibull distribution with this coefficient of variation, 0.01 to 100, by bisection.

    cv^2 + 1 = Gamma(1 + 2/k) / Gamma(1 + 1/k)^2, which falls as k rises.
    """
    target = math.log1p(cv**2)
    low, high = 0.05, 1000.0
    for _ in range(60):
        shape = math.sqrt(low * high)
        if math.lgamma(1 + 2 / shape) - 2 * math.lgamma(1 + 1 / shape) > target:
            low = shape
        else:
            high = shape
    return shape


def _unit_poisson(count: int, rng: Generator, rate: float = 1.0) -> Floats:
    return np.cumsum(_rounded(rng.standard_exponential(count) / rate))


def _bursts(process: Bursts, count: int, rng: Generator) -> Floats:
    """A Poisson process of rate 1 in operational time, which runs at the rate of the state.

    The states last base, burst, base, ... and as many are drawn as the arrivals need.
    """
    arrivals, states = rng.spawn(2)
    work = _unit_poisson(count, arrivals)
    means = np.array([process.base_duration, process.burst_duration])
    rates = np.array([process.base_rate, process.burst_rate])
    time, done = np.zeros(1), np.zeros(1)
    while done[-1] <= work[-1]:
        cycles = 16 + int(1.1 * (work[-1] - done[-1]) / (means @ rates))
        durations = _rounded(states.standard_exponential((cycles, 2)) * means)
        time = np.append(time, time[-1] + np.cumsum(durations))
        done = np.append(done, done[-1] + np.cumsum(durations * rates))
    return _inverse(work, done, time)


def _daily(process: Daily, count: int, rng: Generator) -> Floats:
    """The same, at the rate r(t) = rate (1 - swing cos(2 pi t / period)), constant within each 1,440th of a period."""
    work = _unit_poisson(count, rng) / (process.rate * process.period)
    swing = (process.peak_to_trough - 1) / (process.peak_to_trough + 1)
    phase = np.arange(1441) / 1440
    done = _rounded(phase - swing / (2 * np.pi) * np.sin(2 * np.pi * phase), bits=40)
    cycle = np.floor(work)
    return (cycle + _inverse(work - cycle, done, phase)) * process.period


def _inverse(value: Floats, done: Floats, time: Floats) -> Floats:
    """Where a rising piecewise linear function reaches a value; np.interp, but with the same last bit everywhere."""
    piece = np.searchsorted(done, value, side="right") - 1
    share = (value - done[piece]) / (done[piece + 1] - done[piece])
    return time[piece] + share * (time[piece + 1] - time[piece])


def _rounded(seconds: Floats, bits: int = 20) -> Floats:
    """To whole multiples of 2^-bits, half to even."""
    return np.ldexp(np.rint(np.ldexp(seconds, bits)), -bits)

"""Lengths of prompts and outputs."""

from copy import deepcopy
from typing import Literal

import numpy as np
from numpy.random import Generator

from simcore.errors import InputError
from simcore.scenario.distributions import (
    EmpiricalLength,
    ExponentialLength,
    FixedLength,
    Lengths,
    LogNormalLength,
    ParetoMixtureLength,
    UniformLength,
    ZipfLength,
)
from simcore.workload.arrivals import lognormal
from simcore.workload.columns import Floats, Ints
from simcore.workload.traces import read_trace


def draw_lengths(
    prompt: Lengths, output: Lengths, count: int, prompt_rng: Generator, output_rng: Generator
) -> tuple[Ints, Ints]:
    """The columns `prompt_len` and `output_len` of `count` requests, in tokens."""
    if isinstance(prompt, EmpiricalLength) and isinstance(output, EmpiricalLength) and _joint(prompt, output):
        output_rng = deepcopy(prompt_rng)  # equal numbers pick equal requests
    return _draw(prompt, "prompt_len", count, prompt_rng), _draw(output, "output_len", count, output_rng)


def _joint(prompt: EmpiricalLength, output: EmpiricalLength) -> bool:
    return prompt.joint and output.joint and (prompt.trace, prompt.format) == (output.trace, output.format)


def _draw(lengths: Lengths, column: Literal["prompt_len", "output_len"], count: int, rng: Generator) -> Ints:
    match lengths:
        case FixedLength(tokens=tokens):
            return np.full(count, tokens, np.int64)
        case UniformLength(min=low, max=high):
            return rng.integers(low, high, count, endpoint=True)
        case ZipfLength(min=low, max=high, exponent=exponent):
            return zipf(exponent, low, high, count, rng)
        case ExponentialLength(mean=mean):
            drawn = rng.geometric(1 / mean, count)
        case LogNormalLength(mean=mean, cv=cv):
            drawn = np.rint(lognormal(mean, cv, count, rng))
        case ParetoMixtureLength():
            drawn = np.rint(_pareto_mixture(lengths, count, rng))
        case EmpiricalLength():
            observed = _observed(lengths, column)
            drawn = observed[rng.integers(0, len(observed), count)]
    return np.clip(drawn, lengths.min, lengths.max).astype(np.int64)


def zipf(exponent: float, low: int, high: int, count: int, rng: Generator) -> Ints:
    """[count] numbers k, low <= k <= high, drawn in proportion to k^-exponent."""
    weight = np.cumsum(np.arange(low, high + 1) ** -exponent)
    drawn: Ints = low + np.searchsorted(weight, rng.random(count) * weight[-1], side="right")
    return drawn


def _pareto_mixture(lengths: ParetoMixtureLength, count: int, rng: Generator) -> Floats:
    in_tail = rng.random(count) < lengths.tail
    body = lognormal(lengths.mean, lengths.cv, count, rng)
    tail = lengths.tail_start * (1 + rng.pareto(lengths.tail_index, count))
    return np.where(in_tail, tail, body)


def _observed(lengths: EmpiricalLength, column: Literal["prompt_len", "output_len"]) -> Ints:
    """A column of the trace's requests that have both a prompt and an output."""
    trace = read_trace(lengths.trace, lengths.format)
    observed: Ints = getattr(trace, column)[(trace.prompt_len > 0) & (trace.output_len > 0)]
    if not len(observed):
        raise InputError(f'"{lengths.trace}" has no request with a prompt and an output to draw lengths from.')
    return observed

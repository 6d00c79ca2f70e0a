"""One server, one queue: textbook waiting times.

With one token of output, one sequence at a time and a step that costs nothing but its tokens, a request's service is
its prompt's length: the simulator is a single-server queue.
"""

from statistics import fmean, stdev

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from simcore import Results, Scenario, Workload, simulate
from simcore.ticks import to_ticks

TOKENS = 1000
"""Mean length of a prompt; the mean service takes 1 s."""
PER_TOKEN = 1 / TOKENS
LOAD = 0.4
"""Arrivals per second; as the mean service takes 1 s, also the share of time that the server is busy."""


def serve(prompt: dict[str, object], seed: int, requests: int = 5000, warmup: float = 1000.0) -> Results:
    """Poisson arrivals at a server that takes one request after another."""
    scenario = {
        "seed": seed,
        "memory": {"blocks": 10_000, "prefix_caching": False},
        "scheduler": {"max_num_seqs": 1, "max_num_batched_tokens": 100_000, "max_model_len": 100_000},
        "timing": {"model": "linear", "step": 0.0, "per_token": PER_TOKEN},
        "workload": {
            "requests": requests,
            "arrivals": {"process": "poisson", "rate": LOAD},
            "prompt": prompt,
            "output": {"distribution": "fixed", "tokens": 1},
        },
        "metrics": {"warmup": warmup},
    }
    return simulate(Scenario.model_validate(scenario))


@pytest.mark.parametrize(
    ("prompt", "expected", "replications"),
    [
        pytest.param({"distribution": "exponential", "mean": float(TOKENS)}, LOAD / (1 - LOAD), 24, id="M/M/1"),
        pytest.param({"distribution": "fixed", "tokens": TOKENS}, LOAD / (2 * (1 - LOAD)), 10, id="M/D/1"),
    ],
)
def test_mean_wait(prompt: dict[str, object], expected: float, replications: int) -> None:
    """M/M/1: rho / (mu - lambda), and mu = 1. M/D/1: half of that (Pollaczek and Khinchine)."""
    means = [serve(prompt, seed).summary["queue"]["mean"] for seed in range(replications)]
    half_width = t.ppf(0.995, replications - 1) * stdev(means) / replications**0.5
    assert half_width < 0.07 * expected, "the interval says something"
    assert abs(fmean(means) - expected) < half_width


@given(st.integers(0, 2**32), st.sampled_from(["exponential", "lognormal"]))
def test_every_wait_is_lindleys(seed: int, distribution: str) -> None:
    """A wait is the one before it, plus that service, less the time between the two arrivals; never below 0."""
    results = serve({"distribution": distribution, "mean": float(TOKENS)}, seed, requests=60, warmup=0.0)
    workload: Workload = results.workload
    wait, expected = 0, []
    gaps = np.diff([to_ticks(arrival) for arrival in workload.arrival], append=0).tolist()
    for prompt_len, gap in zip(workload.prompt_len.tolist(), gaps, strict=True):
        expected.append(wait)
        wait = max(0, wait + prompt_len * to_ticks(PER_TOKEN) - gap)
    requests = results.record.requests
    assert (requests["first_scheduled"] - requests["arrival"]).tolist() == expected

"""A server with one queue, whose waits are known exactly, and how the simulator is made to be one."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from simcore import Scenario
from simcore.experiment.comparison import Comparison, gather
from simcore.experiment.design import Experiment, Run
from simcore.experiment.play import DONE, Outcome
from simcore.workload import make_workload

TOKENS = 1000
"""Mean length of a prompt; the mean service takes 1 s."""
PER_TOKEN = 1 / TOKENS
MOST = 60
"""More requests than this are never met: it has a probability of load^60."""


def mm1(requests: int, rate: float, seed: int = 0) -> Scenario:
    """One sequence at a time, one token of output, and steps that cost nothing but their tokens."""
    return Scenario.model_validate(
        {
            "seed": seed,
            "memory": {"blocks": 10_000, "prefix_caching": False},
            "scheduler": {"max_num_seqs": 1, "max_num_batched_tokens": 100_000, "max_model_len": 100_000},
            "timing": {"model": "linear", "step": 0.0, "per_token": PER_TOKEN},
            "workload": {
                "requests": requests,
                "arrivals": {"process": "poisson", "rate": rate},
                "prompt": {"distribution": "exponential", "mean": float(TOKENS)},
                "output": {"distribution": "fixed", "tokens": 1},
            },
        }
    )


def expected_wait(requests: int, rate: float) -> float:
    """The expected mean wait (s) of the first requests of an M/M/1 queue that begins empty.

    The number in the system that a request meets is a Markov chain: one more than the last one met, less the services
    that ended in between, of which there are k with probability p q^k.
    """
    p, most = rate / (rate + 1), min(requests, MOST)
    met, total = np.zeros(most + 1), 0.0
    met[0] = 1.0
    for _ in range(requests):
        total += float(met @ np.arange(most + 1))
        following = np.zeros(most + 2)
        for n in range(most, 0, -1):  # what ended is geometric: p of the one that is met one higher, q of the next one
            following[n] = p * met[n - 1] + (1 - p) * following[n + 1]
        following[0] = 1.0 - following[1:].sum()
        met = following[:-1]
    return total / requests


def waits(runs: Iterable[Run]) -> dict[str, float]:
    """The mean wait (s) of each run by its key, by Lindley's recursion on the requests that the simulator would play.

    That these are the simulator's waits is asserted in `tests/theory/test_waiting_time.py` and beside this.
    """
    keys, arrivals, services = [], [], []
    for run in runs:
        workload = make_workload(run.scenario.workload, run.scenario.seed)
        keys.append(run.key)
        arrivals.append(workload.arrival)
        services.append(workload.prompt_len * PER_TOKEN)
    return dict(zip(keys, _lindley(np.stack(arrivals), np.stack(services)).mean(axis=1).tolist(), strict=True))


def _lindley(arrival: NDArray[np.float64], service: NDArray[np.float64]) -> NDArray[np.float64]:
    """[runs, requests] waits."""
    wait = np.zeros_like(arrival)
    for k in range(1, arrival.shape[1]):
        gap = arrival[:, k] - arrival[:, k - 1]
        wait[:, k] = np.maximum(wait[:, k - 1] + service[:, k - 1] - gap, 0.0)
    return wait


def compared(experiment: Experiment) -> Comparison:
    """The experiment with waits that were computed, not simulated."""
    runs = list(experiment.runs())
    found = {key: Outcome(key, DONE, metrics={"queue.mean": wait}) for key, wait in waits(runs).items()}
    return gather(experiment, runs, found)

"""More users than the memory has room for: the server is saturated, and neither explodes nor stands still."""

from typing import Any

import pytest

from simcore import Scenario, simulate

USERS = (16, 64, 256, 1024)
REQUESTS = 4096
PROMPT, OUTPUT = 256, 128
ROOM = 68
"""requests that the pool holds at their full length"""


def crowd(users: int, prefix_caching: bool) -> dict[str, Any]:
    """The summary of a run in which so many users ask again half a second after each answer."""
    blocks = ROOM * (PROMPT + OUTPUT) // 16
    scenario = {
        "memory": {"blocks": 1 + blocks, "prefix_caching": prefix_caching},
        "scheduler": {"max_num_seqs": 1024, "max_model_len": 4096},
        "timing": {"model": "linear", "step": 0.008, "per_token": 5e-5, "per_context_token": 6e-8},
        "workload": {
            "requests": REQUESTS,
            "arrivals": {
                "process": "closed-loop",
                "users": users,
                "think": {"distribution": "exponential", "mean": 0.5},
            },
            "prompt": {"distribution": "uniform", "min": PROMPT - 64, "max": PROMPT + 64},
            "output": {"distribution": "uniform", "min": OUTPUT - 64, "max": OUTPUT + 64},
        },
    }
    return simulate(Scenario.model_validate(scenario)).summary


@pytest.mark.parametrize("prefix_caching", [False, True])
def test_a_crowd_saturates_the_server(prefix_caching: bool) -> None:
    runs = {users: crowd(users, prefix_caching) for users in USERS}
    rate = {users: run["throughput"]["requests_per_s"] for users, run in runs.items()}
    assert all(run["requests"]["finished"] == REQUESTS for run in runs.values())
    assert rate[16] * 2 < rate[64] < rate[256], "up to the room that there is, more users mean more throughput"
    assert rate[1024] == pytest.approx(rate[256], rel=0.02), "beyond it they only wait"

    for users, run in runs.items():
        waste = run["tokens"]["scheduled"] / (run["tokens"]["prompt"] + run["tokens"]["output"])
        assert waste < 1.25, f"{users} users: tokens computed again and again"
        assert run["preemptions"] < REQUESTS / 2
    assert runs[1024]["preemptions"] < 1.2 * runs[256]["preemptions"], "a longer queue disturbs nobody who runs"
    assert runs[1024]["steps"] < 1.05 * runs[256]["steps"]

"""Four clients share a server, and one of them asks for more than half of all: who waits, in turn and with fairness?

    python examples/fair_clients.py

A client is the category of a request.
"""

import polars as pl

from simcore import Scenario, simulate

CHANGES = ["workload.clients=4", "workload.client_zipf=1.5"]


def waits(policy: str) -> pl.DataFrame:
    """For each client its requests, and the mean time to the first token in s."""
    requests = simulate(Scenario.preset("overload", [*CHANGES, f"scheduler.policy={policy}"])).requests
    return requests.group_by(client="category").agg(pl.len().alias("requests"), pl.col("ttft").mean().alias(policy))


print(waits("fcfs").join(waits("fair"), on=["client", "requests"]).sort("client"))

"""Four clients share a server, and one of them asks for more than half of all: who waits, in turn and with fairness?

    python examples/fair_clients.py

A client is the category of a request, which `Simulation.workload` keeps in the order of `Results.requests`.
"""

import polars as pl

from simcore import Scenario, Simulation

CHANGES = ["workload.clients=4", "workload.client_zipf=1.5"]


def waits(policy: str) -> pl.DataFrame:
    """For each client its requests, and the mean time to the first token in s."""
    simulation = Simulation(Scenario.preset("overload", [*CHANGES, f"scheduler.policy={policy}"]))
    clients = pl.Series("client", simulation.workload.category)
    requests = simulation.run().requests.with_columns(clients)
    return requests.group_by("client").agg(pl.len().alias("requests"), pl.col("ttft").mean().alias(policy))


print(waits("fcfs").join(waits("fair"), on=["client", "requests"]).sort("client"))

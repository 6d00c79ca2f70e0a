"""Run a scenario that comes with the product, and look at what came of it.

python examples/first_run.py
"""

import json

import polars as pl

from simcore import Scenario, simulate

scenario = Scenario.preset("default", ["workload.requests=300"])
results = simulate(scenario)

print(json.dumps(results.summary, indent=2))

# A row a request: whom did the short memory hurt most?
unlucky = results.requests.sort("preemptions", "ttft", descending=True).head(5)
print(unlucky.select("id", "prompt_len", "output_len", "hit_tokens", "preemptions", "ttft", "e2e"))

# A row a step: how full was the pool, second by second?
by_second = results.timeline.group_by(pl.col("t").floor().alias("second"), maintain_order=True)
print(by_second.agg(pl.max("running", "waiting", "blocks_used"), pl.sum("preemptions", "evictions")))

"""Run the default scenario, and look at what came of it.

python examples/first_run.py
"""

import json

import polars as pl

from simcore import Scenario, simulate

results = simulate(Scenario.preset("default", ["workload.requests=300"]))

print("The summary:")
print(json.dumps(results.summary, indent=2))

print("\nWhom the short memory hurt most, of a table with a row for each request:")
hurt = results.requests.sort("preemptions", "queue", descending=True).head(5)
print(hurt.select("id", "prompt_len", "output_len", "hit_tokens", "preemptions", "queue", "ttft"))

print("\nThe pool second by second, of a table with a row for each step:")
seconds = results.timeline.group_by(pl.col("t").floor().alias("second"), maintain_order=True)
print(seconds.agg(pl.max("running", "waiting", "blocks_used"), pl.sum("hit_tokens", "evictions", "preemptions")))

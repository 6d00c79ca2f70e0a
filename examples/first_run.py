"""A first run from Python: simulate a scenario and look at its results as polars frames.

python examples/first_run.py
"""

import polars as pl

from simcore import Scenario, simulate

results = simulate(Scenario.preset("default", ["workload.requests=300"]))

print(f"p99 to the first token: {results.summary['ttft']['p99']:.3f} s, {results.summary['preemptions']} preemptions")

print("\nThe requests that waited longest:")
print(
    results.requests.sort("queue", descending=True).select("id", "prompt_len", "queue", "ttft", "preemptions").head(5)
)

print("\nThe pool, second by second (means over the steps that began in it):")
seconds = results.timeline.group_by(pl.col("t").floor().alias("second"), maintain_order=True)
print(seconds.agg(pl.col("running", "waiting", "blocks_used", "blocks_cached").mean().round(1)).head(10))

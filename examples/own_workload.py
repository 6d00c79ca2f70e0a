"""A workload made by hand: columns of requests, and names for the tokens that they have in common.

python examples/own_workload.py

Three teams send documents to the same assistant. Each team has instructions of its own, 640 tokens, which all its
prompts begin with; what follows is different each time.
"""

import numpy as np

from simcore import Scenario, Workload, simulate
from simcore.workload.columns import Runs

REQUESTS, TEAMS, INSTRUCTIONS = 240, 3, 640
rng = np.random.default_rng(1)

workload = Workload(
    format="three teams",
    arrival=np.sort(rng.uniform(0, 60, REQUESTS)),
    prompt_len=INSTRUCTIONS + rng.integers(50, 1500, REQUESTS),
    output_len=rng.integers(20, 200, REQUESTS),
    runs=Runs(  # one run for each request: the first 640 tokens of its team's instructions
        offsets=np.arange(REQUESTS + 1),
        source=1 + rng.integers(0, TEAMS, REQUESTS),
        length=np.full(REQUESTS, INSTRUCTIONS),
    ),
)

for caching in ("false", "true"):
    scenario = Scenario.preset("default", [f"memory.prefix_caching={caching}", "memory.blocks=2000"])
    summary = simulate(scenario, workload=workload).summary
    print(
        f"prefix caching {caching:>5}: {summary['tokens']['scheduled']:,} tokens computed, "
        f"{summary['hits']['hit_tokens']:,} hit, mean TTFT {1000 * summary['ttft']['mean']:.1f} ms"
    )

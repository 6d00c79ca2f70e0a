"""A workload made by hand: columns of requests, and names for the tokens that they have in common.

python examples/own_workload.py

Three teams send documents to the same assistant. Each team has instructions of its own, 640 tokens, which all its
prompts begin with; what follows is different each time. The workload is also written in the native format, a line a
request, which `kvscope simulate --trace FILE` plays.
"""

import tempfile
from pathlib import Path

import numpy as np

from simcore import Scenario, Workload, simulate
from simcore.workload.columns import Runs
from simcore.workload.native import write_native

REQUESTS, TEAMS, INSTRUCTIONS = 240, 3, 640
rng = np.random.default_rng(1)

workload = Workload(
    format="three teams",
    arrival=np.sort(rng.uniform(0, 60, REQUESTS)),
    prompt_len=INSTRUCTIONS + rng.integers(50, 1200, REQUESTS),
    output_len=rng.integers(20, 200, REQUESTS),
    runs=Runs(  # one run for each request: the first 640 tokens of its team's instructions
        offsets=np.arange(REQUESTS + 1),
        source=1 + rng.integers(0, TEAMS, REQUESTS),  # equal sources, equal tokens
        length=np.full(REQUESTS, INSTRUCTIONS),
    ),
)

for caching in ("false", "true"):
    server = Scenario.preset("default", ["memory.blocks=2000", f"memory.prefix_caching={caching}"])
    results = simulate(server, workload=workload)
    tokens, hits, ttft = (results.summary[key] for key in ("tokens", "hits", "ttft"))
    print(f"prefix caching {caching:>5}: {tokens['scheduled']:,} tokens computed, {hits['hit_tokens']:,} hit, ", end="")
    print(f"mean TTFT {1000 * ttft['mean']:.1f} ms")

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder, "teams.jsonl")
    write_native(workload, file)
    print("As a file, its first line:", file.read_text(encoding="utf-8").splitlines()[0])
    played = simulate(Scenario.preset("default", ["memory.blocks=2000", f"workload.trace='{file}'"]))
    print("Its results are the same:", played.summary == results.summary)

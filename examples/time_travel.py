"""Who holds which block at a step? Every change of a block is in the journal, so any moment can be rebuilt.

python examples/time_travel.py [STEP]
"""

import sys
from collections import Counter, defaultdict

import polars as pl

from simcore import Scenario, simulate


def holders_at(blocks: pl.DataFrame, step: int) -> dict[int, Counter[str]]:
    """The requests that hold each block when `step` has been scheduled."""
    holders: defaultdict[int, Counter[str]] = defaultdict(Counter)
    until = blocks.filter((pl.col("step") < step) | ((pl.col("step") == step) & (pl.col("event") != "free")))
    for event, block, request in until.select("event", "block", "request").iter_rows():
        if event in ("allocate", "hit"):
            holders[block][request] += 1
        elif event == "free":
            holders[block][request] -= 1
    return {block: +held for block, held in holders.items() if +held}


results = simulate(Scenario.preset("default", ["workload.requests=300"]), journal=True)
busiest = results.timeline.sort("blocks_used", descending=True).row(0, named=True)
step = int(sys.argv[1]) if len(sys.argv) > 1 else busiest["step"]

held = holders_at(results.blocks, step)
by_request = Counter(request for owners in held.values() for request in owners)
shared = sum(len(owners) > 1 for owners in held.values())
print(
    f"step {step} at {results.timeline['t'][step]:.3f} s: {len(held)} blocks held, {shared} of them by several requests"
)
for request, count in by_request.most_common():
    print(f"  {request:>6} {'#' * (count // 4)} {count}")

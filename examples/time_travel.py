"""Go back to any step of a run and see who held which blocks.

    python examples/time_travel.py [STEP]

With `journal=True` every change of a block is kept (`kvscope simulate --blocks` writes it to blocks.parquet), so the
state at any time is a matter of counting. Without STEP it is the one in which most blocks were shared.
"""

import sys

import polars as pl

from simcore import Scenario, simulate

results = simulate(Scenario.preset("default", ["workload.requests=60", "workload.arrivals.rate=8.0"]), journal=True)
blocks, timeline = results.blocks, results.timeline


def holdings(step: int) -> pl.DataFrame:
    """A row for each block and each request that held it while a step ran."""
    start = timeline["t"][step]
    taken, left = pl.col("event").is_in(["allocate", "hit"]), pl.col("event") == "free"
    return (
        blocks.filter((pl.col("step") <= step) & (pl.col("t") <= start))  # what ended with the step came later
        .group_by("block", "request")
        .agg(times=taken.sum().cast(int) - left.sum().cast(int))
        .filter(pl.col("times") > 0)
        .select("block", "request")
    )


most_shared = blocks.filter(pl.col("refs") == blocks["refs"].max())["step"][0]
step = int(sys.argv[1]) if len(sys.argv) > 1 else most_shared
held = holdings(step)
shared = held.group_by("block").len().filter(pl.col("len") > 1)["block"].implode()

state = timeline.row(step, named=True)
print(
    f"Step {step}, at {state['t']:.3f} s: {held['block'].n_unique()} of {state['blocks_used']} used blocks are held by"
)
print(
    held.group_by("request")
    .agg(blocks=pl.len(), shared=pl.col("block").is_in(shared).sum(), first=pl.col("block").sort().head(4))
    .sort("shared", "blocks", descending=True)
)

block: int = blocks.filter(pl.col("step") == step, pl.col("event") == "hit")["block"].append(held["block"])[0]
print(f"The life of block {block}:")
print(blocks.filter(pl.col("block") == block).select("step", "t", "event", "request", "refs").head(12))

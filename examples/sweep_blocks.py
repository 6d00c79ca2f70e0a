"""How many blocks are enough? Pools of several sizes under the same requests, over several seeds.

python examples/sweep_blocks.py

Every size meets the same requests for each seed (common random numbers), so differences between sizes are taken seed by
seed; their intervals are much narrower than those of the latencies themselves.
"""

import math
import statistics

from simcore import Scenario, simulate

SIZES = (300, 400, 600, 1200)
SEEDS = range(6)
T_95 = 2.571  # Student's t for 6 - 1 degrees of freedom, two-sided


def interval(values: list[float]) -> str:
    """Mean and 95 % confidence interval."""
    half = T_95 * statistics.stdev(values) / math.sqrt(len(values))
    return f"{statistics.mean(values):7.3f} ± {half:.3f}"


def p99_ttft(blocks: int, seed: int) -> float:
    """Seconds to the first token that 99 % of the requests after the first 20 s keep."""
    chosen = [f"memory.blocks={blocks}", f"seed={seed}", "workload.requests=300", "metrics.warmup=20"]
    return float(simulate(Scenario.preset("default", chosen)).summary["ttft"]["p99"])


measured = {blocks: [p99_ttft(blocks, seed) for seed in SEEDS] for blocks in SIZES}
largest = measured[SIZES[-1]]
print("blocks   p99 TTFT in s      more than with the largest pool")
for blocks, values in measured.items():
    paired = [value - other for value, other in zip(values, largest, strict=True)]
    print(f"{blocks:6}  {interval(values)}   {interval(paired)}")

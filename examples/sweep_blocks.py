"""How large must the pool be? Throughput and first-token times against its size, with intervals of confidence.

    python examples/sweep_blocks.py

Every size meets the same requests for each seed (common random numbers), so the differences between sizes are taken
seed by seed; their intervals are narrower than those of the latencies themselves where the sizes differ little.
"""

from statistics import fmean, stdev

from simcore import Scenario, simulate

SIZES = (150, 250, 400, 800)
"""blocks"""
SEEDS = range(5)
STUDENT = 2.776
"""the 97.5 % quantile of Student's t with 4 degrees of freedom: one less than there are seeds"""


def measure(blocks: int, seed: int) -> tuple[float, float]:
    """Output tokens per second, and the 99th percentile of the time to the first token in s."""
    changes = [f"memory.blocks={blocks}", f"seed={seed}", "workload.requests=200", "workload.arrivals.rate=40.0"]
    summary = simulate(Scenario.preset("default", changes)).summary
    return summary["throughput"]["output_tokens_per_s"], summary["ttft"]["p99"]


def interval(samples: list[float]) -> str:
    """Mean and half-width of the 95 % confidence interval."""
    return f"{fmean(samples):9.3f} ±{STUDENT * stdev(samples) / len(samples) ** 0.5:7.3f}"


runs = {blocks: [measure(blocks, seed) for seed in SEEDS] for blocks in SIZES}
print(f"{'blocks':>6}  {'tokens/s':>18}  {'TTFT p99, s':>18}  {'above the largest, s':>20}")
for blocks, measured in runs.items():
    rates, ttfts = (list(column) for column in zip(*measured, strict=True))
    above = [ours - best for (_, ours), (_, best) in zip(measured, runs[SIZES[-1]], strict=True)]
    print(f"{blocks:>6}  {interval(rates)}  {interval(ttfts)}  {interval(above):>20}")

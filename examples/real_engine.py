"""Let a real model run the scheduler's steps, and hold the simulator to what it shows. Needs the extra `engine`.

python examples/real_engine.py
"""

from pathlib import Path

from engine.checkpoint import find, load
from engine.validate import validate
from simcore import Scenario

# Three samples of each prompt, in a pool that is too small for all at once: blocks are shared, copied and taken away.
scenario = Scenario.from_toml(
    """
    name = "three samples in a small pool"
    memory = { blocks = 40, block_size = 16 }
    timing = { model = "constant" }
    [scheduler]
    max_num_seqs = 12
    preemption = "swap"
    [workload]
    requests = 10
    samples = 3
    arrivals = { process = "poisson", rate = 5000 }
    prompt = { distribution = "uniform", min = 20, max = 120 }
    output = { distribution = "uniform", min = 20, max = 60 }
    """,
    Path(),
)
report = validate(scenario, load(find("small-gqa")))

for row in report.rows:
    print(f"{'ok' if row.ok else 'no':3} {row.check:60} {row.predicted:14,.0f} {row.measured:14,.0f} {row.unit}")
print("\nBytes of the cache at most, by the simulator and in the engine:")
for name in ("allocated", "stored", "wasted"):
    theory, reality = (int(report.steps[f"{side}_{name}"].max()) for side in ("theory", "reality"))
    print(f"{name:10} {theory:12,} {reality:12,}")
print("\nVerdict:", "they agree" if report.ok() else "they disagree")

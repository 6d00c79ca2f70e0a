"""Which eviction policy finds more in the cache? Three of them on the same conversations, five times.

    python examples/compare_policies.py

Every policy meets the same requests in each replication, so differences are taken replication by replication. With
several comparisons at once one of them may look real by chance; the verdict is corrected for that (Holm).
"""

from simcore import Scenario, compare

POLICIES = ["lru", "random", {"policy": "s3-fifo", "small": 0.2}]

scenario = Scenario.preset("chat", ["workload.requests=150", "memory.blocks=1500"])
comparison = compare(scenario, {"memory.eviction": POLICIES}, replications=5)

differences = {row["label"]: row for row in comparison.paired("hits.hit_share").to_dicts()}
for row in comparison.intervals("hits.hit_share").to_dicts():
    print(f"{row['label']:20} {row['mean']:6.1%} ± {row['high'] - row['mean']:5.1%} of the tokens hit", end="   ")
    found = differences.get(row["label"])
    if found is None:
        print("baseline")
    else:
        needed = f" ({found['needed']} would)" if found["needed"] else ""
        print(f"{found['difference']:+6.1%} ± {found['high'] - found['difference']:5.1%}   {found['verdict']}{needed}")

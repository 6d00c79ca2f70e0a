"""Every combination of keys either runs, and adds up, or is refused in a sentence that names a key."""

import re
from random import Random

import pytest

from simcore import InputError, Scenario, simulate
from simcore.policies.families import FAMILIES

PRESETS = ("chat", "default", "parallel-samples", "agents", "beam-search", "orca", "tiers", "swapping")
HOST = "{ name = 'host', blocks = 50, bandwidth = 1e9 }"
SMALL_HOST = "{ name = 'host', blocks = 5, bandwidth = 1e9, fetch = 'overlapped', offload = 'on-write' }"
DISK = "{ name = 'disk', blocks = 500, bandwidth = 1e8, latency = 0.01, eviction = 'arc' }"
VALUES = {
    "memory.blocks": (0.9, ("60", "150", "300", "900")),
    "memory.eviction": (0.7, tuple(FAMILIES["memory.eviction"])),
    "memory.admission": (0.3, tuple(FAMILIES["memory.admission"])),
    "memory.structure": (0.3, ("hash", "radix")),
    "memory.allocator": (
        0.15,
        (
            "paged",
            "contiguous",
            "virtual",
            "growing",
            "{ policy = 'contiguous', reserve = 'pow2', placement = 'first-fit' }",
            "{ policy = 'virtual', page = 64 }",
        ),
    ),
    "memory.prefix_caching": (0.15, ("false",)),
    "memory.tiers": (0.2, ("[]", f"[{HOST}]", f"[{SMALL_HOST}, {DISK}]")),
    "memory.prefix_retention": (0.1, ("0", "64")),
    "model.preset": (0.15, ("gpt-oss",)),
    "pruning.policy": (0.2, tuple(FAMILIES["pruning.policy"])),
    "pruning.budget": (0.2, ("100", "16", "1")),
    "pruning.keep": (0.1, ("0.5",)),
    "pruning.during": (0.1, ("outputs",)),
    "scheduler.policy": (0.4, tuple(FAMILIES["scheduler.policy"])),
    "scheduler.victim": (0.4, tuple(FAMILIES["scheduler.victim"])),
    "scheduler.batching": (0.3, ("continuous", "prefill-first", "static")),
    "scheduler.preemption": (0.3, ("recompute", "swap", "cheaper")),
    "scheduler.async_scheduling": (0.2, ("true",)),
    "scheduler.max_steps": (0.2, ("3000",)),
    "workload.samples": (0.2, ("1", "2", "4")),
    "workload.beam_switch": (0.15, ("0.2",)),
    "workload.clients": (0.2, ("1", "3")),
    "workload.arrivals.rate": (0.3, ("50",)),
}


def draw(rng: Random) -> tuple[str, list[str]]:
    preset = rng.choice(PRESETS)
    chosen = [f"{key}={rng.choice(values)}" for key, (chance, values) in VALUES.items() if rng.random() < chance]
    if preset == "orca":  # its pool is in bytes
        chosen = [override for override in chosen if not override.startswith("memory.blocks")]
    requests = rng.choice((5, 15, 30))
    return preset, [f"workload.requests={requests}", f"seed={rng.randrange(100)}", "hardware.preset=h100", *chosen]


@pytest.mark.parametrize("seed", range(8))
def test_a_combination_runs_and_adds_up_or_is_refused(seed: int) -> None:
    rng, ran = Random(seed), 0
    refusals: list[str] = []
    for _ in range(40):
        preset, overrides = draw(rng)
        try:
            scenario = Scenario.preset(preset, overrides)
            results = simulate(scenario)
        except InputError as error:
            refusals.append(str(error))
            continue
        ran += 1
        requests, timeline = results.summary["requests"], results.timeline
        assert requests["finished"] + requests["rejected"] + requests["unfinished"] == requests["total"]
        assert scenario.scheduler.max_steps or not requests["unfinished"], (preset, overrides)
        levels = [name for name in timeline.columns if name.startswith(("blocks_", "tokens_"))]
        assert all((timeline[name] >= 0).all() for name in levels), (preset, overrides)
        pool = timeline["blocks_used"] + timeline["blocks_cached"] + timeline["blocks_free"]
        assert pool.n_unique() <= 1, (preset, overrides)
        assert simulate(scenario).summary == results.summary, (preset, overrides)
    assert ran >= 8
    assert all(re.search(r"(memory|scheduler|workload|model|pruning)\b", refusal) for refusal in refusals), refusals

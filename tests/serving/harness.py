"""What the tests of the scheduler share: to play a configuration of the reference, and to compare steps."""

import json
from dataclasses import asdict
from io import StringIO
from itertools import groupby
from pathlib import Path
from typing import Any

import tomli_w

from simcore import Results, Scenario, Simulation
from tests.serving.reference import Config

Step = dict[str, Any]

FIELDS = (
    "i", "t", "dt", "sched", "new", "resumed", "preempted", "hits", "evicted", "free_sched", "blocks", "evicted_ids",
    "finished", "free", "used", "freeq_crc", "stall",
)  # fmt: skip
"""What is recorded of a step."""


def scenario_text(config: Config, trace: Path) -> str:
    """The scenario's TOML for a configuration of the reference."""
    options = asdict(config)
    windows = options.pop("groups")  # equal ones stand together, and some window stands alone: see Model.table_layers
    groups = [{"layers": len(list(alike)), "window": window} for window, alike in groupby(windows)]
    interval = options.pop("retention_interval")

    def table(*names: str) -> dict[str, Any]:
        return {name: options.pop(name) for name in names}

    tables = {
        "model": {
            "layers": len(windows),
            "query_heads": 1,
            "kv_heads": 1,
            "head_dim": 64,
            "dtype": "float16",
            "layer_groups": groups,
        },
        "memory": table("blocks", "block_size", "prefix_caching")
        | {"eviction": "lru", "prefix_retention": -1 if interval is None else interval},
        "timing": table("step", "per_token", "per_context_token") | {"model": "linear"},
        "workload": {"trace": str(trace), "format": "kvscope"},
    }
    return tomli_w.dumps(tables | {"scheduler": options})


def scenario_of(config: Config, trace: Path) -> Scenario:
    return Scenario.from_toml(scenario_text(config, trace), trace.parent)


def play(scenario: Scenario) -> tuple[list[Step], Results]:
    """A run with every step logged and every change of a block kept."""
    log = StringIO()
    results = Simulation(scenario, journal=True, step_log=log).run()
    return [json.loads(line) for line in log.getvalue().splitlines()], results


def first_difference(ours: list[Step], theirs: list[Step]) -> str | None:
    """Between two lists of steps, in every field that `theirs` have: vLLM's recorder left the queue out of a stall."""
    for found, expected in zip(ours, theirs, strict=False):
        found, expected = {"stall": False} | found, {"stall": False} | expected
        for field in FIELDS:
            if field in expected and found.get(field) != expected[field]:
                return f"step {expected['i']}: {field} is {found.get(field)!r}, and should be {expected[field]!r}"
    return None if len(ours) == len(theirs) else f"{len(ours)} steps, and should be {len(theirs)}"

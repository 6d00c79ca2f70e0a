"""Recorded runs of vLLM 0.33.0's scheduler with Mamba's states, beside attention and alone: all steps are equal."""

import gzip
import json
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore import Scenario, Simulation, Workload, simulate
from tests.serving.harness import first_difference
from tests.theory.random_runs import SHAPE, layer_of

CASES = Path(__file__).parents[1] / "data" / "vllm_states"
RENAMED = {"reserve_full_isl": "reserve_full_prompt"}


@pytest.mark.parametrize(
    ("name", "preemptions"), [("hybrid", 8), ("in_flight", 7), ("states_alone", 0), ("window", 16)]
)
def test_the_simulator_does_what_vllm_did(name: str, preemptions: int) -> None:
    case: dict[str, Any] = json.loads(gzip.decompress((CASES / f"{name}.json.gz").read_bytes()))
    options = {RENAMED.get(key, key): value for key, value in case["config"].items()}
    tables = case["tables"]
    scenario = Scenario.model_validate(
        {
            "model": {"layers": len(tables), "layer_groups": [layer_of(window) for window in tables], **SHAPE},
            "memory": {key: options.pop(key) for key in ("blocks", "block_size")} | {"prefix_caching": False},
            "timing": case["time"] | {"model": "linear"},
            "scheduler": options,
        }
    )
    arrival, prompt_len, output_len = zip(*(request.values() for request in case["requests"]), strict=True)
    workload = Workload("kvscope", np.array(arrival), np.array(prompt_len), np.array(output_len))
    log = StringIO()
    results = Simulation(scenario, workload=workload, step_log=log).run()
    steps = [json.loads(line) for line in log.getvalue().splitlines()]
    difference = first_difference(steps, case["steps"])
    assert difference is None
    assert results.summary["preemptions"] == preemptions
    assert min(step["free"] for step in steps) == 0, "there was not enough for all"
    unlogged = simulate(scenario, workload=workload)  # it takes short cuts that a log would show
    assert unlogged.summary == results.summary
    assert unlogged.timeline.equals(results.timeline.select(unlogged.timeline.columns)), "a journal adds columns"

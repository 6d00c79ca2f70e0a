"""The simulator and the reference side by side: the same configuration, the same requests, every step compared."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

from simcore import Results, Scenario, Simulation
from tests.serving.reference import Config

Step = dict[str, Any]

LOGGED = (
    "i", "t", "dt", "sched", "new", "resumed", "preempted", "hits", "evicted", "free_sched", "blocks", "evicted_ids",
    "finished", "free", "used", "freeq_crc",
)  # fmt: skip
"""The fields of a recorded step, beside `stall`."""


def scenario_of(config: Config, trace: Path) -> Scenario:
    """What a person would write down for a configuration of the reference."""

    def flag(value: bool) -> str:
        return str(value).lower()

    return Scenario.from_toml(
        f"""
        [model]
        layers = 1
        query_heads = 1
        kv_heads = 1
        head_dim = 64
        dtype = "float16"

        [memory]
        blocks = {config.blocks}
        block_size = {config.block_size}
        prefix_caching = {flag(config.prefix_caching)}
        eviction = "lru"

        [scheduler]
        policy = "{config.policy}"
        max_num_seqs = {config.max_num_seqs}
        max_num_batched_tokens = {config.max_num_batched_tokens}
        max_model_len = {config.max_model_len}
        chunked_prefill = {flag(config.chunked_prefill)}
        long_prefill_token_threshold = {config.long_prefill_token_threshold}
        watermark = {config.watermark}
        reserve_full_prompt = {flag(config.reserve_full_prompt)}
        never_fits = "{config.never_fits}"
        max_steps = {config.max_steps}

        [timing]
        model = "linear"
        step = {config.step!r}
        per_token = {config.per_token!r}
        per_context_token = {config.per_context_token!r}

        [workload]
        trace = {json.dumps(str(trace))}
        format = "kvscope"
        """,
        Path(),
    )


def write_workload(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


def play(scenario: Scenario) -> tuple[list[Step], Results]:
    """A run with every step logged and every change of a block kept."""
    log = StringIO()
    results = Simulation(scenario, journal=True, step_log=log).run()
    return [json.loads(line) for line in log.getvalue().splitlines()], results


def first_difference(ours: list[Step], theirs: list[Step]) -> str | None:
    """Between two lists of steps, in every logged field."""
    for i, (a, b) in enumerate(zip(ours, theirs, strict=False)):
        for field in (*LOGGED, "stall"):
            if a.get(field) != b.get(field):
                return f"step {i}: {field} is {a.get(field)!r}, and should be {b.get(field)!r}"
    return None if len(ours) == len(theirs) else f"{len(ours)} steps, and should be {len(theirs)}"

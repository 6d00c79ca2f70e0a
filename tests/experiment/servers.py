"""Servers whose coefficients are known: simulations, written as vLLM's benchmark and metrics would have it."""

import json
from pathlib import Path

import numpy as np

from simcore import Results, Scenario, simulate
from simcore.record.metrics import latencies
from simcore.scenario.calibration import Calibration
from simcore.ticks import TICKS_PER_SECOND
from simcore.timing import CalibratedTimer, Chunks

TRUE = Calibration(
    model="m",
    device="d",
    block_size=16,
    tokens=[1, 512, 4096],
    seconds=[0.012, 0.02222, 0.23726],
    per_row=2e-5,
    per_decode_key=6e-8,
    per_pair=2e-9,
)
"""12 ms a step, 20 us a token up to 512 and 60 us beyond."""

STEPS = [
    (1, 1, 500, 500, Chunks(0, 0, 0)),
    (16, 16, 9_000, 9_000, Chunks(0, 0, 0)),
    (50, 50, 30_000, 30_000, Chunks(0, 0, 0)),
    (1, 600, 600, 180_300, Chunks(1, 600, 600)),
    (21, 1_020, 13_000, 512_000, Chunks(1, 1_000, 1_000)),
]
"""Steps as the load has them: decoding, a prompt, both."""


def scenario(*overrides: str, requests: int = 300) -> Scenario:
    text = """
    [model]
    preset = "llama-3-8b"
    [hardware]
    preset = "h100"
    [workload]
    arrivals = { process = "poisson", rate = 6.0 }
    prompt = { distribution = "lognormal", mean = 600, cv = 1.0, max = 4000 }
    output = { distribution = "lognormal", mean = 150, cv = 0.8, max = 1000 }
    """
    return Scenario.from_toml(text, Path(), [f"workload.requests={requests}", *overrides])


def serve(setting: Scenario) -> Results:
    return simulate(setting, timer=CalibratedTimer(TRUE))


def token_times(results: Results) -> list[np.ndarray]:
    """When each token of each request was there, in s."""
    steps = results.record.steps
    ends = (steps["t"] + steps["dt"]) / TICKS_PER_SECOND
    pieces: list[list[np.ndarray]] = [[] for _ in range(len(results.workload))]
    for row, _, first, count in results.record.streaks.tolist():
        pieces[row].append(ends[first : first + count])
    return [np.sort(np.concatenate(parts)) for parts in pieces]


def write_benchmark(results: Results, path: Path, *, jitter: float = 0.0, delay: float = 0.0, seed: int = 0) -> Path:
    """A result of `vllm bench serve`; each token is late by `delay` and by about `jitter`, in s."""
    rng = np.random.default_rng(seed)
    arrival = results.record.requests["arrival"] / TICKS_PER_SECOND
    ttfts, itls = [], []
    for row, times in enumerate(token_times(results)):
        late = np.maximum.accumulate(times + delay + rng.exponential(jitter, len(times)))
        ttfts.append(float(late[0] - arrival[row]))
        itls.append(np.diff(late).tolist())
    document = {
        "backend": "vllm",
        "request_rate": 6.0,
        "completed": len(ttfts),
        "input_lens": results.workload.prompt_len.tolist(),
        "output_lens": results.workload.output_len.tolist(),
        "ttfts": ttfts,
        "itls": itls,
        "start_times": (arrival + 5_000.25).tolist(),
        "errors": [""] * len(ttfts),
    }
    path.write_text(json.dumps(document))
    return path


def write_metrics(results: Results, path: Path) -> Path:
    """A scrape of the server's /metrics."""
    times = latencies(results.record)
    hits, lines = results.summary["hits"], []
    for name, seconds in (("time_to_first_token", times.ttft), ("e2e_request_latency", times.e2e)):
        metric = f"vllm:{name}_seconds"
        lines += [f"# HELP {metric} Histogram of it.", f"# TYPE {metric} histogram"]
        for bound in (0.01, 0.02, 0.04, 0.08, 0.25, 1.0, 5.0, 30.0, float("inf")):
            label = "+Inf" if bound == float("inf") else str(bound)
            lines.append(f'{metric}_bucket{{engine="0",le="{label}",model_name="m"}} {float((seconds <= bound).sum())}')
        lines.append(f'{metric}_count{{engine="0",model_name="m"}} {len(seconds)}')
        lines.append(f'{metric}_sum{{engine="0",model_name="m"}} {seconds.sum()}')
    lines += [
        f'vllm:prefix_cache_queries_total{{engine="0"}} {hits["query_tokens"]}',
        f'vllm:prefix_cache_hits_total{{engine="0"}} {hits["hit_tokens"]}',
        f'vllm:num_preemptions_total{{engine="0"}} {results.summary["preemptions"]}',
        'vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="True",'
        f'gpu_memory_utilization="0.9",num_gpu_blocks="{results.blocks_in_pool}",num_gpu_blocks_override="None"}} 1.0',
        "process_start_time_seconds 1.7e+09",
    ]
    path.write_text("\n".join(lines) + "\n")
    return path

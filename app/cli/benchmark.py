"""`kvscope benchmark`: what the simulator and the engine cost, measured here and now."""

import json
import math
import platform
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.benchmark_desktop import desktop
from app.cli.benchmark_engine import engine
from app.cli.options import AsJson
from app.cli.output import print_json
from app.cli.paths import path_of
from app.cli.policies import Policies, load_policies
from engine.rss import peak_rss
from simcore.errors import InputError

app = typer.Typer()

LLAMA_3_8B_ON_A100 = (
    'timing={ model = "linear", step = 0.0079, per_token = 51e-6, per_context_token = 6.4e-8 }',
    "memory.block_size=16",
    "scheduler.max_num_seqs=128",
    "scheduler.max_num_batched_tokens=4096",
    "scheduler.max_model_len=16384",
)
"""A linear step time about that of Llama 3 8B on one A100-80GB."""

LIKE_AZURE_CONVERSATION = (
    "workload={ requests = 12337, arrivals = { process = 'poisson', rate = 5.8744 }, "
    "prompt = { distribution = 'lognormal', mean = 1246, cv = 0.97, max = 14050 }, "
    "output = { distribution = 'lognormal', mean = 204, cv = 0.81, max = 1000 } }",
)
"""Drawn with the rate, means and spreads of the Azure 2023 conversation trace's first 2,100 s."""

UNDER_PRESSURE = (
    *LLAMA_3_8B_ON_A100,
    "workload={ requests = 1500, arrivals = { process = 'poisson', rate = 2 }, conversations = {} }",
    "memory.blocks=8000",
)
"""Conversations whose prefixes do not all find room."""

STUDIED = 100_000
"""Contents of a cache study."""

Trace = Annotated[
    Path | None,
    typer.Option(
        parser=path_of, help="Play this trace; without it requests like those of Azure's conversations are drawn."
    ),
]
Runs = Annotated[int, typer.Option(min=1, max=100, help="How often each is measured; the median counts.")]


@app.callback()
def benchmark() -> None:
    """Measure what the program costs on this machine."""


@app.command()
def simulate(trace: Trace = None, runs: Runs = 3, as_json: AsJson = False) -> None:
    """Speed of single-stepping with the recorder on, per CPU second, with the prefix cache off and on."""
    rows = []
    for caching in ("false", "true"):
        measured = _measure((*_workload(trace), "memory.blocks=30208", f"memory.prefix_caching={caching}"), runs)
        name = f"prefix caching {'on' if caching == 'true' else 'off'}"
        rows += [
            _row(f"{what}, {name}", f"{what}/CPU s", measured[what] / measured["cpu_s"], measured, runs)
            for what in ("requests", "steps", "rows", "tokens")
        ]
    _print(rows, as_json)


@app.command()
def scaling(trace: Trace = None, runs: Runs = 3, as_json: AsJson = False) -> None:
    """How the cost grows: with the number of requests, and with the size of the pool at equal work."""
    base = (*_workload(trace), "memory.prefix_caching=false")
    whole = _measure((*base, "memory.blocks=30208"), runs)
    number = int(whole["requests"])
    key = "requests" if trace is None else "limit"
    half = _measure((*base, "memory.blocks=30208", f"workload.{key}={number // 2}"), runs)
    few, many = (
        _measure((*base, f"memory.blocks={blocks}", "scheduler.max_num_seqs=4"), runs) for blocks in (3_000, 300_000)
    )
    per_row = (whole["cpu_s"] / whole["rows"]) / (half["cpu_s"] / half["rows"])
    rows = [
        _row(f"cost of a row, {number:,} over {number // 2:,} requests", "ratio", per_row, whole, runs),
        _row("cost of a run, 300,000 over 3,000 blocks", "ratio", many["cpu_s"] / few["cpu_s"], many, runs),
    ]
    _print(rows, as_json)


@app.command()
def policies(
    names: Annotated[list[str] | None, typer.Argument(help="Which eviction policies; without it all.")] = None,
    files: Policies = None,
    runs: Runs = 3,
    as_json: AsJson = False,
) -> None:
    """What each eviction policy costs: accesses of a cache study, and a whole simulation next to one with LRU."""
    from simcore.policies.eviction import EVICTION
    from simcore.policies.families import discover

    load_policies(files, [])
    discover()
    chosen = names or list(EVICTION)
    if unknown := [name for name in chosen if EVICTION.canonical(name) not in EVICTION]:
        raise InputError(f'there is no eviction policy "{unknown[0]}"; there are {", ".join(EVICTION)}')
    rows = []
    for name in chosen:
        studied = [_study(EVICTION.canonical(name)) for _ in range(runs)]
        rows.append(
            _row(f"{name}, cache study", "accesses/CPU s", statistics.median(studied), {"peak_mib": math.nan}, runs)
        )
        ratios = []
        for _ in range(runs):
            lru, own = (_run((*UNDER_PRESSURE, f"memory.eviction={each}")) for each in ("lru", name))
            ratios.append((own["cpu_s"] / own["rows"]) / (lru["cpu_s"] / lru["rows"]))
        rows.append(
            _row(
                f"{name}, a row of a simulation over LRU's",
                "ratio",
                statistics.median(ratios),
                {"peak_mib": math.nan},
                runs,
            )
        )
    _print(rows, as_json)


def _study(name: str) -> float:
    """Accesses per CPU second of a Zipf stream, a tenth of whose contents fit."""
    import numpy as np

    from simcore.policies.eviction import EVICTION, Setting
    from simcore.policies.eviction.base import NEVER_AGAIN

    share = np.cumsum(1 / np.arange(1, STUDIED + 1))
    drawn = np.searchsorted(share / share[-1], np.random.default_rng(1).random(2 * STUDIED), side="right")
    accesses = (drawn + 1).tolist()
    following: dict[int, int] = {}
    next_uses = [NEVER_AGAIN] * len(accesses)
    for access in range(len(accesses) - 1, -1, -1):
        next_uses[access] = following.get(accesses[access], NEVER_AGAIN)
        following[accesses[access]] = access
    policy = EVICTION[name]()
    policy.begin(Setting(STUDIED // 10))
    begun = time.process_time()
    policy.replay(accesses, STUDIED // 10, next_uses)
    return len(accesses) / (time.process_time() - begun)


app.command()(engine)
app.command()(desktop)


def _workload(trace: Path | None) -> tuple[str, ...]:
    chosen = LIKE_AZURE_CONVERSATION if trace is None else (f"workload={{ trace = {json.dumps(str(trace))} }}",)
    return (*LLAMA_3_8B_ON_A100, *chosen)


def _measure(overrides: tuple[str, ...], runs: int) -> dict[str, float]:
    """The run with the median cost. Each has a process of its own, so that its peak of memory is its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        measured = [pool.submit(_run, overrides) for _ in range(runs)]
        try:
            results = [future.result() for future in measured]
        except KeyboardInterrupt:
            for process in active_children():  # otherwise it would be waited for
                process.kill()
            raise
        except BrokenProcessPool:
            raise InputError("the run that is measured was killed, perhaps for want of memory") from None
    return next(r for r in results if r["cpu_s"] == statistics.median_low([r["cpu_s"] for r in results]))


def _run(overrides: tuple[str, ...]) -> dict[str, float]:
    from simcore import Scenario, Simulation

    simulation = Simulation(Scenario.from_toml("", Path(), overrides))
    begun = time.process_time()
    results = simulation.run()
    spent = time.process_time() - begun
    steps = results.record.steps
    return {
        "requests": len(results.workload),
        "steps": len(steps["t"]),
        "rows": int(steps["running"].sum()),
        "tokens": int(steps["scheduled_tokens"].sum()),
        "cpu_s": spent,
        "peak_mib": peak_rss() / (1 << 20),
    }


def _row(name: str, unit: str, value: float, measured: dict[str, float], runs: int) -> dict[str, Any]:
    machine = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    peak = measured["peak_mib"]
    return {
        "name": name,
        "unit": unit,
        "value": round(value, 3 if unit == "ratio" else None),
        "peak_mib": None if peak != peak else round(peak, 1),
        "runs": runs,
        "machine": machine,
    }


def _print(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "value", "unit", "peak MiB")
    for row in rows:
        table.add_row(row["name"], f"{row['value']:,}", row["unit"], f"{row['peak_mib']:,}" if row["peak_mib"] else "-")
    Console().print(table)

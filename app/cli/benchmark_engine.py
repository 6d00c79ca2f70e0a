"""`kvscope benchmark engine`: decode attention in all its forms, and serving next to what others make of it."""

import math
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.engine import Device, needs_engine
from app.cli.options import AsJson
from app.cli.output import mention, print_json
from simcore.geometry import MIB

if TYPE_CHECKING:
    from engine.benchmark import Clock, Result

CLOCKS: "dict[Clock, str]" = {"wall": "s", "cpu": "CPU s"}
Row = dict[str, Any]


def engine(
    device: Device = "cpu",
    only: Annotated[
        Literal["attention", "serving"] | None, typer.Option(help="Measure this part; without it both.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, max=100, help="Rounds, in which all take turns; the median counts.")] = 5,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Of torch on the CPU.")] = 2,
    batched_tokens: Annotated[
        int | None, typer.Option(min=1, help="Tokens of a step at most, prompts and answers together.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Speed and memory of the engine: decode attention, and serving beside transformers where that is installed."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; two threads spin otherwise
    rows: list[Row] = []
    with needs_engine():
        if only != "serving":
            rows += _attention(device, runs, threads)
        if only != "attention":
            rows += _serving(device, runs, threads, batched_tokens, lambda sentence: mention(sentence, err=True))
    if as_json:
        print_json(rows)
    else:
        _print(rows)


def _attention(device: str, runs: int, threads: int) -> Iterator[Row]:
    import torch

    from engine.attention.benchmark import decode_attention_benchmark
    from engine.device import find_device

    torch.set_num_threads(threads)
    found = find_device(device)
    machine = torch.cuda.get_device_name(found) if found.type == "cuda" else f"{threads} threads"
    for row in decode_attention_benchmark(found, repeats=runs):
        load = row.load
        name = f"decode attention, {load.requests} x {load.context:,} tokens, {row.form}"
        yield _row(name, "us", [each * 1e6 for each in row.times.all], machine)
        yield _row(name, "% of copy", [100 * row.share], machine)


def _serving(
    device: str, runs: int, threads: int, batched_tokens: int | None, note: Callable[[str], None]
) -> Iterator[Row]:
    from app.cli.benchmark_peers import peers
    from engine.benchmark import CASES, KERNEL_BY_KERNEL, serving
    from engine.device import find_device

    kind = find_device(device).type
    shapes, load = CASES[kind]
    load = replace(load, batched_tokens=batched_tokens or load.batched_tokens)
    others = peers()
    if not others:
        note("transformers is not installed: the engine runs alone")
    if kind == "cuda":
        others = [KERNEL_BY_KERNEL, *others]
    for name, shape in shapes.items():
        note(
            f"{name}: {load.requests} requests, each {load.shortest}-{load.longest} tokens of prompt and "
            f"{load.output} of answer, {runs} rounds ..."
        )
        results = serving(shape, load, others, device=device, threads=threads, runs=runs, note=note)
        for result in results:
            note(f"{result.name} reads keys and values by way of: {result.way}")
            yield from _speed(name, result)
        for other in results[1:]:
            yield from _comparison(name, results[0], other)


def _speed(model: str, result: "Result") -> Iterator[Row]:
    """What a contender made of the load."""
    name, peak = f"{model}, {result.name}", result.peak / MIB
    for clock, unit in CLOCKS.items():
        yield _row(name, f"new tokens/{unit}", result.rates(clock), result.machine, peak)
    yield _row(name, f"MiB, {result.peak_tool}", [peak], result.machine, peak)
    if result.tensors is not None:
        yield _row(name, "MiB, storage tracking", [result.tensors / MIB], result.machine, peak)


def _comparison(model: str, ours: "Result", other: "Result") -> Iterator[Row]:
    """Round by round: whatever else the machine did, it did to both."""
    name = f"{model}, engine over {other.name}"
    for clock, unit in CLOCKS.items():
        rates = zip(ours.rates(clock), other.rates(clock), strict=True)
        yield _row(name, f"ratio by {unit}", [mine / theirs for mine, theirs in rates], ours.machine)
    answers = zip(ours.runs[0].answers, other.runs[0].answers, strict=True)
    alike = sum(mine == theirs for mine, theirs in answers)
    yield _row(name, "answers alike", [alike], ours.machine)


def _row(name: str, unit: str, values: Sequence[float], machine: str, peak_mib: float | None = None) -> Row:
    """The median of what was measured, and the least and the most."""
    import torch

    def rounded(value: float | None) -> float | None:
        if value is None or math.isnan(value):
            return None
        return round(value, 2 if value < 100 else 1 if value < 1000 else None)

    software = f"Python {platform.python_version()}, torch {torch.__version__}"
    return {
        "name": name,
        "unit": unit,
        "value": rounded(median(values)),
        "least": rounded(min(values)),
        "most": rounded(max(values)),
        "peak_mib": rounded(peak_mib),
        "runs": len(values),
        "machine": f"{platform.system()} {platform.machine()}, {software}, {machine}",
    }


def _print(rows: list[Row]) -> None:
    """A table for what has the same units: the medians, and between what they lie."""
    from rich.console import Console
    from rich.table import Table

    lines: dict[str, dict[str, Row]] = {}
    for row in rows:
        lines.setdefault(row["name"], {})[row["unit"]] = row
    console = Console()
    for _, group in groupby(lines, key=lambda name: next(iter(lines[name]))):
        names = list(group)
        units = list(dict.fromkeys(unit for name in names for unit in lines[name]))
        table = Table("")
        for unit in units:
            table.add_column(unit, justify="right")
        for name in names:
            table.add_row(name, *(_shown(lines[name].get(unit)) for unit in units))
        console.print(table)
    console.print(rows[0]["machine"], highlight=False)


def _shown(row: Row | None) -> str:
    if row is None or row["value"] is None:
        return "-"
    spread = f" ({row['least']:,}-{row['most']:,})" if row["runs"] > 1 else ""
    return f"{row['value']:,}{spread}"

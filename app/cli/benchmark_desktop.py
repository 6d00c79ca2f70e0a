"""`kvscope benchmark desktop`: frames of the window while a simulation runs at full speed.

The window lives in a process of its own: nothing here imports it.
"""

import json
import os
import subprocess
import sys
from typing import Annotated, Any

import typer

from app.cli.options import AsJson
from app.cli.output import print_json
from simcore.errors import InputError

_NAMES = (
    ("grid of 65,536 blocks, frames", "frames/s", "frames_per_s"),
    ("the same, cost of a frame, median", "CPU ms", "frame_ms_p50"),
    ("the same, cost of a frame, 99th percentile", "CPU ms", "frame_ms_p99"),
    ("the same, between two frames, 99th percentile", "ms", "interval_ms_p99"),
    ("answer to an input, median", "ms", "input_ms_p50"),
    ("answer to an input, 99th percentile", "ms", "input_ms_p99"),
    ("share of a processor that the window takes", "ratio", "window_cpu_share"),
    ("steps simulated meanwhile", "steps/s", "steps_per_s"),
)


def desktop(
    seconds: Annotated[float, typer.Option(min=1, max=600, help="How long is measured.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Frame times of the block grid, and how soon input is answered, while a run goes on at full speed."""
    measured = _measured(seconds)
    rows = [{"name": name, "unit": unit, "value": round(measured[key], 2)} for name, unit, key in _NAMES]
    if as_json:
        print_json(rows)
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("what", "value", "unit")
    for row in rows:
        table.add_row(str(row["name"]), f"{row['value']:,}", str(row["unit"]))
    Console().print(table)


def _measured(seconds: float) -> dict[str, Any]:
    environment = dict(os.environ)
    if sys.platform == "linux" and not (environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")):
        environment.setdefault("QT_QPA_PLATFORM", "offscreen")
    done = subprocess.run(
        [sys.executable, "-m", "app.desktop.benchmark", str(seconds)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
        raise InputError(f"the window that is measured has ended: {last}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found

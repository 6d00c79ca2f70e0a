"""`kvscope validate`: the simulator against a real engine, on one workload."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.engine import SHIPPED, CpuClock, Device, Dtype, Model, Threads, load_model, needs_engine
from app.cli.options import Force, Overrides, ResultsOut
from app.cli.output import mention, print_json
from app.cli.policies import Policies, load_policies
from app.cli.progress import Progress
from app.cli.simulate import load_scenario
from app.jobs.validation import FILES, write
from simcore.export.folder import OutputFolder

if TYPE_CHECKING:
    from engine.validate import Report

DISAGREES = 1
WIDE = 120
"""Columns of a table that goes to a file or another program."""


@needs_engine()
def validate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's TOML file, or the name of one that comes with the product.")
    ] = "default",
    model: Model = SHIPPED,
    device: Device = "cpu",
    dtype: Dtype = None,
    overrides: Overrides = None,
    policies: Policies = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Predict times by this calibration; without it one is measured now.")
    ] = None,
    no_time: Annotated[bool, typer.Option("--no-time", help="Predict no times, and measure no calibration.")] = False,
    strict_time: Annotated[bool, typer.Option("--strict-time", help="Let times decide the exit code too.")] = False,
    threads: Threads = 0,
    cpu_clock: CpuClock = False,
    out: ResultsOut = None,
    force: Force = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON and nothing else.")] = False,
) -> int:
    """Play a workload on the simulator and on a real model with paged memory, and compare all that both say."""
    loaded_scenario = load_scenario(scenario, load_policies(policies, list(overrides or ())))
    from engine.validate import validate as compare
    from engine.validate.calibrate import calibrate as measure
    from engine.validate.run import prepare
    from simcore.scenario.calibration import Calibration

    loaded, clock = load_model(model, device, dtype, threads, cpu_clock)
    name = f"validate-{loaded_scenario.name}"
    with OutputFolder(out, name, FILES, force=force) as folder:
        prepared = prepare(loaded_scenario, loaded)
        known = None
        if calibration is not None:
            known = Calibration.load(calibration)
        elif not no_time:
            if not as_json:
                mention("measuring steps to predict their times ...", err=True)
            known, _ = measure(
                loaded.model,
                name=loaded.folder.name,
                blocks=prepared.blocks,
                block_size=prepared.scenario.memory.block_size,
                max_rows=prepared.scenario.scheduler.max_num_seqs,
                max_tokens=prepared.scenario.scheduler.max_num_batched_tokens,
                max_model_len=prepared.scenario.max_model_len,
                clock=clock,
            )
        progress = Progress(quiet=as_json)
        with progress.shown(len(prepared.workload)):
            report = compare(prepared, loaded, known, clock=clock, observers=progress.observers)
        document = report.to_json(strict_time=strict_time)
        with folder.filled() as place:
            title = f"{loaded_scenario.name} on {loaded.folder.name}, {device}"
            write(place, report, prepared, known, title, strict_time=strict_time)
        written = folder.publish()
    if as_json:
        print_json(document)
    else:
        _print(report, strict_time)
        typer.echo(f"results in {written}")
    return 0 if report.ok(strict_time=strict_time) else DISAGREES


def _print(report: "Report", strict_time: bool) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from engine.validate.charts import number

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("check")
    for name in ("predicted", "measured"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("unit")
    for name in ("error", "bound"):
        table.add_column(name, justify="right", no_wrap=True)
    kind = ""
    for row in report.rows:
        if kind and row.kind != kind:
            table.add_section()
        kind = row.kind
        mark = "[green]ok[/]" if row.ok else "[red]no[/]" if row.kind != "time" or strict_time else "[yellow]off[/]"
        error, bound = (f"{x:.1%}" if row.kind == "time" else number(x) for x in (row.error, row.bound))
        table.add_row(mark, row.check, number(row.predicted), number(row.measured), row.unit, error, bound)
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = WIDE
    for note in report.notes:
        console.print(f"note: {note}", soft_wrap=True, markup=False)
    console.print(table)
    verdict = "they agree" if report.ok(strict_time=strict_time) else "they disagree"
    late = [row for row in report.rows if row.kind == "time" and not row.ok]
    if late and not strict_time:
        verdict += f"; {len(late)} predictions of time are off, which decides nothing without --strict-time"
    console.print(f"verdict: {verdict}", soft_wrap=True)

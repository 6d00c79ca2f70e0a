"""`kvscope simulate`: play a scenario and write its results."""

import json
import os
from contextlib import AbstractContextManager, ExitStack
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from app.cli.interrupts import interrupt, on_interrupt
from app.cli.options import Force, Overrides, PlayTrace, ResultsOut, SkipBadLines
from app.cli.output import complain, mention, print_json
from app.cli.paths import path_of
from app.cli.policies import Policies, load_policies
from app.cli.progress import Progress
from simcore import InputError, Results, Scenario, Simulation
from simcore.export.folder import FILES, ResultsFolder, replacing, standing, telling_of

STALLED = 3
INTERRUPTED = 130


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's TOML file, or the name of one that comes with the product.")
    ] = "default",
    trace: PlayTrace = None,
    skip_bad_lines: SkipBadLines = False,
    overrides: Overrides = None,
    policies: Policies = None,
    out: ResultsOut = None,
    force: Force = False,
    steps: Annotated[
        Path | None, typer.Option(parser=path_of, help="Log every step to this file, a JSON object a line.")
    ] = None,
    blocks: Annotated[bool, typer.Option("--blocks", help="Keep every change of a block: blocks.parquet.")] = False,
    perfetto: Annotated[
        bool, typer.Option("--perfetto", help="Write trace.perfetto.json, for https://ui.perfetto.dev.")
    ] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Write report.html: the run as one page, with charts.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> int:
    """Play the requests through the scheduler and the block pool, and write what happened."""
    chosen = load_policies(policies, list(overrides or ()))
    if trace is not None:
        chosen.append(f"workload.trace={json.dumps(str(trace))}")
    if skip_bad_lines:
        chosen.append("workload.skip_bad_lines=true")
    loaded = load_scenario(scenario, chosen)
    with ExitStack() as stack:
        if steps is not None:
            _check_log(steps, out, force)
            with telling_of(steps):
                stack.enter_context(standing(steps.parent))
        folder = stack.enter_context(ResultsFolder(out, loaded.name, force=force))
        log = None if steps is None else stack.enter_context(replacing(steps))
        progress = Progress(quiet=as_json)
        simulation = Simulation(loaded, journal=blocks, step_log=log, observers=progress.observers)
        if not as_json:
            mention(f"{loaded.name}: {len(simulation.workload):,} requests\n{simulation.pool}")
        for warning in simulation.pool.warnings:
            mention(f"warning: {warning}", err=True)
        with _stopped_by_interrupt(simulation):
            with progress.shown(len(simulation.workload)):
                results = simulation.run()
            place = folder.write(results, perfetto=perfetto, report=report)
    return _report(results, place, as_json)


def load_scenario(scenario: str, overrides: list[str]) -> Scenario:
    """A file by its path, or a preset by its name."""
    path = Path(scenario)
    if path.suffix == ".toml" or len(path.parts) > 1 or os.path.isfile(scenario):
        return Scenario.load(path, overrides)
    return Scenario.preset(scenario, overrides)


def _check_log(steps: Path, out: Path | None, force: bool) -> None:
    """Raises InputError for a file that is no earlier log: it may have been named by mistake."""
    if out is not None and os.path.realpath(steps) in {os.path.realpath(out / name) for name in ("", *FILES)}:
        raise InputError(f"{steps}: belongs to the results in {out}; choose another file for --steps")
    with telling_of(steps):
        if not force and steps.is_file():
            with steps.open("rb") as file:
                begins = file.read(4)
            if begins not in (b"", b'{"i"'):
                raise InputError(f"{steps}: is no log of steps; choose another file, or replace it with --force")


def _stopped_by_interrupt(simulation: Simulation) -> AbstractContextManager[None]:
    """The first Ctrl+C ends the run after the current step, and its results are written; the second ends all."""
    asked = count()
    return on_interrupt(lambda: interrupt() if next(asked) else simulation.stop())


def _report(results: Results, place: Path, as_json: bool) -> int:
    if as_json:
        print_json(results.summary)
    else:
        from app.cli.tables import print_summary

        print_summary(results)
        typer.echo(f"results in {place}")
    if results.interrupted:
        return INTERRUPTED
    if results.stalled:
        why = "the run could not end" + (" within 97 days, all that its clock holds" if results.out_of_time else "")
        left = results.unfinished
        named = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        complain(f"{why}; unfinished: {named}" if left else why)
        return STALLED
    return 0

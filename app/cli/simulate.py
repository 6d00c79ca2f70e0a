"""`kvscope simulate`: play a scenario and write its results."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer

from app.cli.progress import Progress
from simcore import Results, Scenario, Simulation
from simcore.export.folder import ResultsFolder, replacing

STALLED = 3
INTERRUPTED = 130


def simulate(
    scenario: Annotated[
        str, typer.Argument(help="A scenario's TOML file, or the name of one that comes with the product.")
    ] = "default",
    trace: Annotated[Path | None, typer.Option(help="Play this trace instead of the scenario's workload.")] = None,
    skip_bad_lines: Annotated[
        bool, typer.Option("--skip-bad-lines", help="Pass over and count the broken lines of the trace.")
    ] = False,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: memory.blocks=4096.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of results; without it results/NAME-1, -2, ...")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the results in a folder that is not empty.")] = False,
    steps: Annotated[Path | None, typer.Option(help="Log every step to this file, a JSON object a line.")] = None,
    blocks: Annotated[bool, typer.Option("--blocks", help="Keep every change of a block: blocks.parquet.")] = False,
    perfetto: Annotated[
        bool, typer.Option("--perfetto", help="Write trace.perfetto.json, for https://ui.perfetto.dev.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")] = False,
) -> int:
    """Play the requests through the scheduler and the block pool, and write what happened."""
    chosen = list(overrides or ())
    if trace is not None:
        chosen.append(f"workload.trace={json.dumps(str(trace))}")
    if skip_bad_lines:
        chosen.append("workload.skip_bad_lines=true")
    loaded = _load(scenario, chosen)
    with ExitStack() as stack:
        folder = stack.enter_context(ResultsFolder(out, loaded.name, force=force))
        log = None if steps is None else stack.enter_context(replacing(steps))
        progress = Progress(quiet=as_json)
        simulation = Simulation(loaded, journal=blocks, step_log=log, observers=progress.observers)
        if not as_json:
            typer.echo(f"{loaded.name}: {len(simulation.workload):,} requests")
            typer.echo(str(simulation.pool))
        for warning in simulation.pool.warnings:
            typer.echo(f"warning: {warning}", err=True)
        with _stopped_by_interrupt(simulation), progress.shown(len(simulation.workload)):
            results = simulation.run()
        place = folder.write(results, perfetto=perfetto)
    return _report(results, place, as_json)


def _load(scenario: str, overrides: list[str]) -> Scenario:
    """A file by its path, or a preset by its name."""
    path = Path(scenario)
    if path.suffix == ".toml" or path.exists() or len(path.parts) > 1:
        return Scenario.load(path, overrides)
    return Scenario.preset(scenario, overrides)


@contextmanager
def _stopped_by_interrupt(simulation: Simulation) -> Iterator[None]:
    """The first Ctrl+C ends the run after the current step, so that its results are whole; the second ends all."""

    def stop(signal_number: int, frame: object) -> None:
        simulation.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _report(results: Results, place: Path, as_json: bool) -> int:
    if as_json:
        typer.echo(json.dumps(results.summary, indent=2))
    else:
        from app.cli.tables import print_summary

        print_summary(results)
        typer.echo(f"results in {place}")
    if results.interrupted:
        return INTERRUPTED
    if results.stalled:
        left = results.unfinished
        named = ", ".join(left[:10]) + (f" and {len(left) - 10} more" if len(left) > 10 else "")
        typer.echo(f"kvscope: the run could not end; unfinished: {named}", err=True)
        return STALLED
    return 0

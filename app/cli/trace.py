"""`kvscope trace`: what is in a trace, a trace of a server's log, and traces for other tools."""

import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.engine import needs_engine
from app.cli.options import AsJson, Format, Sessions, SkipBadLines
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from simcore.errors import InputError
from simcore.export.folder import replacing

if TYPE_CHECKING:
    from simcore.workload import Workload

app = typer.Typer()


@app.callback()
def trace() -> None:
    """Look into traces of requests, make them of logs, and write them for other tools."""


@app.command()
def info(
    file: Annotated[
        Path, typer.Argument(parser=path_of, help="The trace: a file, plain or .gz, or a ServeGen folder or .tar.gz.")
    ],
    format: Format = "auto",
    as_json: AsJson = False,
    skip_bad_lines: SkipBadLines = False,
    sessions: Sessions = "sequential",
    seed: Annotated[int, typer.Option(help="Of the sample that is drawn from a ServeGen description.")] = 0,
) -> None:
    """Count the requests, tokens and hash blocks of a trace, before any request is dropped."""
    from simcore.workload.traces import read_trace, trace_info

    workload = read_trace(file, format, skip_bad_lines=skip_bad_lines, sessions=sessions, seed=seed)
    facts = trace_info(workload)
    if as_json:
        print_json(facts)
    else:
        _print(facts, workload.block)


@app.command()
def convert(
    source: Annotated[
        str,
        typer.Argument(metavar="TRACE|SCENARIO", help="A trace, or a scenario's TOML file or name, for its workload."),
    ],
    to: Annotated[str, typer.Option(help="The format to write: mooncake, vidur, azure or kvscope.")],
    out: Annotated[
        Path | None, typer.Option(parser=path_of, help="The file to write; without it to standard output.")
    ] = None,
    format: Format = "auto",
    skip_bad_lines: SkipBadLines = False,
    sessions: Sessions = "sequential",
    seed: Annotated[int, typer.Option(help="Of the sample that is drawn from a ServeGen description.")] = 0,
) -> None:
    """Write a trace, or the requests of a scenario, in the format of another tool."""
    from simcore.workload.traces import read_trace
    from simcore.workload.writers import left_out, write_trace

    path = path_of(source)
    if path.suffix == ".toml" or not path.exists():
        workload = _of_scenario(source)
    else:
        if out is not None and out.resolve() == path.resolve():
            raise InputError(f"{out}: would be overwritten, and it is what is read; choose another name")
        workload = read_trace(path, format, skip_bad_lines=skip_bad_lines, sessions=sessions, seed=seed)
    lost = left_out(workload, to)
    with ExitStack() as stack:
        write_trace(workload, to, sys.stdout if out is None else stack.enter_context(replacing(out)))
    mention(f"{len(workload):,} requests" + (f"; {to} cannot carry {lost}" if lost else ""), err=True)


def _of_scenario(source: str) -> "Workload":
    """The requests of a scenario. Those that wait for others get the times at which they came in a simulation."""
    import numpy as np

    from app.cli.simulate import load_scenario
    from simcore.simulation import simulate
    from simcore.ticks import TICKS_PER_SECOND
    from simcore.workload import make_workload

    scenario = load_scenario(source, [])
    workload = make_workload(scenario.workload, scenario.seed)
    if workload.after is None:
        return workload
    arrival = simulate(scenario, workload=workload).record.requests["arrival"]
    came = np.flatnonzero(arrival >= 0)
    order = came[np.argsort(arrival[came], kind="stable")]
    mention("some requests wait for others: simulated, for the times at which they arrive", err=True)
    return replace(workload.take(order), arrival=arrival[order] / TICKS_PER_SECOND, after=None)


@app.command("from-log")
@needs_engine()
def from_log(
    file: Annotated[Path, typer.Argument(parser=path_of, help="The log: a JSON object a line, plain or .gz.")],
    tokenizer: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="DIR", help="A folder with a tokenizer.json; not needed for token ids."),
    ] = None,
    salt: Annotated[
        str | None,
        typer.Option(help="Key of the hashes, for logs that are to share names; without it a random one, not kept."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, help="The trace to write; without it to standard output.")
    ] = None,
    hash_block: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65_536,
            help="Name prompts by blocks of so many tokens, as `kvscope hits` wants; without it by "
            "segments, which keep what outputs and later prompts have in common, too.",
        ),
    ] = None,
    skip_bad_lines: SkipBadLines = False,
) -> None:
    """Make a trace of a server's request log, with the text hashed away."""
    from simcore.workload.requestlog import hashed, read_log
    from simcore.workload.traces.files import load

    if salt == "":  # as of a variable that is not set
        raise InputError("--salt is empty, and whoever tries out texts would find them; give a key, or leave it out")
    reader = None
    if tokenizer is not None:
        from engine.tokenizer import FolderTokenizer

        reader = FolderTokenizer(tokenizer)
        if not reader.has_template:
            mention(f"{tokenizer} has no chat template: messages are joined as lines of role: content", err=True)
    if out is not None and out.resolve() == file.resolve():
        raise InputError(f"{out}: would be overwritten, and it is what is read; choose another name")
    with ExitStack() as stack:
        target = sys.stdout if out is None else stack.enter_context(replacing(out))
        requests, skipped = read_log(load(file), reader, skip_bad_lines=skip_bad_lines)
        for line in hashed(requests, salt, hash_block):
            target.write(json.dumps(line, separators=(",", ":")) + "\n")
    left_out = sum(not request.output_len for request in requests)
    facts = f"{len(requests) - left_out:,} requests" + (f", {left_out:,} without output left out" if left_out else "")
    mention(facts + (f", {skipped:,} broken lines passed over" if skipped else ""), err=True)


def _print(facts: dict[str, Any], block: int | None) -> None:
    from rich.console import Console
    from rich.table import Table

    span, skipped = facts["arrival_span"], facts["skipped"]
    typer.echo(f"format {facts['format']}")
    typer.echo(f"{facts['requests']:,} requests " + ("without arrivals" if span is None else f"over {span:,.3f} s"))
    if skipped:
        typer.echo(f"{skipped:,} broken lines passed over")
    if block is not None:
        typer.echo(f"{facts['blocks']:,} hash blocks of {block} tokens, {facts['unique_blocks']:,} of them distinct")
    lengths = Table("tokens", *facts["prompt"])
    for name in ("prompt", "output"):
        lengths.add_row(name, *(f"{value:,.1f}".removesuffix(".0") for value in facts[name].values()))
    Console().print(lengths)

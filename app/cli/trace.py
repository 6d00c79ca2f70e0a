"""`kvscope trace`: what is in a trace."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.paths import path_of

app = typer.Typer()


@app.callback()
def trace() -> None:
    """Look into traces of requests."""


@app.command()
def info(
    file: Annotated[
        Path, typer.Argument(parser=path_of, help="The trace: a file, plain or .gz, or a ServeGen folder or .tar.gz.")
    ],
    format: Annotated[str, typer.Option(help="Its format; auto: told by its content.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    skip_bad_lines: Annotated[bool, typer.Option("--skip-bad-lines", help="Pass over and count broken lines.")] = False,
    sessions: Annotated[
        str, typer.Option(help="When kv-cache-tester's sessions begin: sequential or stagger60.")
    ] = "sequential",
    seed: Annotated[int, typer.Option(help="Of the sample that is drawn from a ServeGen description.")] = 0,
) -> None:
    """Count the requests, tokens and hash blocks of a trace, before any request is dropped."""
    from simcore.workload.traces import read_trace, trace_info

    workload = read_trace(file, format, skip_bad_lines=skip_bad_lines, sessions=sessions, seed=seed)
    facts = trace_info(workload)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
    else:
        _print(facts, workload.block)


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

"""`kvscope scenario`: start, check and explain what a person writes down."""

import os
from pathlib import Path
from typing import Annotated, get_args

import typer

from app.cli.options import AsJson, Overrides
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from app.cli.policies import Policies, load_policies
from simcore.errors import InputError

app = typer.Typer()


@app.callback()
def scenario() -> None:
    """Start a scenario, check it, look up its keys and presets, and set a server up as it says."""


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the scenario is called.")] = "scenario",
    preset: Annotated[str, typer.Option(help="The scenario to start from; `list` names them.")] = "default",
    out: Annotated[Path | None, typer.Option(parser=path_of, help="The file to write; NAME.toml without it.")] = None,
) -> None:
    """Write a file to start from, with a comment on every key in it. An existing file is left alone."""
    from simcore.export.folder import replacing
    from simcore.scenario import Scenario
    from simcore.scenario.describe import template

    text = template(preset, name)
    Scenario.from_toml(text, Path())  # the name may be none
    path = out or Path(f"{name}.toml")
    if os.path.lexists(path):
        raise InputError(f"{path}: exists already; choose another file with --out")
    with replacing(path) as file:
        file.write(text)
    typer.echo(f"{path}")


@app.command()
def check(
    file: Annotated[Path, typer.Argument(parser=path_of, help="The scenario's TOML file.")],
    overrides: Overrides = None,
    policies: Policies = None,
) -> None:
    """Say what is wrong with a scenario, or how large its pool is and why."""
    from simcore.geometry import pool_size
    from simcore.scenario import Scenario
    from simcore.timing import make_timer

    scenario = Scenario.load(file, load_policies(policies, list(overrides or ())))
    trace = scenario.workload.trace
    try:
        pool = pool_size(scenario)
        make_timer(scenario)
        if trace is not None and not trace.exists():
            raise InputError(f'workload.trace is "{trace}", but there is no such file')
    except InputError as error:
        raise type(error)(f"{file}: {error}") from None
    requests = f"{scenario.workload.requests:,} requests" if trace is None else f"the requests of {trace.name}"
    hardware = scenario.hardware.resolve()
    typer.echo(
        f"{file} is good: {scenario.model.resolve().name} on {hardware.count} x {hardware.name}, "
        f"{pool.blocks:,} blocks of {scenario.memory.block_size} tokens, {requests}"
    )
    typer.echo(str(pool))
    for warning in pool.warnings:
        typer.echo(f"warning: {warning}", err=True)


@app.command()
def flags(
    scenario: Annotated[str, typer.Argument(help="A scenario's TOML file, or the name of one that comes along.")],
    overrides: Overrides = None,
    as_json: AsJson = False,
) -> None:
    """Print how vLLM is started with the scenario's memory and scheduler, and what no flag can say."""
    from app.cli.simulate import load_scenario
    from simcore.export.vllm import serve_flags

    found = serve_flags(load_scenario(scenario, list(overrides or ())))
    if as_json:
        document = {"model": found.model, "flags": dict(found.flags), "unsaid": found.unsaid}
        print_json(document)
        return
    typer.echo(str(found))
    for sentence in found.unsaid:
        mention(sentence, err=True)


@app.command()
def schema(
    markdown: Annotated[bool, typer.Option("--markdown", help="As the tables of docs/scenario.md.")] = False,
) -> None:
    """Print every key with its default, unit, range and meaning, as a JSON schema."""
    if markdown:
        from simcore.scenario.describe import markdown as reference

        typer.echo(reference(), nl=False)
    else:
        from simcore.scenario import Scenario

        print_json(Scenario.model_json_schema())


@app.command("list")
def presets() -> None:
    """Print the presets of scenarios, models and hardware, with their aliases."""
    from simcore.scenario.presets import Kind, preset_names, read_preset

    for kind in get_args(Kind):
        typer.echo(f"{kind}:")
        for preset in (read_preset(kind, name) for name in preset_names(kind)):
            aliases = f" (also {', '.join(preset['aliases'])})" if preset.get("aliases") else ""
            typer.echo(f"  {preset['name']:<20} {preset['description']}{aliases}")

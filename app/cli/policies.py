"""`kvscope policies`: what can be chosen, and policies of one's own."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.options import AsJson
from app.cli.output import print_json
from app.cli.paths import path_of

if TYPE_CHECKING:
    from simcore.policies.base import Policy

Policies = Annotated[
    list[Path] | None,
    typer.Option(
        "--policy",
        metavar="FILE.py",
        parser=path_of,
        help="Run this Python file, and choose the policy that it defines. It is code: give only what you would run.",
    ),
]


def load_policies(files: list[Path] | None, overrides: list[str]) -> list[str]:
    """Load the policies in some files; returns the overrides with those that choose them.

    A policy is chosen if it is the only one of its family in its file, and no override says otherwise.
    """
    from simcore.policies.families import key_of
    from simcore.scenario.policies import load_policy

    chosen: list[str] = []
    for file in files or ():
        keys: dict[str, list[str]] = {}
        for policy in load_policy(file):
            keys.setdefault(key_of(policy), []).append(policy.name)
        for key, names in keys.items():
            said = any(override.partition("=")[0].strip() in (key, f"{key}.policy") for override in overrides)
            if len(names) == 1 and not said:
                chosen.append(f"{key}.policy={names[0]}")
    return chosen + overrides


def named(key: str, asked: str) -> str:
    """The policies of a line, where a Python file in it is run and stands for its policies that the key can choose."""
    from simcore.errors import InputError
    from simcore.policies.families import key_of
    from simcore.scenario.policies import load_policy

    names = []
    for part in asked.split(","):
        file, dot, parameters = part.strip().partition(".py")
        if not dot or (parameters and parameters[0] != ":"):
            names.append(part)
            continue
        found = [policy.name for policy in load_policy(f"{file}.py") if key_of(policy) == key]
        if not found:
            raise InputError(f"{file}.py: defines no policy for {key}")
        names += [name + parameters for name in found]
    return ",".join(names)


def policies(
    name: Annotated[str | None, typer.Argument(help="Only this policy, with all its parameters.")] = None,
    files: Policies = None,
    as_json: AsJson = False,
) -> None:
    """List the policies that a scenario can choose, with their parameters and sources."""
    from simcore.errors import InputError
    from simcore.policies.families import FAMILIES, discover

    load_policies(files, [])
    discover()
    rows = [
        _row(key, policy)
        for key, family in FAMILIES.items()
        for policy in family.values()
        if name is None or name in (policy.name, *policy.aliases)
    ]
    if not rows:
        known = ", ".join(policy for family in FAMILIES.values() for policy in family)
        raise InputError(f"there is no policy {json.dumps(name)}; there are {known}")
    if as_json:
        print_json(rows)
    elif name is None:
        _print_all(rows)
    else:
        for row in rows:
            _print_one(row)


def _row(key: str, policy: "type[Policy]") -> dict[str, Any]:
    from simcore.policies.base import section_of
    from simcore.schema import keys

    _, *parameters = keys(section_of(policy))
    return {
        "key": key,
        "policy": policy.name,
        "aliases": list(policy.aliases),
        "help": policy.summary(),
        "source": policy.source(),
        "parameters": [
            {"name": each.path, "default": each.default, "allowed": each.allowed, "help": each.help}
            for each in parameters
        ],
    }


def _print_all(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    for key in dict.fromkeys(row["key"] for row in rows):
        console.print(f"[bold]{key}[/]")
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        for row in rows:
            if row["key"] == key:
                parameters = ", ".join(f"{each['name']} = {json.dumps(each['default'])}" for each in row["parameters"])
                about = escape(row["help"]) + (f" [dim]({escape(parameters)})[/]" if parameters else "")
                table.add_row(f"  {row['policy']}", about)
        console.print(table)


def _print_one(row: dict[str, Any]) -> None:
    also = f" (also {', '.join(row['aliases'])})" if row["aliases"] else ""
    typer.echo(f"{row['policy']}{also}: {row['help']}")
    for each in row["parameters"]:
        typer.echo(f"  {each['name']} = {json.dumps(each['default'])}: {each['help']} Must be {each['allowed']}.")
    if row["source"]:
        typer.echo(f"  {row['source']}")
    table = f'{{ policy = "{row["policy"]}" }}'
    typer.echo(f"  --set {row['key']}={row['policy']}, or {row['key'].rpartition('.')[2]} = {table} in a scenario")

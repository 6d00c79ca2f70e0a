"""Policies as a person asks for them in one line: `lru,s3-fifo:small=0.2:ghost=0.5`."""

import tomllib
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from simcore.errors import InputError
from simcore.policies.base import Family, P, Policy, parameters
from simcore.schema import shown

ALL = "all"


def choose(family: Family[P], asked: str) -> list[P]:
    """The policies of a line: names separated by commas, each with its `:parameter=value`; "all" are all of a family.

    What is asked for twice is there once. Raises InputError for what is not known, with what may have been meant.
    """
    if asked.strip() == ALL:
        return [policy() for policy in family.values()]
    chosen = {label(policy): policy for policy in (_one(family, text.strip()) for text in asked.split(","))}
    return list(chosen.values())


def label(policy: Policy) -> str:
    """A policy's name, and its parameters where they are not the default: `s3-fifo(small=0.2)`."""
    values = (
        (each.name, getattr(policy, each.name), each.metadata["key"].default) for each in parameters(type(policy))
    )
    changed = ", ".join(f"{name}={value}" for name, value, default in values if value != default)
    return f"{policy.name}({changed})" if changed else policy.name


def _one(family: Family[P], text: str) -> P:
    asked, *assignments = text.split(":")
    name = family.canonical(asked)
    if name not in family:
        names = [*family, *(alias for each in family.values() for alias in each.aliases), ALL]
        raise InputError(f"no {family.kind} policy is called {shown(asked)}; {_hint(asked, names, 'there are')}")
    values: dict[str, Any] = {}
    known = [each.name for each in parameters(family[name])]
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(f"{shown(text)}: a parameter is written {name}:NAME=VALUE, not {shown(assignment)}")
        if key not in known:
            hint = _hint(key, known, "it has") if known else "it has none"
            raise InputError(f"{shown(text)}: {name} has no parameter {shown(key)}; {hint}")
        values[key] = _value(value)
    return family[name](**values)


def _hint(asked: str, names: Iterable[str], there: str) -> str:
    near = get_close_matches(asked, names, n=1)
    return f"did you mean {near[0]}?" if near else f"{there} {', '.join(names)}"


def _value(text: str) -> Any:
    """A number or a truth value as TOML writes it; all else is text."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text
    return value if isinstance(value, bool | int | float) else text

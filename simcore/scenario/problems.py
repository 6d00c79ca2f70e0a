"""What is wrong with a scenario, in one sentence a problem: the key, its value, and what is allowed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from operator import attrgetter
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from simcore.errors import UnsupportedError
from simcore.schema import KeyInfo, Misfit, shown


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong."""

    path: str
    """the key, dotted"""
    sentence: str
    """begins with the key"""
    unsupported: bool = False
    """right input, but it cannot be simulated yet"""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where pydantic found an error."""

    path: str
    """as a person writes it: `model.layer_groups[0].window`"""
    key: str
    """as `KeyInfo` writes it: `model.layer_groups[].window`"""
    choices: set[str]
    """the chosen variants of the tables on the way, as in `poisson`"""
    value: Any


def problems(
    error: ValidationError, known: Sequence[KeyInfo], data: Mapping[str, Any], most: int
) -> tuple[list[Problem], int]:
    """The problems that pydantic found in `data`, once a key; of more than `most`, how many are left untold."""
    details = error.errors(include_url=False)
    # What a factory would look at is wrong itself.
    details = [detail for detail in details if detail["type"] != "default_factory_not_called"]
    found: dict[str, Problem] = {}
    for detail in details[:most]:
        for problem in _problems(detail, known, data):
            found.setdefault(problem.path, problem)
    return list(found.values()), len(details[most:])


def _problems(detail: ErrorDetails, known: Sequence[KeyInfo], data: Mapping[str, Any]) -> Iterator[Problem]:
    place = _locate(detail, data)
    cause = detail.get("ctx", {}).get("error")
    if detail["type"] == "extra_forbidden":
        yield _unknown(place, known)
    elif isinstance(cause, Misfit):
        for name, problem in cause.problems.items():
            path = f"{place.path}.{name}".removeprefix(".")
            yield Problem(path, f"{path} is {shown(attrgetter(name)(cause.section))}, but {problem}")
    elif isinstance(cause, Exception):
        says = ":" if isinstance(place.value, Mapping) else f" is {shown(place.value)}, but"
        yield Problem(place.path, f"{place.path}{says} {cause}", isinstance(cause, UnsupportedError))
    else:
        yield Problem(place.path, f"{place.path} is {shown(place.value)}, but must be {_allowed(place, known)}")


def _locate(detail: ErrorDetails, data: Any) -> _Place:
    """Follow pydantic's location through the data; what is not in the data is the tag of a table's variant."""
    path = key = ""
    choices = set()
    for part in detail["loc"]:
        if isinstance(data, list) and isinstance(part, int):
            path, key, data = f"{path}[{part}]", f"{key}[]", data[part]
        elif isinstance(data, Mapping) and part in data:
            path, key, data = f"{path}.{written(str(part))}", f"{key}.{part}", data[part]
        else:
            choices.add(str(part))
    if detail["type"] == "missing":
        path, key, data = f"{path}.{part}", f"{key}.{part}", None
    elif detail["type"] in ("union_tag_invalid", "union_tag_not_found"):
        tag = detail["ctx"]["discriminator"].strip("'")
        if not isinstance(data, Mapping):  # a name that stands for a table
            return _Place(path.removeprefix("."), key.removeprefix("."), choices, data)
        path, key, data = f"{path}.{tag}", f"{key}.{tag}", data.get(tag)
    return _Place(path.removeprefix("."), key.removeprefix("."), choices, data)


def written(name: str) -> str:
    """A key's name as TOML has it, on one line and short."""
    return name if re.fullmatch(r"[\w-]{1,80}", name, re.ASCII) else shown(name)


def _allowed(place: _Place, known: Sequence[KeyInfo]) -> str:
    """What the key's description allows; of a key that several variants have, that of the chosen one."""
    path = place.key.removesuffix("[]")
    allowed = next(info.allowed for info in known if info.path == path and place.choices.issuperset(info.when.values()))
    return f"an element of {allowed}" if place.key.endswith("[]") else allowed


def _unknown(place: _Place, known: Sequence[KeyInfo]) -> Problem:
    table, _, name = place.key.rpartition(".")
    inside = [info for info in known if info.path.rpartition(".")[0] == table]
    names = [info.path.rpartition(".")[2] for info in inside if place.choices.issuperset(info.when.values())]
    elsewhere = [info.path for info in known if info.path.count(".") == 1 and info.path.endswith(f".{name}")]
    if near := get_close_matches(name, names, n=1):
        hint = f"did you mean {f'{table}.{near[0]}' if table else near[0]}?"
    elif elsewhere:
        hint = f"did you mean {elsewhere[0]}?"
    else:
        hint = f"{f'[{table}]' if table else 'a scenario'} has {', '.join(names)}"
    return Problem(place.path, f"{place.path} is not a key; {hint}")

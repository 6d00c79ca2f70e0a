"""From a file or a text to the data of a scenario: reading, overriding, making paths absolute."""

import os
import re
import tomllib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.schema import KeyInfo, Section, shown

MAX_BYTES = 1 << 20
"""Longest file that is taken for a scenario; what is longer is a device or another kind of file."""

DEEP_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){64}""")
"""A dotted key with more parts than any that means something; the time to read one grows with their square."""


def read_text(path: Path) -> str:
    """The text of a scenario's file. Raises InputError where it cannot be read or is no text."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise InputError(f"{path}: cannot be read: a path has no null character") from None
    if len(content) > MAX_BYTES:
        raise InputError(f"{path}: longer than {MAX_BYTES >> 20} MiB, so it is no scenario")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text") from None


def parse_toml(text: str, source: str) -> dict[str, Any]:
    """The tables of a TOML text; `source` names it in the errors."""
    try:
        if DEEP_KEY.search(text):
            raise RecursionError
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        problem, line, column = _split_place(str(error), text)
        raise InputError(f"{source}, line {line}, column {column}: not TOML: {problem}") from None
    except RecursionError:
        raise InputError(f"{source}: not a scenario: values are nested too deeply") from None
    except ValueError:  # more digits than Python reads
        raise InputError(f"{source}: not a scenario: a number in it has thousands of digits") from None


def _split_place(message: str, text: str) -> tuple[str, int, int]:
    """tomllib says where in words: "Invalid value (at line 3, column 9)"."""
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return message, 1, 1
    problem = match[1][:1].lower() + match[1][1:]
    problem = re.sub(r"""\(['"].*\)""", "this table", problem, flags=re.DOTALL)  # a tuple of its names
    if match[2] is None:
        return problem, text.count("\n") + 1, len(text) - text.rfind("\n")
    return problem, int(match[2]), int(match[3])


def make_absolute(data: dict[str, Any], known: Iterable[KeyInfo], base: Path) -> None:
    """Relative paths in `data` are meant from the folder `base`; make them absolute, in place."""
    for path in {info.path for info in known if info.type == "path"}:
        *tables, name = path.split(".")
        table: Any = data
        for step in tables:
            table = table.get(step) if isinstance(table, dict) else None
        if isinstance(table, dict) and isinstance(table.get(name), str):
            table[name] = os.path.abspath(base / table[name])


def override(data: dict[str, Any], assignments: Iterable[str], known: Sequence[KeyInfo]) -> list[str]:
    """Apply each `KEY=VALUE` to `data`, in place; returns the keys.

    A value that is no TOML but a bare word is a text. A table of which only some keys are set keeps its others: those
    in `data`, otherwise those of its default. A key that chooses among others takes away those that its choice does
    not have, so that a complete scenario, as a run writes it, can be overridden too.
    """
    pairs = [_assignment(text) for text in assignments]
    for path, value in pairs:
        _make_room(_table(data, path, known), path, value, known)
    for path, value in pairs:
        _table(data, path, known)[path.rpartition(".")[2]] = value
    return [path for path, _ in pairs]


def _assignment(text: str) -> tuple[str, Any]:
    """The key and the value of `KEY=VALUE`."""
    path, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value or not all(path.split(".")):
        raise InputError(f"--set {shown(text)}: must be KEY=VALUE, as in memory.blocks=4096")
    try:
        data = parse_toml(f"value = {value}", path)
    except InputError:
        if value[0] in "[{\"'":
            raise InputError(f"--set {path}: {shown(value)} is no TOML value") from None
        return path, value
    return path, data["value"] if len(data) == 1 else value


def _table(data: dict[str, Any], path: str, known: Sequence[KeyInfo]) -> dict[str, Any]:
    """The table that a key stands in; one that `data` does not have is made, inside of a section from its default."""
    place = ""
    for step in path.split(".")[:-1]:
        inside, place = bool(place), f"{place}.{step}".removeprefix(".")
        if step not in data:
            default = next((info.default for info in known if inside and info.path == place), None)
            data[step] = default.model_dump(exclude_none=True) if isinstance(default, Section) else {}
        elif isinstance(data[step], str) and any(info.path == f"{place}.policy" for info in known):
            data[step] = {"policy": data[step]}
        data = data[step]
        if not isinstance(data, dict):
            raise InputError(f"--set {path}: {place} is {shown(data)} and no table")
    return data


def _make_room(table: dict[str, Any], path: str, value: Any, known: Sequence[KeyInfo]) -> None:
    """Take away from its table what a key with this value excludes."""
    match path:
        case "memory.blocks":
            table.pop("utilization", None)
        case "memory.utilization":
            table.pop("blocks", None)
        case "model.preset":
            table.pop("config", None)
        case "model.config":
            table.pop("preset", None)
        case "timing.model" if table.get("model") != value:
            table.clear()
        case "workload.trace" if "trace" not in table:
            table.clear()
        case _:
            variants = [info for info in known if path in info.when]
            own = {info.path for info in variants if info.when[path] == value}
            for other in {info.path for info in variants} - own:
                table.pop(other.removeprefix(path.rpartition(".")[0] + "."), None)

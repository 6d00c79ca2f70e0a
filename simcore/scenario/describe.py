"""The keys of a scenario as a person reads them: the reference in Markdown, and a commented file to start from."""

import json
import re
from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import Any

from pydantic import BaseModel

from simcore.scenario.presets import ABOUT, preset_text, read_preset
from simcore.scenario.scenario import Scenario
from simcore.schema import REQUIRED, KeyInfo, keys


def markdown() -> str:
    """The reference of all keys, one table of Markdown for each table of a scenario."""
    known = list(keys(Scenario))
    helps = {info.path: info.help for info in known}
    tables: dict[str, list[KeyInfo]] = {}
    for info in known:
        tables.setdefault(info.path.rpartition(".")[0], []).append(info)
    parts = [
        "# The keys of a scenario",
        "Made by `kvscope scenario schema --markdown`.",
        "A scenario is a TOML file. A key that is left out has its default; relative paths are relative to the file. "
        "`kvscope scenario new` writes a file to start from, `kvscope scenario check` says what is wrong with one, and "
        "`--set memory.blocks=4096` overrides a key for one run.",
    ]
    for table, infos in tables.items():
        if table:
            title = f"[[{table[:-2]}]]" if table.endswith("[]") else f"[{table}]"
            parts += [f"{'###' if '.' in table else '##'} `{title}`", helps[table.removesuffix("[]")]]
        else:
            infos = [info for info in infos if info.type != "table"]
        parts.append("\n".join(_rows(table, infos)))
    return "\n\n".join(parts) + "\n"


def _rows(table: str, infos: Iterable[KeyInfo]) -> Iterator[str]:
    """A table of Markdown; variants that have the same key share its row."""
    choices: dict[tuple[str, ...], list[str]] = {}
    for info in infos:
        name = info.path.rpartition(".")[2]
        default = "*required*" if info.default is REQUIRED else ""
        if not default and info.default is not None:
            default = f"`{toml_value(info.default)}`"
        choice = [f"`{value}`" for path, value in info.when.items() if path.rpartition(".")[0] == table]
        choices.setdefault((f"`{name}`", default, info.allowed, info.help), []).extend(choice)
    if any(choices.values()):
        yield "| key | of | default | allowed | meaning |"
        yield "| --- | --- | --- | --- | --- |"
        for (name, *rest), of in choices.items():
            yield f"| {' | '.join((name, ', '.join(of), *rest))} |"
    else:
        yield "| key | default | allowed | meaning |"
        yield "| --- | --- | --- | --- |"
        for row in choices:
            yield f"| {' | '.join(row)} |"


def template(preset: str, name: str) -> str:
    """A scenario's file to start from: that of a preset under another name, each key with its help above it."""
    about = read_preset("scenarios", preset)
    helps = {info.path: info.help for info in keys(Scenario)}
    lines = [f"# {about['description']}.", "# `kvscope scenario schema --markdown` explains every key there is."]
    lines += ["", f"name = {toml_value(name)}"]
    table = ""
    for line in preset_text("scenarios", about["name"]).splitlines():
        match = re.match(r"\[([\w.]+)\]|\[\[([\w.]+)\]\]|(\w+) =", line)
        if match and match[3]:
            if not table and match[3] in ABOUT:
                continue
            lines += wrap(
                helps[f"{table}.{match[3]}".removeprefix(".")], 116, initial_indent="# ", subsequent_indent="# "
            )
        elif match:
            table = match[1] or f"{match[2]}[]"
        lines.append(line)
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value as TOML writes it, tables inline."""
    match value:
        case BaseModel():
            return toml_value(value.model_dump(mode="json", exclude_none=True))
        case dict():
            items = ", ".join(f"{name} = {toml_value(item)}" for name, item in value.items())
            return f"{{ {items} }}" if items else "{}"
        case list() | tuple():
            return f"[{', '.join(map(toml_value, value))}]"
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case _:
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", r"\u007f")

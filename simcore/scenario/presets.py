"""Presets: models, hardware and scenarios that are looked up by name.

A preset is a TOML file `assets/KIND/NAME.toml` with `name`, `aliases`, `description` and `source` above the keys of
its section (of the whole scenario, for scenarios).
"""

import tomllib
from copy import deepcopy
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from simcore.errors import InputError
from simcore.schema import shown

Kind = Literal["models", "hardware", "scenarios"]

ABOUT = ("name", "aliases", "description", "source")
"""The keys of a preset file that describe the preset itself and are no keys of its section."""


def preset_names(kind: Kind) -> list[str]:
    """The canonical names, sorted."""
    return sorted(_presets(kind))


def read_preset(kind: Kind, name: str) -> dict[str, Any]:
    """The preset with this name or alias, as written in its file; `name` in it is the canonical name.

    Raises InputError where no preset is called so.
    """
    presets = _presets(kind)
    aliases = {alias: canonical for canonical, preset in presets.items() for alias in preset.get("aliases", ())}
    canonical = aliases.get(name, name)
    if canonical not in presets:
        near = get_close_matches(name.lower(), [*presets, *aliases], n=1)
        hint = f'did you mean "{aliases.get(near[0], near[0])}"?' if near else f"there are {', '.join(sorted(presets))}"
        raise InputError(f"no {kind.removesuffix('s')} preset is called {shown(name)}; {hint}")
    return deepcopy(presets[canonical])


def preset_text(kind: Kind, name: str) -> str:
    """The text of a preset's file, comments included."""
    canonical = read_preset(kind, name)["name"]
    return files("assets").joinpath(kind, f"{canonical}.toml").read_text(encoding="utf-8")


@cache
def _presets(kind: Kind) -> dict[str, dict[str, Any]]:
    """Every preset of a kind by its canonical name."""
    folder = files("assets").joinpath(kind)
    found = [tomllib.loads(file.read_text("utf-8")) for file in folder.iterdir() if file.name.endswith(".toml")]
    return {preset["name"]: preset for preset in found}

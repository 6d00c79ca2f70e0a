"""How a key of a scenario is described: default, unit, range and one sentence of help, in one place.

The command line's help, the error messages, the JSON schema, the table in the documentation and the desktop's forms
are all made from these descriptions, so none of them can disagree.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, time
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, Strict
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

from simcore.errors import UnsupportedError

FilePath = Annotated[Path, Strict(False)]
"""The type of a key that names a file or a folder; in a scenario's file a relative one is relative to that file."""

REQUIRED = PydanticUndefined
"""The default of a key that has to be given."""


class Section(BaseModel):
    """A table of a scenario. Unknown keys, wrong types, NaN and infinity are errors; a section never changes."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False, validate_default=True)


def key(default: Any = ..., *, help: str, unit: str = "", allowed: str = "", **limits: Any) -> Any:
    """Describe one key: its default, one sentence of help, its unit, and pydantic's limits (`gt`, `ge`, `lt`, `le`).

    `allowed` ends a sentence "KEY must be ..." where the type and the limits do not say it well.
    """
    extra = {name: text for name, text in (("unit", unit), ("allowed", allowed)) if text}
    return Field(default, description=help, json_schema_extra=extra or None, **limits)


class Misfit(ValueError):
    """Keys that are good by themselves but do not fit the others; raised by a section's validator.

    `problems` has for each such key, dotted below the section, how a sentence "KEY is VALUE, but ..." ends.
    """

    def __init__(self, section: BaseModel, problems: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{path}: {problem}" for path, problem in problems.items()))
        self.section = section
        self.problems = problems


class OneOf:
    """Annotates a `str` that has to be one of a registry's names."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.literal_schema(list(self.names))


def not_yet(value: bool | str, what: str) -> BeforeValidator:
    """Annotates a key that has a right value which this version cannot simulate; `what` begins the sentence."""

    def refuse(given: Any) -> Any:
        if type(given) is type(value) and given == value:
            raise UnsupportedError(f"{what} cannot be simulated yet")
        return given

    return BeforeValidator(refuse)


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """All there is to say about one key."""

    path: str
    """dotted: `memory.blocks`; a key of a list's elements: `model.layer_groups[].window`"""
    type: str
    """`whole number`, `number`, `true or false`, `text`, `path`, `table` or `list`; `text or table` where both will do"""
    default: Any
    """REQUIRED: it has to be given; None: it is not set"""
    unit: str
    choices: tuple[str, ...]
    """the only values of a text; empty: any"""
    limits: Mapping[str, float]
    """of a number: some of `ge`, `gt`, `le`, `lt`"""
    words: str
    """what a value has to be where type, choices and limits do not say it well"""
    help: str
    when: str
    """the choice under which the key exists, as in `process = "poisson"`; empty: always"""

    @property
    def allowed(self) -> str:
        """The end of a sentence "KEY must be ..."."""
        if self.words:
            return self.words
        if self.choices:
            return ("one of " if len(self.choices) > 1 else "") + ", ".join(map(shown, self.choices))
        bounds = " and ".join(f"{_RELATIONS[name]} {limit}" for name, limit in self.limits.items())
        kind = self.type if self.type in ("text", "true or false") else f"a {self.type}"
        return kind + (f", {bounds}" if bounds else "") + (f" ({self.unit})" if self.unit else "")


_RELATIONS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_TYPES: dict[Any, str] = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}


def keys(section: type[BaseModel], prefix: str = "", when: str = "") -> Iterator[KeyInfo]:
    """Every key of a section and of the tables in it, in the order of their definition.

    A table that has other keys for each choice (a union of sections) lists the key of the choice first, then every
    variant's own keys with the choice in `when`.
    """
    for name, field in section.model_fields.items():
        info = _describe(prefix + name, field, when)
        yield info
        inner = info.path + ("[]." if info.type == "list" else ".")
        yield from _variants([kind for kind in _unfold(field.annotation).kinds if _is_section(kind)], inner, when)


def _variants(sections: list[type[BaseModel]], prefix: str, when: str) -> Iterator[KeyInfo]:
    """The keys of a table that is one of `sections`."""
    if len(sections) < 2:
        for section in sections:
            yield from keys(section, prefix, when)
        return
    tag = next(name for name in sections[0].model_fields if all(name in other.model_fields for other in sections))
    tags = [_describe(prefix + tag, section.model_fields[tag], when) for section in sections]
    yield replace(tags[0], choices=tuple(choice for info in tags for choice in info.choices))
    for section, info in zip(sections, tags, strict=True):
        choice = " or ".join(f'{tag} = "{name}"' for name in info.choices)
        yield from (own for own in keys(section, prefix, choice) if own.path != info.path)


def _describe(path: str, field: FieldInfo, when: str) -> KeyInfo:
    unfolded = _unfold(field.annotation)
    notes = [*unfolded.notes, *field.metadata]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    names = [note.names for note in notes if isinstance(note, OneOf)]
    names += [get_args(kind) for kind in unfolded.kinds if get_origin(kind) is Literal]
    types = [
        "text" if get_origin(kind) is Literal else "table" if _is_section(kind) else _TYPES[kind]
        for kind in unfolded.kinds
    ]
    return KeyInfo(
        path=path,
        type="list" if unfolded.is_list else " or ".join(dict.fromkeys(types)),
        default=field.get_default(call_default_factory=True, validated_data={}),
        unit=str(extra.get("unit", "")),
        choices=tuple(str(name) for group in names for name in group),
        limits={name: getattr(note, name) for name in _RELATIONS for note in notes if hasattr(note, name)},
        words=str(extra.get("allowed", "")),
        help=field.description or "",
        when=when,
    )


@dataclass(slots=True)
class _Unfolded:
    """A type hint without its `Annotated`, `| None` and list around it."""

    kinds: list[Any]
    notes: list[Any]
    is_list: bool = False


def _unfold(hint: Any) -> _Unfolded:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Annotated:
        unfolded = _unfold(inner[0])
        for note in inner[1:]:
            unfolded.notes += note.metadata if isinstance(note, FieldInfo) else [note]
        return unfolded
    if origin in (list, tuple):
        return _Unfolded(_unfold(inner[0]).kinds, [], is_list=True)
    if origin in (Union, UnionType):
        parts = [_unfold(part) for part in inner if part is not NoneType]
        return _Unfolded(
            [kind for part in parts for kind in part.kinds],
            [note for part in parts for note in part.notes],
            any(part.is_list for part in parts),
        )
    return _Unfolded([hint], [])


def _is_section(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def shown(value: Any) -> str:
    """A value as a message shows it: as TOML writes it, short, on one line."""
    match value:
        case bool():
            text = "true" if value else "false"
        case int() | float():
            text = hex(value) if isinstance(value, int) and value.bit_length() > 1000 else str(value)
        case str() | Path():
            text = json.dumps(str(value), ensure_ascii=not str(value).isprintable())
        case date() | time():
            text = value.isoformat()
        case _:
            text = "a list" if isinstance(value, list | tuple) else "a table"
    return text if len(text) <= 80 else f"{text[:76]} ..."

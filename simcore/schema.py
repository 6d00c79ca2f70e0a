"""How a key of a scenario is described: default, unit, range and one sentence of help, in one place.

The command line's help, the error messages, the JSON schema, the table in the documentation and the desktop's forms
are all made from these descriptions, so none of them can disagree.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, time
from itertools import islice
from pathlib import Path
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, Strict
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticUndefined, core_schema

FilePath = Annotated[Path, Strict(False)]
"""The type of a key that names a file or a folder; in a scenario's file a relative one is relative to that file."""

REQUIRED = PydanticUndefined
"""The default of a key that has to be given."""


class Section(BaseModel):
    """A table of a scenario. Unknown keys, wrong types, NaN and infinity are errors; a section never changes."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        frozen=True,
        allow_inf_nan=False,
        validate_default=True,
        defer_build=True,  # a validator is built when it is first used: importing stays quick
    )


def key(default: Any = ..., *, help: str, unit: str = "", allowed: str = "", **limits: Any) -> Any:
    """Describe one key: its default, one sentence of help, its unit, and pydantic's limits (`gt`, `ge`, `lt`, `le`).

    `allowed` ends a sentence "KEY must be ..." where the type and the limits do not say it well.
    """
    extra: dict[str, Any] = {name: text for name, text in (("unit", unit), ("allowed", allowed)) if text}
    return Field(default, description=help, json_schema_extra=extra or None, **limits)


class Misfit(ValueError):  # noqa: N818
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


class Tables:
    """Annotates a key whose value is one of several tables, told apart by their first key."""

    @property
    def sections(self) -> "list[type[Section]]":
        """The tables."""
        raise NotImplementedError

    @property
    def allowed(self) -> str:
        """The end of a sentence "KEY must be ..."."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """All there is to say about one key."""

    path: str
    """dotted: `memory.blocks`; a key of a list's elements: `model.layer_groups[].window`"""
    type: str
    """`whole number`, `number`, `true or false`, `text`, `path`, `table`, or `list of` these"""
    default: Any
    """REQUIRED: it has to be given; None: it is not set; of a key that goes with another's value: what it is then"""
    unit: str
    choices: tuple[str, ...]
    """the only values of a text; empty: any"""
    limits: Mapping[str, float]
    """of a number: some of `ge`, `gt`, `le`, `lt`"""
    words: str
    """what a value has to be where type, choices and limits do not say it well"""
    help: str
    when: Mapping[str, str]
    """the choices under which the key exists: `{"workload.arrivals.process": "gamma"}`; empty: always"""

    @property
    def allowed(self) -> str:
        """The end of a sentence "KEY must be ..."."""
        if self.words:
            return self.words
        if self.choices:
            return ("one of " if len(self.choices) > 1 else "") + ", ".join(map(shown, self.choices))
        if self.type not in ("whole number", "number"):
            return self.type if self.type in ("text", "true or false") else f"a {self.type}"
        low_high = self.limits.keys() == {"ge", "le"}
        bounds = f" {self.range}" if low_high else f", {self.range}" if self.limits else ""
        return f"a {self.type}{bounds}" + (f" ({self.unit})" if self.unit else "")

    @property
    def range(self) -> str:
        """A number's limits in words; empty: it has none."""
        limits = {name: f"{int(limit) if limit == int(limit) else limit:,}" for name, limit in self.limits.items()}
        if limits.keys() == {"ge", "le"}:
            return f"from {limits['ge']} to {limits['le']}"
        return " and ".join(f"{_RELATIONS[name]} {limit}" for name, limit in limits.items())


_RELATIONS = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
_TYPES: dict[Any, str] = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}


def keys(
    section: type[BaseModel], prefix: str = "", when: Mapping[str, str] = MappingProxyType({})
) -> Iterator[KeyInfo]:
    """Every key of a section and of the tables in it, in the order of their definition.

    A table that has other keys for each choice (a union of sections) lists the key of the choice first, then every
    variant's own keys with the choice in `when`.
    """
    for name, field in section.model_fields.items():
        info = _describe(prefix + name, field, _default(section, field), when)
        yield info
        inner = info.path + ("[]." if info.type.startswith("list") else ".")
        yield from _variants([kind for kind in _unfold_field(field).kinds if _is_section(kind)], inner, when)


def _variants(sections: list[type[BaseModel]], prefix: str, when: Mapping[str, str]) -> Iterator[KeyInfo]:
    """The keys of a table that is one of `sections`, told apart by their first key."""
    if len(sections) == 1:
        yield from keys(sections[0], prefix, when)
    elif sections:
        tags = [next(keys(section, prefix, when)) for section in sections]
        helps = " ".join(f"{tag.choices[0]}: {tag.help}" for tag in tags)
        yield replace(tags[0], default=REQUIRED, choices=tuple(tag.choices[0] for tag in tags), help=helps)
        for section, tag in zip(sections, tags, strict=True):
            yield from islice(keys(section, prefix, {**when, tag.path: tag.choices[0]}), 1, None)


def _describe(path: str, field: FieldInfo, default: Any, when: Mapping[str, str]) -> KeyInfo:
    unfolded = _unfold_field(field)
    notes = unfolded.notes
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    names = [note.names for note in notes if isinstance(note, OneOf)]
    names += [get_args(kind) for kind in unfolded.kinds if get_origin(kind) is Literal]
    kind = unfolded.kinds[0]  # of a union of sections each is a table
    type = "text" if get_origin(kind) is Literal else "table" if _is_section(kind) else _TYPES[kind]
    return KeyInfo(
        path=path,
        type=f"list of {type}s" if unfolded.is_list else type,
        default=default,
        unit=str(extra.get("unit", "")),
        choices=tuple(str(name) for group in names for name in group),
        limits={name: getattr(note, name) for name in _RELATIONS for note in notes if hasattr(note, name)},
        words=str(extra.get("allowed", "")) or next((note.allowed for note in notes if isinstance(note, Tables)), ""),
        help=field.description or "",
        when=when,
    )


def _default(section: type[BaseModel], field: FieldInfo) -> Any:
    """A key's default; where it hangs on other keys, the first that it has for one of their values."""
    others: list[dict[str, Any]] = [{}]
    for name, other in section.model_fields.items():
        choices = [choice for kind in _unfold_field(other).kinds for choice in get_args(kind)]
        others += [{name: choice} for choice in choices or [""]]
    defaults = (field.get_default(call_default_factory=True, validated_data=data) for data in others)
    return next((default for default in defaults if default is not None), None)


@dataclass(slots=True)
class _Unfolded:
    """A type hint without its `Annotated`, `| None` and list around it."""

    kinds: list[Any]
    notes: list[Any]
    is_list: bool = False


def _unfold_field(field: FieldInfo) -> _Unfolded:
    """pydantic keeps what annotates a field's type as a whole apart from the type."""
    unfolded = _unfold(field.annotation)
    unfolded.notes += field.metadata
    for note in unfolded.notes:
        if isinstance(note, Tables):
            unfolded.kinds = list(note.sections)
    return unfolded


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
        case None:
            text = "not given"
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

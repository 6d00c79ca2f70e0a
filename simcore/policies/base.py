"""What all policies have in common: a name, checked parameters, one sentence of help, and a place in their family.

A policy is a dataclass. Its parameters are fields described by `parameter`; its name and its help are what the scenario
and `kvscope policies` show. Registering a class with its family is all that it takes to be chosen by name.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields
from inspect import getdoc
from typing import Any, ClassVar, Generic, Literal, TypeVar, get_type_hints

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationError, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from simcore.errors import InputError
from simcore.schema import Section, Tables, key, shown

_KEY = "key"


def parameter(default: Any, *, help: str, unit: str = "", allowed: str = "", **limits: Any) -> Any:
    """A parameter of a policy: a field of its dataclass with its default, one sentence of help, its unit and its range.

    The limits are pydantic's: `gt`, `ge`, `lt`, `le`.
    """
    return field(default=default, metadata={_KEY: key(default, help=help, unit=unit, allowed=allowed, **limits)})


@dataclass(eq=False)
class Policy:
    """The base of all policies. A subclass is a `@dataclass` with a `name`; values out of range are refused."""

    name: ClassVar[str] = ""
    """as a scenario writes it: lower case, with hyphens"""
    aliases: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        values = {each.name: getattr(self, each.name) for each in parameters(type(self))}
        try:
            section_of(type(self)).model_validate({"policy": type(self).name, **values})
        except ValidationError as error:
            detail = error.errors()[0]
            place = ".".join(map(str, detail["loc"]))
            raise InputError(f"{type(self).name}: {place} is {shown(detail['input'])}: {detail['msg']}") from None

    @classmethod
    def summary(cls) -> str:
        """What it does, in the first paragraph of its docstring."""
        return " ".join((getdoc(cls) or "").partition("\n\n")[0].split())

    @classmethod
    def source(cls) -> str:
        """The address of its paper or its code, from its docstring; empty: none is given."""
        return next((word.strip("().,") for word in (getdoc(cls) or "").split() if word.startswith("https://")), "")


P = TypeVar("P", bound=Policy)


def parameters(policy: type[Policy]) -> list[Field[Any]]:
    """The fields of a policy that a person may set."""
    return [each for each in fields(policy) if _KEY in each.metadata]


_SECTIONS: dict[type[Policy], type[Section]] = {}


def section_of(policy: type[Policy]) -> type[Section]:
    """The table of a scenario that chooses a policy: its name, and a key for each of its parameters."""
    if policy in _SECTIONS:
        return _SECTIONS[policy]
    hints = get_type_hints(policy)
    keys: dict[str, Any] = {each.name: (hints[each.name], each.metadata[_KEY]) for each in parameters(policy)}
    tag: Any = (Literal[policy.name], key(policy.name, help=policy.summary()))
    _SECTIONS[policy] = create_model(policy.__name__, __base__=Section, __doc__=getdoc(policy), policy=tag, **keys)
    return _SECTIONS[policy]


class Family(Mapping[str, type[P]], Generic[P]):
    """The policies that can stand in one place, by name."""

    def __init__(self, kind: str, base: type, members: Iterable[type[P]]) -> None:
        """`kind`: what the family decides, as in `eviction`; `base`: the class of all."""
        self.kind = kind
        self.base = base
        self._members: dict[str, type[P]] = {}
        for policy in members:
            self.add(policy)

    def add(self, policy: type[P]) -> None:
        """Let a policy be chosen by its name. Raises InputError where the name is missing, wrong or taken."""
        for name in (policy.name, *policy.aliases):
            if not name or name != name.lower() or not name.replace("-", "").isalnum():
                raise InputError(f"policy {policy.__name__}: its name is {shown(name)}, not lower case with hyphens")
            other = self._named(name)
            if other is not None and (other.__module__, other.__name__) != (policy.__module__, policy.__name__):
                raise InputError(f"policy {policy.__name__}: the name {shown(name)} is taken by {other.__qualname__}")
        self._members[policy.name] = policy

    def _named(self, name: str) -> type[P] | None:
        return self._members.get(self.canonical(name))

    def canonical(self, name: str) -> str:
        """The name of a policy that is called by a name or an alias; a name that is not known stays as it is."""
        return next((each.name for each in self._members.values() if name in each.aliases), name)

    def make(self, section: Section) -> P:
        """The policy that a scenario's table chose."""
        values = section.model_dump()
        return self[values.pop("policy")](**values)

    @property
    def sections(self) -> list[type[Section]]:
        """A table of a scenario for each policy."""
        return [section_of(policy) for policy in self._members.values()]

    def __getitem__(self, name: str) -> type[P]:
        return self._members[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


class Choice(Tables):
    """Annotates a key that chooses a policy of a family: by its name, or by a table with its name and parameters."""

    def __init__(self, family: Family[Any]) -> None:
        self.family = family

    @property
    def sections(self) -> list[type[Section]]:
        """See `Tables`."""
        from simcore.policies.families import discover  # it knows all families

        discover()
        return self.family.sections

    @property
    def allowed(self) -> str:
        """See `Tables`."""
        return f"{', '.join(map(shown, self.family))}, or a table with one of these as policy"

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        tables = {section.model_fields["policy"].default: handler(section) for section in self.sections}
        union = core_schema.tagged_union_schema(tables, discriminator="policy", serialization=_AS_IT_IS)
        return core_schema.no_info_before_validator_function(self._by_name, union)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": list(self.family)}, handler(core)]}

    def _by_name(self, given: Any) -> Any:
        if isinstance(given, str):
            return {"policy": self.family.canonical(given)}
        if isinstance(given, dict) and isinstance(given.get("policy"), str):
            return given | {"policy": self.family.canonical(given["policy"])}
        return given


_AS_IT_IS = core_schema.wrap_serializer_function_ser_schema(lambda value, handler: value.model_dump(mode="json"))

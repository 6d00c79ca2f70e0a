"""Every key of the schema, those of tomorrow included: what it refuses, and that the sentence says so."""

import math
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import assume, given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.scenario.describe import toml_value
from simcore.schema import REQUIRED, KeyInfo, keys, shown

KEYS = list(keys(Scenario))
WRONG_TYPES: dict[str, list[Any]] = {
    "whole number": ["3", 1.5, True, [1], {"a": 1}, date(2024, 1, 1)],
    "number": ["0.5", False, [0.5], {"a": 1}, date(2024, 1, 1)],
    "true or false": ["true", 0, 1.0, []],
    "text": [3, True, ["a"], {"a": 1}],
    "path": [3, True, ["a"]],
    "table": [3, True, ["a"]],
    "list": [3, True, "a"],
}


def described(info: KeyInfo) -> str:
    return " ".join([info.path, *info.when.values()])


def place(info: KeyInfo, value: Any) -> dict[str, Any]:
    """A scenario in which this one key is set, beside the choices that it needs."""
    data: dict[str, Any] = {}
    for path, item in [*info.when.items(), (info.path, value)]:
        *tables, name = path.split(".")
        table = data
        for step in tables:
            inside = table.setdefault(step.removesuffix("[]"), [{}] if step.endswith("[]") else {})
            table = inside[0] if step.endswith("[]") else inside
        table[name] = item
    return data


def sentences(data: dict[str, Any]) -> list[str]:
    with pytest.raises(InputError) as refused:
        Scenario.from_toml(tomli_w.dumps(data), Path(), source="a.toml")
    return str(refused.value).splitlines()


def expect(info: KeyInfo, value: Any) -> None:
    path = info.path.replace("[]", "[0]")
    assert f"a.toml: {path} is {shown(value)}, but must be {info.allowed}" in sentences(place(info, value))


@pytest.mark.parametrize("info", KEYS, ids=described)
def test_key_is_described(info: KeyInfo) -> None:
    assert info.help[0].isupper() or info.help.split(":")[0] in info.choices
    assert info.help.endswith(".")
    assert set(info.limits) <= {"ge", "gt", "le", "lt"}
    if info.choices and info.default not in (None, REQUIRED):
        assert info.default in info.choices


@pytest.mark.parametrize("info", KEYS, ids=described)
def test_wrong_type(info: KeyInfo) -> None:
    for value in WRONG_TYPES[info.type.split(" of ")[0]]:
        expect(info, value)


@pytest.mark.parametrize("info", [info for info in KEYS if "number" in info.type], ids=described)
def test_out_of_range(info: KeyInfo) -> None:
    for value in (math.nan, math.inf, -math.inf):
        expect(info, value)
    beyond = {
        "ge": lambda limit: limit - 1,
        "gt": lambda limit: limit,
        "le": lambda limit: limit + 1 if info.type == "whole number" else limit * 2,
        "lt": lambda limit: limit,
    }
    for name, limit in info.limits.items():
        value = beyond[name](limit)
        expect(info, value if info.type == "whole number" else float(value))


@pytest.mark.parametrize("info", [info for info in KEYS if info.choices], ids=described)
def test_no_such_choice(info: KeyInfo) -> None:
    expect(info, "no-such-choice")


@pytest.mark.parametrize("info", KEYS, ids=described)
def test_unknown_neighbor(info: KeyInfo) -> None:
    misspelt = replace(info, path=f"{info.path}_")
    path = misspelt.path.replace("[]", "[0]")
    chosen = ("admission.policy", "victim.policy")  # none of these has parameters
    if any(info.path in other.when for other in KEYS) or info.path.endswith(chosen):
        expected = f"{path.removesuffix('_')} is not given, but must be {info.allowed}"
    else:
        expected = f"{path} is not a key; did you mean {info.path}?"
    assert f"a.toml: {expected}" in sentences(place(misspelt, 1))


@pytest.mark.parametrize("info", [info for info in KEYS if info.default is REQUIRED], ids=described)
def test_missing(info: KeyInfo) -> None:
    table, _, name = info.path.rpartition(".")
    data = place(info, 1)
    inner: Any = data
    for step in table.split("."):
        inner = inner[step[:-2]][0] if step.endswith("[]") else inner[step]
    del inner[name]
    path = info.path.replace("[]", "[0]")
    assert f"a.toml: {path} is not given, but must be {info.allowed}" in sentences(data)


def values(info: KeyInfo) -> st.SearchStrategy[Any]:
    """Values that the key allows."""
    limits = info.limits
    match info.type:
        case "whole number":
            return st.integers(int(limits.get("ge", 0)), int(limits.get("le", 2**62)))
        case "number":
            low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
            return st.floats(low, high, exclude_min="gt" in limits, exclude_max="lt" in limits, allow_infinity=False)
        case "true or false":
            return st.booleans()
        case "path":
            return st.just("some/trace.csv")
        case _:
            return st.sampled_from(info.choices)


FREE = [
    info
    for info in KEYS
    if info.type != "table" and not info.path.startswith(("model.", "memory.tiers"))
    if info.choices or info.type != "text"
]


@given(st.data(), st.lists(st.sampled_from(FREE), max_size=5))
def test_a_written_scenario_reads_back_equal(data: st.DataObject, infos: list[KeyInfo]) -> None:
    scenario = Scenario()
    for info in infos:
        settings = [*info.when.items(), (info.path, data.draw(values(info)))]
        overrides = [f"{path}={toml_value(value)}" for path, value in settings]
        try:
            scenario = Scenario.from_toml(scenario.to_toml(), Path(), overrides)
        except InputError:  # it does not fit the others
            assume(False)
    text = scenario.to_toml()
    again = Scenario.from_toml(text, Path("elsewhere"))
    assert again == scenario
    assert again.to_toml() == text


NAMES = sorted({step.removesuffix("[]") for info in KEYS for step in info.path.split(".")})
TAGS = sorted({choice for info in KEYS for choice in info.choices})
LEAVES = st.one_of(st.integers(), st.floats(), st.booleans(), st.dates(), st.text(max_size=3), st.sampled_from(TAGS))
ANYTHING = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(list(Scenario.model_fields)), ANYTHING, max_size=4))
def test_anything_else_is_refused_in_sentences(data: dict[str, Any]) -> None:
    sentences = ""
    try:
        Scenario.from_toml(tomli_w.dumps(data), Path(), source="a.toml")
    except InputError as error:
        sentences = str(error)
    assert all(line.startswith("a.toml: ") for line in sentences.splitlines())

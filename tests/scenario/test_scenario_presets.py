"""Presets: found by name and alias, complete, and fit to be used as they are."""

from typing import get_args

import pytest

from simcore.errors import InputError
from simcore.geometry import pool_size
from simcore.scenario import Scenario
from simcore.scenario.presets import Kind, preset_names, preset_text, read_preset
from simcore.timing import make_timer

PRESETS = [(kind, name) for kind in get_args(Kind) for name in preset_names(kind)]
SCENARIOS = {
    "default",
    "chat",
    "code-completion",
    "summarization",
    "agents",
    "api-burst",
    "overload",
    "long-context",
    "parallel-samples",
    "beam-search",
    "orca",
    "pruning",
    "swapping",
    "tiers",
}


def test_scenarios_are_there() -> None:
    assert set(preset_names("scenarios")) == SCENARIOS
    assert Scenario.preset("summarisation") == Scenario.preset("summarization")


@pytest.mark.parametrize(("kind", "name"), PRESETS)
def test_preset_is_well_named(kind: Kind, name: str) -> None:
    preset = read_preset(kind, name)
    names = [preset["name"], *preset.get("aliases", [])]
    assert preset["name"] == name
    assert preset["description"]
    assert f'name = "{name}"' in preset_text(kind, name)
    for alias in names:
        assert alias == alias.lower()
        assert not set(alias) & set(" _/\\")
        assert read_preset(kind, alias) == preset
    if kind != "scenarios":
        assert preset["source"]


@pytest.mark.parametrize("kind", get_args(Kind))
def test_names_are_unique(kind: Kind) -> None:
    presets = [read_preset(kind, name) for name in preset_names(kind)]
    names = [name for preset in presets for name in (preset["name"], *preset.get("aliases", []))]
    assert len(names) == len(set(names))


def test_a_preset_belongs_to_its_reader() -> None:
    read_preset("scenarios", "default")["workload"].clear()
    assert read_preset("scenarios", "default")["workload"]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_scenario_can_be_run(name: str) -> None:
    scenario = Scenario.preset(name)
    assert scenario.name == name
    pool = pool_size(scenario)
    assert pool.blocks > 1
    assert not pool.warnings
    assert make_timer(scenario).ticks(seqs=1, tokens=1, context=1, pairs=1) > 0


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("models", "llama3-8", 'no model preset is called "llama3-8"; did you mean "llama-3-8b"?'),
        ("hardware", "A100", 'no hardware preset is called "A100"; did you mean "a100-80gb"?'),
        ("scenarios", "summary", 'no scenario preset is called "summary"; did you mean "summarization"?'),
        ("scenarios", "../x", 'no scenario preset is called "../x"; there are agents, api-burst, '),
    ],
)
def test_unknown_preset(kind: Kind, name: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        read_preset(kind, name)
    assert str(refused.value).startswith(sentence)


def test_a_preset_can_be_overridden() -> None:
    scenario = Scenario.preset("chat", ["name=more", "workload.arrivals.rate=9"])
    assert scenario.name == "more"
    assert scenario.workload.arrivals is not None
    assert scenario.workload.arrivals.model_dump() == {"process": "poisson", "rate": 9.0}
    with pytest.raises(InputError, match=r'^preset "overload": scheduler'):
        Scenario.preset("overload", ["scheduler.max_num_seqs=4096"])

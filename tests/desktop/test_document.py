"""The scenario that is edited: undo, problems, files."""

from pathlib import Path

import pytest
from PySide6.QtWidgets import QApplication

from app.desktop.document import Document, kind_of
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.scenario.presets import preset_names


@pytest.fixture
def document(qapp: QApplication) -> Document:
    return Document()


def test_typing_is_one_step_of_undo(document: Document) -> None:
    for text in ("6", "60", "600"):
        document.set("memory.blocks", int(text), typing=True)
    document.seal()
    document.set("memory.blocks", 700, typing=True)
    assert document.undo.count() == 2
    document.undo.undo()
    assert document.value("memory.blocks") == 600
    document.undo.undo()
    assert document.value("memory.blocks") == 500
    assert document.saved
    document.undo.redo()
    assert document.value("memory.blocks") == 600
    assert document.scenario is not None
    assert document.scenario.memory.blocks == 600


def test_typing_back_to_what_was_there_is_no_edit(document: Document) -> None:
    document.set("memory.blocks", 5001, typing=True)
    document.set("memory.blocks", 500, typing=True)
    assert document.undo.count() == 0
    assert document.saved


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("memory.blocks", "abc"),
        ("memory.block_size", 0),
        ("memory.eviction.policy", "lru-q"),
        ("scheduler.max_num_batched_tokens", 8),
        ("workload.arrivals.rate", -1.0),
        ("workload.output.min", 900),
    ],
)
def test_problems_are_the_sentences_of_the_command_line(
    document: Document, tmp_path: Path, key: str, value: object
) -> None:
    document.set(key, value)
    path = tmp_path / "wrong.toml"
    document.save(path)
    with pytest.raises(InputError) as told:
        Scenario.load(path)
    assert "\n".join(f"{path}: {sentence}" for sentence in document.problems.values()) == str(told.value)
    assert not document.valid
    document.undo.undo()
    assert document.valid


def test_what_does_not_fit_the_hardware_is_a_problem(document: Document) -> None:
    document.set("memory.blocks", None)
    document.set("model.preset", "llama-3-70b")
    assert document.problems
    assert not document.valid


def test_a_trace_that_is_not_there_is_a_problem_of_its_key(document: Document, tmp_path: Path) -> None:
    document.set("workload.trace", str(tmp_path / "none.csv"))
    assert "there is no such file" in document.problems["workload.trace"]
    document.set("workload.trace", None)
    assert document.valid
    assert document.value("workload.requests") == 1000


def test_another_variant_keeps_what_both_have(document: Document) -> None:
    document.set("workload.arrivals.process", "gamma")
    assert document.value("workload.arrivals.rate") == 4.0
    assert document.value("workload.arrivals.cv") == 2.0
    document.set("memory.eviction.policy", "lru-k")
    document.set("memory.eviction.k", 3)
    document.set("memory.eviction.policy", None)
    assert document.value("memory.eviction.policy") == "lru"
    assert document.valid


def test_values_of_a_variant_are_known_while_something_else_is_wrong(document: Document) -> None:
    document.set("memory.blocks", "abc")
    document.set("memory.eviction.policy", "s3-fifo")
    document.set("workload.arrivals.process", "bursts")
    assert document.value("memory.eviction.policy") == "s3-fifo"
    assert document.value("memory.eviction.small") == 0.1
    assert document.value("workload.arrivals.burst_rate") == 10.0


@pytest.mark.parametrize("preset", preset_names("scenarios"))
def test_every_preset_opens_saves_and_opens_again(document: Document, tmp_path: Path, preset: str) -> None:
    document.start(preset)
    assert document.valid, document.problems
    before = document.scenario
    path = tmp_path / "saved.toml"
    document.save(path)
    document.open(path)
    assert document.scenario == before == Scenario.preset(preset)
    assert document.saved


def test_a_file_with_wrong_values_opens_with_its_problems(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text('name = "mine"\n[memory]\nblocks = "many"\nblok_size = 4\n[hardware]\npreset = "l4"\n')
    document.open(path)
    assert set(document.problems) == {"memory.blocks", "memory.blok_size"}
    assert document.scenario is None
    assert document.value("memory.block_size") == 16
    document.set("memory.blocks", 400)
    document.set("memory.blok_size", None)
    assert document.valid, document.problems


def test_what_is_no_toml_leaves_the_document_as_it_was(document: Document, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("name = \n")
    with pytest.raises(InputError, match="line 1"):
        document.open(path)
    assert document.name == "default"


def test_kinds_of_paths(tmp_path: Path) -> None:
    (tmp_path / "summary.json").touch()
    assert kind_of(tmp_path) == "results"
    assert kind_of(tmp_path / "a.toml") == "scenario"
    assert kind_of(tmp_path / "a.csv.gz") == "trace"

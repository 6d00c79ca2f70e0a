"""Forms: a field for every key, marked where it is wrong."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication, QComboBox, QLineEdit
from pytestqt.qtbot import QtBot

from app.desktop.document import TAGS, Document
from app.desktop.fields import ChoiceField, SwitchField, TextField
from app.desktop.forms import Form
from simcore.policies.eviction import EVICTION
from simcore.policies.eviction.base import Eviction
from simcore.policies.eviction.lru import LRU
from simcore.schema import KeyInfo


@pytest.fixture
def form(qtbot: QtBot) -> Form:
    form = Form(Document())
    form.document.setParent(form)
    form.resize(420, 900)
    qtbot.addWidget(form)
    form.show()
    return form


def show_all(form: Form) -> None:
    for group in form.groups.values():
        group.all = True
    form.sync()


def shown(form: Form) -> set[str]:
    return {path for path, field in form.fields.items() if field.isVisible()}


def test_basic_keys_first_and_the_rest_below_more(form: Form, qtbot: QtBot) -> None:
    assert {"memory.blocks", "memory.eviction.policy", "scheduler.max_num_seqs"} <= shown(form)
    assert "memory.keep_unwritten" not in shown(form)
    qtbot.mouseClick(form.groups["memory"].more, Qt.MouseButton.LeftButton)
    assert "memory.keep_unwritten" in shown(form)


def test_what_a_new_section_chooses_is_shown_first(qtbot: QtBot) -> None:
    """A family that nobody has named as needed first: its policy is seen at once, in words, and what it brings."""
    document = Document()
    known = {"default": None, "unit": "", "choices": (), "limits": {}, "words": "", "when": {}}
    document.known += (
        KeyInfo(path="shrinking", type="table", help="What is left out.", **known),
        KeyInfo(
            path="shrinking.policy",
            type="text",
            help="How tokens are chosen. none: no token is left out; window: the last ones stay.",
            **known | {"default": "none", "choices": ("none", "window", "heavy-hitters")},
        ),
        KeyInfo(
            path="shrinking.budget",
            type="whole number",
            help="How many stay.",
            **known | {"default": 256, "unit": "tokens", "when": {"shrinking.policy": "window"}},
        ),
        KeyInfo(path="shrinking.rarely", type="number", help="Seldom.", **known),
    )
    form = Form(document)
    document.setParent(form)
    qtbot.addWidget(form)
    form.resize(420, 3000)
    form.show()
    assert form.groups["shrinking"].head.text() == "Shrinking"
    assert {path for path in shown(form) if path.startswith("shrinking")} == {"shrinking.policy"}
    field = form.fields["shrinking.policy"]
    assert isinstance(field, ChoiceField)
    assert [field.editor.itemText(place) for place in range(field.editor.count())] == [
        "none",
        "window",
        "heavy-hitters",
    ]
    assert "more" in form.groups["shrinking"].more.text()


def test_every_key_has_a_field_when_it_exists(form: Form) -> None:
    document = form.document
    for table in ("workload.conversations", "hardware.flops", "metrics.slo"):
        document.set(table, {})
    together: dict[tuple[tuple[str, str], ...], list[KeyInfo]] = {}
    for info in document.known:
        if "[]" not in info.path and info.type != "table":
            together.setdefault(tuple(info.when.items()), []).append(info)
    for choices, infos in together.items():
        for tag, choice in choices:
            document.set(tag, choice)
        show_all(form)
        assert {info.path for info in infos} <= shown(form), choices
        for info in infos:
            assert form.fields[info.path].editor.accessibleName()
            assert info.help in form.fields[info.path].editor.toolTip()


def test_typing_a_wrong_value_marks_the_field_and_undo_takes_it_back(form: Form, qtbot: QtBot) -> None:
    field = form.fields["memory.blocks"]
    assert isinstance(field.editor, QLineEdit)
    field.editor.selectAll()
    qtbot.keyClicks(field.editor, "1x")
    assert field.wrong.text() == 'memory.blocks is "1x", but must be a whole number from 2 to 1,000,000,000 (blocks)'
    assert field.wrong.isVisible()
    assert field.editor.property("wrong") is True
    form.document.undo.undo()
    assert not field.wrong.isVisible()
    assert field.editor.text() == "500"


def test_a_problem_without_a_field_is_told_above(form: Form) -> None:
    form.document.replace({"name": "mine", "memory": {"blok_size": 3}}, "test")
    assert "memory.blok_size is not a key" in form.sentence.text()
    assert form.banner.isVisible()


def test_choosing_a_policy_brings_its_parameters(form: Form, qtbot: QtBot) -> None:
    field = form.fields["memory.eviction.policy"]
    assert isinstance(field, ChoiceField)
    box = field.editor
    assert isinstance(box, QComboBox)
    box.setFocus()
    while box.currentText() != "lru-k":
        qtbot.keyClick(box, Qt.Key.Key_Down)
    assert form.document.value("memory.eviction.policy") == "lru-k"
    assert "memory.eviction.k" in shown(form)
    assert box.itemData(box.currentIndex(), Qt.ItemDataRole.ToolTipRole)
    qtbot.mouseClick(field.back, Qt.MouseButton.LeftButton)
    assert form.document.value("memory.eviction.policy") == "lru"
    assert "memory.eviction.k" not in shown(form)


def test_arrows_step_a_number_within_its_range(form: Form, qtbot: QtBot) -> None:
    editor = form.fields["memory.block_size"].editor
    assert isinstance(editor, QLineEdit)
    assert editor.placeholderText() == "16"
    qtbot.keyClick(editor, Qt.Key.Key_Up)
    assert form.document.value("memory.block_size") == 17
    for _ in range(3):
        qtbot.keyClick(editor, Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert form.document.value("memory.block_size") == 1
    assert form.document.undo.count() == 1


def test_a_switch_is_clicked(form: Form, qtbot: QtBot) -> None:
    field = form.fields["memory.prefix_caching"]
    assert isinstance(field, SwitchField)
    qtbot.keyClick(field.editor, Qt.Key.Key_Space)
    assert form.document.value("memory.prefix_caching") is False


def test_search_finds_keys_by_words_of_their_help(form: Form, qtbot: QtBot) -> None:
    qtbot.keyClicks(form.search, "sliding window")
    assert "memory.prefix_retention" in shown(form)
    assert "memory.blocks" not in shown(form)
    form.search.setText("no such thing at all")
    assert not shown(form)
    assert form.nothing.isVisible()
    form.search.clear()
    form.show_key("scheduler.watermark")
    assert "scheduler.watermark" in shown(form)


def test_a_list_of_tables_is_typed_as_toml(form: Form) -> None:
    form.document.start("tiers")
    show_all(form)
    field = form.fields["memory.tiers"]
    assert isinstance(field, TextField)
    before = field.editor.text()
    assert before.startswith("[{")
    field.editor.textEdited.emit("[{ name = 3 }]")
    assert "memory.tiers[0].name" in form.document.problems
    assert field.wrong.isVisible()
    form.document.undo.undo()
    assert field.editor.text() == before


@pytest.fixture
def newcomer(qapp: QApplication) -> Iterator[type[Eviction]]:
    """A policy that was not there before."""
    from simcore.policies.base import parameter
    from simcore.scenario.scenario import refresh

    @dataclass(eq=False)
    class Newcomer(LRU):
        """Evicts as LRU does."""

        name = "newcomer"
        patience: int = parameter(3, help="How long it waits.", unit="blocks", ge=1, le=9)

    EVICTION.add(Newcomer)
    refresh()
    yield Newcomer
    EVICTION._members.pop("newcomer")
    refresh()


def test_a_new_policy_appears_with_its_parameters(newcomer: type[Eviction], form: Form) -> None:
    box = form.fields["memory.eviction.policy"].editor
    assert isinstance(box, QComboBox)
    assert box.findData("newcomer") >= 0
    form.document.set("memory.eviction.policy", "newcomer")
    field = form.fields["memory.eviction.patience"]
    assert field.isVisible()
    form.document.set("memory.eviction.patience", 10)
    assert "from 1 to 9 (blocks)" in field.wrong.text()


def test_tags_are_the_first_keys_of_their_tables() -> None:
    """What chooses a variant is told by its name."""
    document = Document()
    tags = {path.rpartition(".")[2] for info in document.known for path in info.when}
    assert tags <= set(TAGS)

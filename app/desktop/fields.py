"""Fields of the scenario's forms: one for each kind of key, with its default in grey and what is wrong below it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PySide6.QtCore import QEvent, QObject, QSignalBlocker, QSize, Qt
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.document import TAGS, Document, family_of
from simcore.errors import InputError
from simcore.scenario.describe import toml_value
from simcore.scenario.load import parse_toml
from simcore.scenario.presets import preset_names, read_preset
from simcore.schema import REQUIRED, KeyInfo, Section, shown

LABEL_WIDTH = 112
UNIT_WIDTH = 58
_WORDS = {"kv": "KV", "slo": "SLO", "ttft": "TTFT", "tpot": "TPOT", "cv": "CV", "num": "", "seqs": "sequences"}
_PRESETS = {"model.preset": "models", "hardware.preset": "hardware"}


def title_of(key: str, group: str = "") -> str:
    """A key below the table `group` as words: in `memory`, `memory.block_size` is Block size, `memory.tiers.eviction.k`
    Tiers, eviction: k. Of what chooses a table, the table's.
    """
    parts = key.removeprefix(f"{group}.").split(".")
    if parts[-1] in TAGS and len(parts) > 1:
        parts.pop()
    named = [" ".join(word for part in name.split("_") if (word := _WORDS.get(part, part))) for name in parts]
    text = f"{', '.join(named[:-1])}: {named[-1]}" if len(named) > 1 else named[0]
    return text[:1].upper() + text[1:]


def parsed(text: str, info: KeyInfo) -> Any:
    """What a person typed, as a value: what is no number where one belongs stays the text that it is, to be refused."""
    text = text.strip()
    if not text:
        return None
    if info.type.startswith("list"):
        try:
            return parse_toml(f"value = {text}", info.path)["value"]
        except InputError:
            return text
    if info.type not in ("whole number", "number"):
        return text
    plain = text.replace(",", "").replace("_", "").replace("\u202f", "").replace(" ", "")
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        number = float(plain)
    except ValueError:
        return text
    return int(number) if info.type == "whole number" and number.is_integer() else number


def written(value: Any) -> str:
    """A value as a field shows it."""
    match value:
        case None:
            return ""
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case str() | int() | Path():
            return str(value)
        case Section():
            return str(next((getattr(value, tag) for tag in TAGS if hasattr(value, tag)), "set"))
        case _:
            return toml_value(value)


class Field(QWidget):
    """One key: its name, what it is now, its unit, a way back to the default, and what is wrong with it."""

    def __init__(self, document: Document, info: KeyInfo, group: str) -> None:
        """`group` is the table that it stands under."""
        super().__init__()
        self.document = document
        self.info = info
        self.title = title_of(info.path, group)
        self.key = info.path
        self.setAccessibleName(self.key)
        self.name = QLabel(self.title)
        self.name.setFixedWidth(LABEL_WIDTH)
        self.name.setWordWrap(True)
        self.unit = QLabel()
        self.unit.setProperty("role", "unit")
        self.unit.setFixedWidth(UNIT_WIDTH)
        self.back = QToolButton()
        self.back.setAutoRaise(True)
        self.back.setIconSize(QSize(14, 14))
        self.back.setToolTip("Back to the default")
        self.back.setAccessibleName(f"Reset {self.key} to its default")
        self.back.clicked.connect(lambda: self.document.set(self.key, None))
        policy = self.back.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self.back.setSizePolicy(policy)
        self.wrong = QLabel()
        self.wrong.setProperty("role", "bad")
        self.wrong.setWordWrap(True)
        self.wrong.setFont(theme.font(9))
        self.wrong.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.wrong.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.sign = QLabel()
        self.trouble = QWidget()
        below = QHBoxLayout(self.trouble)
        below.setContentsMargins(LABEL_WIDTH + 10, 0, 30, 4)
        below.setSpacing(6)
        below.addWidget(self.sign, 0, Qt.AlignmentFlag.AlignTop)
        below.addWidget(self.wrong, 1)
        self.trouble.hide()

        self.editor = self._editor()
        self.editor.setAccessibleName(self._spoken())
        self.editor.setAccessibleDescription(info.help)
        self.name.setBuddy(self.editor)
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self.name)
        row.addWidget(self.editor, 1)
        for extra in self._extras():
            row.addWidget(extra)
        row.addWidget(self.unit)
        row.addWidget(self.back)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 3, 0, 3)
        box.setSpacing(3)
        box.addLayout(row)
        box.addWidget(self.trouble)
        self.describe(info)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def describe(self, info: KeyInfo) -> None:
        """The same key of another variant: other limits, another help."""
        self.info = info
        self.unit.setText(info.unit)
        self.unit.setToolTip(info.unit)
        default = "" if info.default in (None, REQUIRED) else f"<br>Default: {shown_default(info)}"
        tip = f"<b>{self.key}</b><p>{info.help}</p>Must be {info.allowed}.{default}"
        for widget in (self.name, self.editor):
            widget.setToolTip(tip)

    def sync(self) -> None:
        """Show what the document holds."""
        with QSignalBlocker(self.editor):
            self._show()
        given = self.document.given(self.key) is not None
        if self.key.rpartition(".")[2] in TAGS:
            given = self.document.given(self.key.rpartition(".")[0]) is not None
        self.back.setVisible(given)
        sentence = next(
            (
                text
                for path, text in self.document.problems.items()
                if path and (path == self.key or path == self._table() or path.startswith(f"{self.key}["))
            ),
            "",
        )
        self.wrong.setText(sentence)
        self.trouble.setVisible(bool(sentence))
        if self.editor.property("wrong") != bool(sentence):
            self.editor.setProperty("wrong", bool(sentence))
            self.editor.style().unpolish(self.editor)
            self.editor.style().polish(self.editor)

    def matches(self, words: Iterable[str]) -> bool:
        """Whether key, name or help have all the words."""
        text = f"{self.key} {self.key.replace('_', ' ')} {self.name.text()} {self.info.help}".lower()
        return all(word in text for word in words)

    def _table(self) -> str:
        """Of what chooses a table, the table: what is wrong with that is said here."""
        table, _, name = self.key.rpartition(".")
        return table if name in TAGS else self.key

    def _spoken(self) -> str:
        return f"{self.title}, {self.info.unit}" if self.info.unit else self.title

    def _dress(self) -> None:
        self.back.setIcon(theme.icon("reset", "muted"))
        self.sign.setPixmap(theme.pixmap("wrong", 14, theme.current().bad, self.devicePixelRatioF()))

    def _editor(self) -> QWidget:
        raise NotImplementedError

    def _extras(self) -> list[QWidget]:
        return []

    def _show(self) -> None:
        raise NotImplementedError


class TextField(Field):
    """A number, a text, a path or a list, typed. Up and down step a number."""

    editor: QLineEdit

    def _editor(self) -> QLineEdit:
        line = QLineEdit()
        line.setClearButtonEnabled(False)
        line.setMinimumWidth(60)
        line.textEdited.connect(lambda text: self.document.set(self.key, parsed(text, self.info), typing=True))
        line.editingFinished.connect(self.document.seal)
        line.installEventFilter(self)
        return line

    def _show(self) -> None:
        given = self.document.given(self.key)
        if given is None or given != parsed(self.editor.text(), self.info):
            self.editor.setText(written(given))
        if given is None:
            value = self.document.value(self.key)
            self.editor.setPlaceholderText(written(value) if value is not None else self._of_preset())

    def _of_preset(self) -> str:
        """What a model's or a device's preset says where the scenario says nothing."""
        section, _, name = self.key.partition(".")
        scenario = self.document.scenario
        if scenario is None or section not in ("model", "hardware"):
            return {"memory.blocks": "derived", "workload.trace": "drawn"}.get(self.key, "not set")
        found = getattr(getattr(scenario, section).resolve(), name, None)
        return written(found) if isinstance(found, str | int | float) and found else "not set"

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Up and down add and take away a step, with Shift ten; undo is the document's, not the line's."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.ShortcutOverride:
            undo = event.matches(QKeySequence.StandardKey.Undo) or event.matches(QKeySequence.StandardKey.Redo)
            if undo:
                event.ignore()
                return True
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            way = {Qt.Key.Key_Up: 1, Qt.Key.Key_Down: -1}.get(Qt.Key(event.key()))
            if way and self.info.type in ("whole number", "number"):
                far = 10 if event.modifiers() & Qt.KeyboardModifier.ShiftModifier else 1
                self._step(way * far)
                return True
        return super().eventFilter(watched, event)

    def _step(self, by: int) -> None:
        value = self.document.value(self.key)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return
        if self.info.type == "whole number":
            stepped: float = int(value) + by * (1 if abs(value) < 200 else 10 ** (len(str(abs(int(value)))) - 2))
        else:
            size = 10.0 ** (len(str(int(abs(value)))) - 2) if abs(value) >= 1 else 0.01
            stepped = round(float(value) + by * size, 6)
        limits = self.info.limits
        stepped = max(stepped, limits.get("ge", limits.get("gt", stepped)))
        stepped = min(stepped, limits.get("le", limits.get("lt", stepped)))
        self.document.set(self.key, stepped, typing=True)


class PathField(TextField):
    """A file or a folder."""

    def _extras(self) -> list[QWidget]:
        self.browse = QToolButton()
        self.browse.setToolTip("Choose a file")
        self.browse.setAccessibleName(f"Choose a file for {self.key}")
        self.browse.clicked.connect(self._ask)
        return [self.browse]

    def _ask(self) -> None:
        chosen, _ = QFileDialog.getOpenFileName(self, self.title, str(self.document.value(self.key) or ""))
        if chosen:
            self.document.set(self.key, chosen)

    def _dress(self) -> None:
        super()._dress()
        self.browse.setIcon(theme.icon("folder", "muted"))


class ChoiceField(Field):
    """One of several: a text's choices, yes or no where neither may be given, the presets of a kind."""

    editor: QComboBox

    def _editor(self) -> QComboBox:
        box = QComboBox()
        box.setMinimumWidth(60)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        box.setMinimumContentsLength(4)
        box.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        box.installEventFilter(self)
        box.setMaxVisibleItems(24)
        for value, help in choices_of(self.info):
            box.addItem(written(value), value)
            box.setItemData(box.count() - 1, help, Qt.ItemDataRole.ToolTipRole)
        box.activated.connect(lambda _index: self.document.set(self.key, box.currentData()))
        return box

    def _show(self) -> None:
        value = self.document.value(self.key)
        place = self.editor.findData(value)
        if place < 0 and value is not None:
            self.editor.addItem(written(value), value)  # what is wrong is shown as it is
            place = self.editor.count() - 1
        if value is None:
            self.editor.setPlaceholderText("not set")
        self.editor.setCurrentIndex(place)
        help = self.editor.itemData(place, Qt.ItemDataRole.ToolTipRole) if place >= 0 else ""
        self.editor.setAccessibleDescription(f"{help or self.info.help}")

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """The wheel scrolls the form, it changes nothing in passing."""
        if event.type() == QEvent.Type.Wheel and not self.editor.hasFocus():
            event.ignore()
            return True
        return super().eventFilter(watched, event)


class SwitchField(Field):
    """Yes or no; or a table that is there or not."""

    editor: QCheckBox

    def _editor(self) -> QCheckBox:
        box = QCheckBox()
        box.clicked.connect(self._clicked)
        return box

    def _clicked(self, on: bool) -> None:
        if self.info.type == "table":
            self.document.set(self.key, {} if on else None)
        else:
            self.document.set(self.key, on)

    def _show(self) -> None:
        value = self.document.value(self.key)
        on = value is not None if self.info.type == "table" else bool(value)
        self.editor.setChecked(on)
        self.editor.setText("on" if on else "off")


def choices_of(info: KeyInfo) -> list[tuple[Any, str]]:
    """The values to choose from, each with a sentence of help where there is one."""
    if info.path in _PRESETS:
        kind: Any = _PRESETS[info.path]
        return [(name, str(read_preset(kind, name)["description"])) for name in preset_names(kind)]
    if info.type == "true or false":
        return [(True, ""), (False, "")]
    family = family_of(info)
    if family is not None and info.path.endswith(".policy"):
        return [(name, family[name].summary()) for name in info.choices]
    return [(name, _sentence_on(name, info.help)) for name in info.choices]


def _sentence_on(name: str, help: str) -> str:
    """Of a help that goes through the choices, `name: what it is`, the part on one of them."""
    _, colon, rest = f" {help}".partition(f" {name}: ")
    if not colon:
        return ""
    for mark in ("; ", ". "):
        rest = rest.partition(mark)[0]
    return rest


def shown_default(info: KeyInfo) -> str:
    """A default in words."""
    return toml_value(info.default) if isinstance(info.default, list | tuple) else shown(info.default)


def type_of(info: KeyInfo) -> type[Field]:
    """The kind of field that suits a key."""
    if info.path in _PRESETS or info.choices:
        return ChoiceField
    if info.type == "table":
        return SwitchField
    if info.type == "true or false":
        return ChoiceField if info.default is None else SwitchField
    return PathField if info.type == "path" else TextField

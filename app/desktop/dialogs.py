"""Windows that ask or tell: what went wrong, unsaved changes, the command palette, the sheet of shortcuts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from PySide6.QtCore import QEvent, QObject, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QDialog,
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from app.desktop.actions import MENUS, Actions, menu_of, shown_keys


def complain(parent: QWidget, title: str, sentence: str) -> None:
    """Say what went wrong; the window goes on."""
    box = QMessageBox(QMessageBox.Icon.Warning, title, sentence, QMessageBox.StandardButton.Ok, parent)
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.exec()


def ask_to_save(parent: QWidget, name: str) -> Literal["save", "discard", "cancel"]:
    """What becomes of edits that are not saved."""
    buttons = QMessageBox.StandardButton
    box = QMessageBox(
        QMessageBox.Icon.Question,
        "Unsaved changes",
        f"The scenario {name} has changes that are not saved.",
        buttons.Save | buttons.Discard | buttons.Cancel,
        parent,
    )
    box.setDefaultButton(buttons.Save)
    chosen = box.exec()
    return {buttons.Save: "save", buttons.Discard: "discard"}.get(buttons(chosen), "cancel")  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Command:
    """A line of the palette."""

    text: str
    run: Callable[[], object]
    kind: str = ""
    """what it is, on the right: a shortcut, or `preset`, `key`"""
    help: str = ""


def fuzzy(wanted: str, text: str) -> float | None:
    """How well a text fits what was typed, smaller is better; None: it lacks a letter. Letters have to come in order,
    and count best at the beginning of words and side by side.
    """
    wanted, low = wanted.lower().replace(" ", ""), text.lower()
    score, place, last = 0.0, 0, -2
    for letter in wanted:
        starts = [i for i in range(place, len(low)) if low[i] == letter and (i == 0 or not low[i - 1].isalnum())]
        found = last + 1 if last + 1 < len(low) and low[last + 1 : last + 2] == letter else low.find(letter, place)
        if found < 0:
            return None
        if found != last + 1 and starts:
            found = starts[0]
        score += 0.0 if found == last + 1 else 1.0 if found in starts else 4.0
        last, place = found, found + 1
    return score + len(text) / 200


class Palette(QDialog):
    """Type a few letters of what you want, and Enter."""

    def __init__(self, parent: QWidget, commands: list[Command]) -> None:
        super().__init__(parent, Qt.WindowType.Popup | Qt.WindowType.FramelessWindowHint)
        self.setWindowTitle("Command palette")
        self.commands = commands
        self.chosen: Command | None = None
        self.box = QLineEdit()
        self.box.setPlaceholderText("Do anything: an action, a page, a preset, a key of the scenario")
        self.box.setAccessibleName("Command")
        self.box.installEventFilter(self)
        self.box.textChanged.connect(self._filter)
        self.box.returnPressed.connect(self._take)
        self.list = QListWidget()
        self.list.setAccessibleName("Commands")
        self.list.setFrameShape(QFrame.Shape.NoFrame)
        self.list.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.list.setUniformItemSizes(True)
        self.list.itemClicked.connect(lambda _item: self._take())
        box = QVBoxLayout(self)
        box.setContentsMargins(10, 10, 10, 10)
        box.addWidget(self.box)
        box.addWidget(self.list)
        self.resize(640, 420)
        self._filter("")

    def _filter(self, text: str) -> None:
        ranked = [(fuzzy(text, command.text), command) for command in self.commands]
        found = sorted(((score, command) for score, command in ranked if score is not None), key=lambda pair: pair[0])
        self.list.clear()
        for _, command in found[:60]:
            item = QListWidgetItem(self.list)
            item.setData(Qt.ItemDataRole.UserRole, command)
            item.setData(Qt.ItemDataRole.AccessibleTextRole, f"{command.text} {command.kind}")
            line = QWidget()
            row = QHBoxLayout(line)
            row.setContentsMargins(8, 5, 8, 5)
            row.addWidget(QLabel(command.text))
            row.addStretch(1)
            kind = QLabel(command.kind)
            kind.setProperty("role", "muted")
            row.addWidget(kind)
            item.setToolTip(command.help)
            item.setSizeHint(line.sizeHint())
            self.list.setItemWidget(item, line)
        self.list.setCurrentRow(0)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Up and down move in the list while the letters go on into the line."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            step = {Qt.Key.Key_Down: 1, Qt.Key.Key_Up: -1, Qt.Key.Key_PageDown: 8, Qt.Key.Key_PageUp: -8}
            if by := step.get(Qt.Key(event.key())):
                self.list.setCurrentRow(min(max(self.list.currentRow() + by, 0), self.list.count() - 1))
                return True
        return super().eventFilter(watched, event)

    def _take(self) -> None:
        item = self.list.currentItem()
        if item is not None:
            self.chosen = item.data(Qt.ItemDataRole.UserRole)
            self.accept()


class Shortcuts(QDialog):
    """All keys, in the groups of the menus."""

    def __init__(self, parent: QWidget, actions: Actions) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keyboard shortcuts")
        inside = QWidget()
        grid = QGridLayout(inside)
        grid.setContentsMargins(20, 16, 20, 16)
        grid.setHorizontalSpacing(36)
        groups: dict[str, list[tuple[str, str]]] = {}
        for action, _ in actions:
            if action.keys:
                title = MENUS.get(menu_of(action), menu_of(action).capitalize())
                groups.setdefault(title, []).append((shown_keys(action), action.text))
        groups["Charts"] = [
            ("Arrows", "Move the chart that has the focus"),
            ("+  -", "Zoom it"),
            ("0", "Show all of it"),
            ("Shift+drag", "Select a range of time"),
            ("Wheel, drag", "Zoom and move"),
            ("Double click", "Show all"),
        ]
        columns = [QVBoxLayout() for _ in range(3)]
        heights = [0, 0, 0]
        for title, rows in groups.items():
            place = heights.index(min(heights))
            heights[place] += len(rows) + 2
            heading = QLabel(title)
            heading.setProperty("role", "heading")
            columns[place].addWidget(heading)
            table = QGridLayout()
            table.setContentsMargins(0, 4, 0, 16)
            table.setHorizontalSpacing(12)
            table.setVerticalSpacing(7)
            table.setColumnStretch(1, 1)
            table.setColumnMinimumWidth(0, 104)
            for line, (keys, text) in enumerate(rows):
                cap = QLabel(keys)
                cap.setProperty("role", "key")
                table.addWidget(cap, line, 0, Qt.AlignmentFlag.AlignLeft)
                table.addWidget(QLabel(text), line, 1)
            columns[place].addLayout(table)
        for place, column in enumerate(columns):
            column.addStretch(1)
            grid.addLayout(column, 0, place)
        area = QScrollArea()
        area.setWidgetResizable(True)
        area.setWidget(inside)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(area)
        self.resize(inside.sizeHint().width() + 60, min(inside.sizeHint().height() + 20, 720))

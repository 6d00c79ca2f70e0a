"""All that can be done, described once: menus, tool bars, the command palette and the sheet of shortcuts are made
from the same actions.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from PySide6.QtCore import QObject, Qt, Signal
from PySide6.QtGui import QAction, QKeySequence
from PySide6.QtWidgets import QWidget

from app.desktop import theme


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that can be done."""

    id: str
    """`file.open`: the part before the dot is the menu it stands in, in the order of MENUS"""
    text: str
    """what menus and the palette call it; no mnemonics, no dots at the end"""
    run: Callable[[], object]
    keys: tuple[str, ...] = ()
    """shortcuts as Qt writes them, the first of which is shown"""
    help: str = ""
    """one sentence"""
    icon: str = ""
    """a name of assets/icons"""
    checkable: bool = False
    tint: str = "text"
    """the theme's colour of its icon"""


MENUS = {
    "file": "File",
    "edit": "Edit",
    "view": "View",
    "go": "Go",
    "run": "Run",
    "time": "Time",
    "chart": "Chart",
    "help": "Help",
}
"""What the parts before the dot are called; an id that begins otherwise is only in the palette and the sheet."""


class Actions(QObject):
    """The registry. An action that is added again under its id takes the place of the old one."""

    changed = Signal()

    def __init__(self, owner: QWidget) -> None:
        super().__init__(owner)
        self._owner = owner
        self._actions: dict[str, Action] = {}
        self._made: dict[str, QAction] = {}
        theme.themes.changed.connect(self._tint)

    def add(self, *actions: Action, widget: QWidget | None = None) -> None:
        """Register actions; with a `widget`, their keys work where it, or what is in it, has the focus."""
        for action in actions:
            self.remove(action.id)
            made = QAction(action.text, self)
            made.setObjectName(action.id)
            made.setShortcuts([QKeySequence(keys) for keys in action.keys])
            made.setShortcutContext(
                Qt.ShortcutContext.WidgetWithChildrenShortcut if widget else Qt.ShortcutContext.WindowShortcut
            )
            made.setToolTip(tooltip(action))
            made.setStatusTip(action.help)
            made.setCheckable(action.checkable)
            made.triggered.connect(lambda _checked=False, run=action.run: run())
            (widget or self._owner).addAction(made)
            self._actions[action.id] = action
            self._made[action.id] = made
        self._tint()
        self.changed.emit()

    def remove(self, *ids: str) -> None:
        """Forget actions; ids that are not known are passed over."""
        for name in ids:
            if made := self._made.pop(name, None):
                del self._actions[name]
                made.deleteLater()

    def __getitem__(self, name: str) -> QAction:
        return self._made[name]

    def __contains__(self, name: str) -> bool:
        return name in self._made

    def __iter__(self) -> Iterator[tuple[Action, QAction]]:
        """In the order of the menus, and inside of one in the order of registration."""
        order = list(MENUS)
        found = sorted(
            self._actions.values(), key=lambda each: order.index(menu_of(each)) if menu_of(each) in MENUS else 99
        )
        return ((each, self._made[each.id]) for each in found)

    def enable(self, name: str, on: bool) -> None:
        """Whether an action can be done now; an unknown one is passed over."""
        if name in self._made:
            self._made[name].setEnabled(on)

    def _tint(self) -> None:
        for name, made in self._made.items():
            if self._actions[name].icon:
                made.setIcon(theme.icon(self._actions[name].icon, self._actions[name].tint))


def menu_of(action: Action) -> str:
    """The part of its id before the dot."""
    return action.id.partition(".")[0]


def shown_keys(action: Action) -> str:
    """Its first shortcut as this system writes it; empty: none."""
    return QKeySequence(action.keys[0]).toString(QKeySequence.SequenceFormat.NativeText) if action.keys else ""


def tooltip(action: Action) -> str:
    """Name, key, and a sentence."""
    keys = f" ({shown_keys(action)})" if action.keys else ""
    return f"<b>{action.text}</b>{keys}" + (f"<br>{action.help}" if action.help else "")

"""What can be done anywhere in the window: its actions, the menus that have them, and the palette's commands."""

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, QTimer
from PySide6.QtGui import QActionGroup
from PySide6.QtWidgets import QMenu

from app.desktop import settings, theme
from app.desktop.actions import MENUS, Action, menu_of, shown_keys
from app.desktop.dialogs import Command
from app.desktop.reader import pages
from simcore.scenario.presets import preset_names, read_preset

if TYPE_CHECKING:
    from app.desktop.window import MainWindow

THEMES = {"system": "System", "dark": "Dark", "light": "Light", "contrast": "High contrast"}


def actions_of(window: "MainWindow") -> list[Action]:
    """Those that no page and no bar brings."""
    return [
        Action("file.new", "New", lambda: window.new("default"), ("Ctrl+N",), "The default scenario.", "new"),
        Action("file.open", "Open", window.ask_to_open, ("Ctrl+O",), "A scenario or a trace.", "open"),
        Action(
            "file.open-folder",
            "Open results",
            window.ask_for_folder,
            ("Ctrl+Shift+O",),
            "A folder of results, or of a trace.",
            "folder",
        ),
        Action("file.save", "Save", window.save, ("Ctrl+S",), "Write the scenario to its file.", "save"),
        Action("file.save-as", "Save as", window.save_as, ("Ctrl+Shift+S",), "Write it to another file."),
        Action("file.quit", "Quit", window.close, ("Ctrl+Q",), "Close the window; every run ends."),
        Action("edit.undo", "Undo", window.document.undo.undo, ("Ctrl+Z",), "Take back the last edit.", "undo"),
        Action("edit.redo", "Redo", window.document.undo.redo, ("Ctrl+Shift+Z", "Ctrl+Y"), "Do it again.", "redo"),
        Action("edit.find", "Find a key", window.find_key, ("Ctrl+F",), "In the scenario.", "search"),
        Action(
            "view.inspector",
            "Inspector",
            window.toggle_inspector,
            ("Ctrl+I",),
            "The scenario's form, and what is chosen, on the right.",
            "inspector",
            checkable=True,
        ),
        *(
            Action(
                f"view.theme-{name}",
                f"Theme: {text}",
                partial(window.use_theme, name),
                (),
                f"{text} colours.",
                checkable=True,
            )
            for name, text in THEMES.items()
        ),
        Action(
            "view.next-theme",
            "Next theme",
            window.next_theme,
            ("Ctrl+Shift+T",),
            "Dark, light, high contrast.",
            "theme",
        ),
        Action("view.full", "Full screen", window.full_screen, ("F11",), "Only this window."),
        Action(
            "help.palette", "Command palette", window.palette_, ("Ctrl+Shift+P", "Ctrl+K"), "Do anything.", "search"
        ),
        Action("help.keys", "Keyboard shortcuts", window.shortcuts, ("?",), "All keys.", "keyboard"),
        Action(
            "help.about-page",
            "What am I looking at",
            lambda: window.about.want(window.about.isHidden()),
            ("F1",),
            "Two sentences on this page.",
            "help",
        ),
        Action(
            "help.read", "Documentation", window.read, ("Shift+F1",), "The ideas, and all that can be done.", "open"
        ),
        Action("help.tour", "Tour", window.tour, (), "The window in a minute.", "tour"),
    ]


class Menus(QObject):
    """The menus of all actions that there are; they follow when a page brings more."""

    def __init__(self, window: "MainWindow") -> None:
        super().__init__(window)
        self.window_ = window
        self._menus: dict[str, QMenu] = {}
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.fill)
        window.actions_.changed.connect(lambda: self._timer.start(0))
        self.fill()

    def fill(self) -> None:
        """Make them anew."""
        bar, window = self.window_.menuBar(), self.window_
        bar.clear()
        for menu in self._menus.values():
            menu.deleteLater()
        menus = self._menus = {}
        for action, made in window.actions_:
            name = menu_of(action)
            if name not in MENUS:
                continue
            if name not in menus:
                menus[name] = QMenu(f"&{MENUS[name]}", bar)
                bar.addMenu(menus[name])
            if action.id == "file.save":
                self.recent = QMenu("Open recent", menus[name])
                menus[name].addMenu(self.recent)
                self.recent.aboutToShow.connect(self.fill_recent)
                presets = QMenu("New from preset", menus[name])
                presets.setToolTipsVisible(True)
                menus[name].addMenu(presets)
                for preset in preset_names("scenarios"):
                    about = read_preset("scenarios", preset)["description"]
                    presets.addAction(preset, partial(window.new, preset)).setToolTip(about)
                menus[name].addSeparator()
            if action.id in ("file.quit", "edit.find", "view.theme-system", "view.next-theme", "help.about-page"):
                menus[name].addSeparator()
            menus[name].addAction(made)
        group = QActionGroup(bar)
        for name in THEMES:
            group.addAction(window.actions_[f"view.theme-{name}"])
        window.actions_[f"view.theme-{theme.themes.choice}"].setChecked(True)

    def fill_recent(self) -> None:
        """What was open lately may be something else."""
        self.recent.clear()
        for path in settings.recent():
            self.recent.addAction(_short(path), partial(self.window_.open_path, path))
        if self.recent.isEmpty():
            self.recent.addAction("Nothing yet").setEnabled(False)
        else:
            self.recent.addSeparator()
            self.recent.addAction("Clear the list", settings.forget_recent)


def commands_of(window: "MainWindow") -> list[Command]:
    """All that the palette offers."""
    found = [
        Command(
            f"{MENUS[menu_of(action)]}: {made.text()}" if menu_of(action) in MENUS else made.text(),
            made.trigger,
            shown_keys(action),
            action.help,
        )
        for action, made in window.actions_
        if made.isEnabled() and action.id != "help.palette"
    ]
    for preset in preset_names("scenarios"):
        about = str(read_preset("scenarios", preset)["description"])
        found.append(Command(f"New: {preset}", partial(window.new, preset), "preset", about))
    found += [Command(f"Read: {title}", partial(window.read, name), "page") for name, title in pages().items()]
    return found + [
        Command(info.path, partial(window.show_key, info.path), "key", info.help)
        for info in window.document.infos()
        if info.type != "table"
    ]


def _short(path: Path) -> str:
    """A path as a menu has room for it."""
    text = str(path)
    with suppress(ValueError, RuntimeError):  # the second where nobody knows a home
        text = f"~/{path.relative_to(Path.home())}"
    return text if len(text) <= 60 else f"... {text[-56:]}"

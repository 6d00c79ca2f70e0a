"""The window: rail, transport, the stack of pages, inspector, status; and what is opened and saved in it."""

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path

from PySide6.QtCore import QByteArray, QPoint, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import (
    QApplication,
    QDockWidget,
    QFileDialog,
    QHBoxLayout,
    QMainWindow,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.desktop import settings, theme
from app.desktop.actions import Action, Actions, tooltip
from app.desktop.dialogs import Palette, Shortcuts, ask_to_save, complain
from app.desktop.document import Document, kind_of
from app.desktop.forms import Form
from app.desktop.menus import Menus, actions_of, commands_of
from app.desktop.pages import PAGES, Entry
from app.desktop.pages.base import Context, Page
from app.desktop.rail import About, Rail
from app.desktop.reader import START, Reader, folder
from app.desktop.status import Status
from app.desktop.tasks import Tasks
from app.desktop.transport import Session, Transport
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.scenario.load import parse_toml, read_text
from simcore.scenario.presets import read_preset

STATUS_MS = 8000
"""How long a message stands in the status bar."""


class MainWindow(QMainWindow):
    """See the module."""

    def __init__(self, make_session: Callable[[QWidget], Session] | None = None) -> None:
        super().__init__()
        self.setAcceptDrops(True)
        self.document = Document(self)
        self.actions_ = Actions(self)
        self.tasks = Tasks(self)
        self.session = make_session(self) if make_session else None
        self.context = Context(self.document, self.actions_, self.tasks, self.session, self)
        self.entries: dict[str, Entry] = {}
        self.pages: dict[str, Page] = {}
        self.shown: Page | None = None
        self._own_actions: dict[str, list[str]] = {}
        self.form: Form | None = None
        self.reader: Reader | None = None
        self._running: Scenario | None = None
        """what was last started"""
        self._other = False
        """another document was opened since"""
        self._narrow = 0
        """its width before the inspector was shown"""

        self.rail = Rail()
        self.stack = QStackedWidget()
        self.about = About()
        self.about.followed.connect(self.read)
        right = QWidget()
        column = QVBoxLayout(right)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        self.transport: Transport | None = None
        if self.session is not None:
            self.transport = Transport(self.session, self.actions_)
            self.transport.begin_wanted.connect(self.begin)
            self.transport.went_on.connect(self._watch)
            self.session.failed.connect(lambda sentence: complain(self, "The run has ended", sentence))
            column.addWidget(self.transport)
        column.addWidget(self.about)
        column.addWidget(self.stack, 1)
        middle = QWidget()
        row = QHBoxLayout(middle)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(0)
        row.addWidget(self.rail)
        row.addWidget(right, 1)
        self.setCentralWidget(middle)
        self._make_inspector()
        self.status = Status(self.document)
        self.status.verdict.clicked.connect(lambda: self.show_problem() if self.document.problems else self.find_key())
        self.setStatusBar(self.status)
        self.actions_.add(*actions_of(self))
        self._follow_undo()
        for name, entry in PAGES.items():
            self.add_page(name, entry)
        self.menus = Menus(self)
        self.document.changed.connect(self._document_changed)
        self.document.renamed.connect(self._renamed)
        self.document.opened.connect(self._opened)
        self._document_changed()
        self._restore()

    # Pages

    def add_page(self, name: str, entry: Entry) -> None:
        """Give a page its place at the end of the rail."""
        self.entries[name] = entry
        number = len(self.entries)
        action = Action(
            f"go.{name}",
            entry.title,
            lambda: self.show_page(name),
            (f"Ctrl+{number}",) if number < 10 else (),
            f"The page {entry.title}.",
            entry.icon,
        )
        self.actions_.add(action)
        self.rail.add(name, entry.title, entry.icon, tooltip(action), lambda: self.show_page(name))

    def show_page(self, name: str) -> Page | None:
        """Go to a page, which is made the first time; None: there is no such page."""
        if name not in self.entries:
            return None
        page = self._page(name)
        if page is self.shown:
            return page
        if self.shown is not None:
            self.shown.leave()
            for own in self._own_actions.get(self.shown.id, ()):
                self.actions_.enable(own, False)
        self.shown = page
        self.stack.setCurrentWidget(page)
        self.rail.mark(name)
        for own in self._own_actions.get(name, ()):
            self.actions_.enable(own, True)
        self.about.tell(page)
        wanted = settings.flag(f"inspector/{name}", page.inspector)
        self._show_inspector(wanted)
        page.enter()
        page.setFocus(Qt.FocusReason.OtherFocusReason)
        return page

    def _page(self, name: str) -> Page:
        if name not in self.pages:
            entry = self.entries[name]
            page: Page = getattr(import_module(entry.module), entry.kind)(self.context)
            page.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
            self.pages[name] = page
            self.stack.addWidget(page)
            own = page.actions_of()
            self.actions_.add(*own)
            self._own_actions[name] = [action.id for action in own]
        return self.pages[name]

    # Inspector

    def _make_inspector(self) -> None:
        self.dock = QDockWidget("Inspector", self)
        self.dock.setObjectName("inspector")
        self.dock.setAllowedAreas(Qt.DockWidgetArea.RightDockWidgetArea | Qt.DockWidgetArea.LeftDockWidgetArea)
        self.dock.setFeatures(QDockWidget.DockWidgetFeature.DockWidgetClosable)
        self.dock.setTitleBarWidget(QWidget())  # its tabs are title enough
        self.inspector = QTabWidget()
        self.inspector.setDocumentMode(True)
        self.inspector.setAccessibleName("Inspector")
        self.inspector.setMinimumWidth(390)
        self._scenario_tab = QWidget()
        QVBoxLayout(self._scenario_tab).setContentsMargins(12, 10, 6, 10)
        self.inspector.addTab(self._scenario_tab, "Scenario")
        self.dock.setWidget(self.inspector)
        self.addDockWidget(Qt.DockWidgetArea.RightDockWidgetArea, self.dock)
        self.dock.hide()

    def inspect(self, widget: QWidget) -> None:
        """Show a tab of the inspector."""
        self.toggle_inspector(True)
        self.inspector.setCurrentWidget(widget)

    def show_key(self, key: str) -> None:
        """Put the cursor into the field of a key: on the page of the workload, or in the inspector."""
        if key.split(".")[0] == "workload":
            page = self.show_page("workload")
            form = getattr(page, "form", None)
        else:
            self.toggle_inspector(True)
            self.inspector.setCurrentWidget(self._scenario_tab)
            form = self.form
        if isinstance(form, Form):
            form.show_key(key)

    def toggle_inspector(self, on: bool | None = None) -> None:
        """Show it, or hide it; None: the other of both."""
        on = self.dock.isHidden() if on is None else on
        focus = QApplication.focusWidget()
        inside = focus is not None and self.dock.isAncestorOf(focus)
        self._show_inspector(on)
        if not on and inside and self.shown is not None:
            self.shown.setFocus(Qt.FocusReason.OtherFocusReason)  # else a button of the bar gets it, and the next Space
        if self.shown is not None:
            settings.set_flag(f"inspector/{self.shown.id}", on)

    def _show_inspector(self, on: bool) -> None:
        """A window that has to grow for it is as wide as before when it goes."""
        if on and self.dock.isHidden():
            self._narrow = self.width()
            self.dock.show()
        elif not on and not self.dock.isHidden():
            before, forced = self._narrow, self.width() <= self.minimumSizeHint().width()
            self.dock.hide()
            if forced and before < self.width():
                if (layout := self.layout()) is not None:
                    layout.activate()  # so that its room is free
                self.resize(before, self.height())
        self.actions_["view.inspector"].setChecked(on)
        layout = self._scenario_tab.layout()
        if on and self.form is None and layout is not None:
            self.form = Form(self.document)
            layout.addWidget(self.form)
            self.form.show()
            self.resizeDocks([self.dock], [self.inspector.minimumWidth()], Qt.Orientation.Horizontal)

    # What can be done anywhere

    def _follow_undo(self) -> None:
        undo = self.document.undo
        undo.canUndoChanged.connect(self.actions_["edit.undo"].setEnabled)
        undo.canRedoChanged.connect(self.actions_["edit.redo"].setEnabled)
        self.actions_.enable("edit.undo", False)
        self.actions_.enable("edit.redo", False)
        undo.undoTextChanged.connect(lambda text: self.actions_["edit.undo"].setText(f"Undo {text}".strip()))
        undo.redoTextChanged.connect(lambda text: self.actions_["edit.redo"].setText(f"Redo {text}".strip()))

    def palette_(self) -> None:
        """Open the command palette."""
        palette = Palette(self, commands_of(self))
        palette.move(self.mapToGlobal(QPoint((self.width() - palette.width()) // 2, 72)))
        palette.box.setFocus()
        palette.finished.connect(lambda _code: QTimer.singleShot(0, palette, lambda: _run_chosen(palette)))
        palette.open()

    def shortcuts(self) -> None:
        """Open the sheet of shortcuts."""
        Shortcuts(self, self.actions_).open()

    def read(self, name: str = START) -> None:
        """Open a page of the documentation, or the one that lists them."""
        if folder() is None:
            complain(
                self, "No documentation", "The pages did not come along; they are in the folder docs of the source."
            )
            return
        if self.reader is None:
            self.reader = Reader(self)
        self.reader.read(name)
        self.reader.show()
        self.reader.raise_()
        self.reader.activateWindow()

    def tour(self) -> None:
        """Begin the tour."""
        from app.desktop.tour import Tour

        self.show_page("home")
        Tour(self).begin()

    def find_key(self) -> None:
        """Into the search field of the form that is shown, or of the inspector's."""
        form = getattr(self.shown, "form", None)
        if not isinstance(form, Form):
            self.toggle_inspector(True)
            self.inspector.setCurrentWidget(self._scenario_tab)
            form = self.form
        if form is not None:
            form.search.setFocus(Qt.FocusReason.ShortcutFocusReason)
            form.search.selectAll()

    # Documents

    def new(self, preset: str) -> bool:
        """Begin with a preset; False: the person wants to keep what is there."""
        if not self.may_leave():
            return False
        self.document.start(preset)
        self.say(f"Scenario {preset}: {read_preset('scenarios', preset)['description']}")
        return True

    def ask_to_open(self) -> None:
        """Ask for a scenario or a trace."""
        kinds = "All files (*);;Scenarios (*.toml);;Traces (*.csv *.jsonl *.gz *.tar.gz)"
        chosen, _ = QFileDialog.getOpenFileName(self, "Open", str(self._folder()), kinds)
        if chosen:
            self.open_path(Path(chosen))

    def ask_for_folder(self) -> None:
        """Ask for a folder of results or of a trace."""
        if chosen := QFileDialog.getExistingDirectory(self, "Open results", str(self._folder())):
            self.open_path(Path(chosen))

    def open_path(self, path: Path) -> bool:
        """Open a scenario, a trace, or a folder of results; what goes wrong is told. False: nothing was opened."""
        try:
            if not path.exists():
                raise InputError(f"{path}: there is no such file or folder")
            opened = self._open(path)
        except InputError as error:
            complain(self, "Not opened", str(error))
            return False
        if opened:
            settings.remember(path)
            self.say(f"Opened {path}")
        return opened

    def _open(self, path: Path) -> bool:
        if path.suffix == ".py":
            raise InputError(
                f"{path}: is code, which no window runs unasked; begin with kvscope desktop --policy FILE.py"
            )
        match kind_of(path):
            case "scenario":
                if not self.may_leave():
                    return False
                self.document.open(path)
                if self.shown is not None and self.shown.id == "home":
                    self.show_page("live")
                return True
            case "trace":
                return self._hand_to(("workload",), path)
            case _:
                return self._hand_to(("live", "reports"), path)

    def _hand_to(self, names: tuple[str, ...], path: Path) -> bool:
        for name in names:
            if self._page(name).open_path(path):
                self.show_page(name)
                return True
        return False

    def save(self) -> bool:
        """To its file; without one, ask. False: it was not saved."""
        return self._save_to(self.document.path) if self.document.path else self.save_as()

    def save_as(self) -> bool:
        """Ask for a file, and save. False: it was not saved."""
        proposal = self._folder() / f"{self.document.name}.toml"
        chosen, _ = QFileDialog.getSaveFileName(self, "Save the scenario", str(proposal), "Scenarios (*.toml)")
        if not chosen:
            return False
        path = Path(chosen)
        return self._save_to(path if path.suffix else path.with_suffix(".toml"))

    def _save_to(self, path: Path) -> bool:
        try:
            self.document.save(path)
        except InputError as error:
            complain(self, "Not saved", str(error))
            return False
        settings.remember(path)
        self.say(f"Saved {path}")
        return True

    def may_leave(self) -> bool:
        """Whether the scenario may be replaced: it is saved, or the person does not mind."""
        if self.document.saved:
            return True
        match ask_to_save(self, self.document.name):
            case "save":
                return self.save()
            case "discard":
                return True
            case _:
                return False

    def begin(self) -> None:
        """Start a run of the scenario, or show what keeps it from being one."""
        if self.session is None:
            return
        if not self.document.valid or self.document.scenario is None:
            self.show_problem()
            return
        self.show_page("live")
        self._running, self._other = self.document.scenario, False
        self.session.start(self.document.scenario)
        self._compare()

    def _watch(self) -> None:
        """A run goes on: Home has nothing to see of it."""
        if self.shown is not None and self.shown.id == "home":
            self.show_page("live")

    def _opened(self) -> None:
        """Another scenario is here: the run of the one before pauses, and Run begins anew."""
        if self.session is not None and self._running is not None:
            if self.session.state == "running":
                self.session.pause()
            self._other = True
        self._document_changed()

    def _compare(self) -> None:
        """Tell the bar of time whether what runs is what is edited."""
        if self.transport is not None and self._running is not None:
            self.transport.tell_scenario(other=self._other, edited=self._running != self.document.scenario)

    def show_problem(self) -> None:
        """Go to the first thing that is wrong."""
        key, sentence = next(iter(self.document.problems.items()), ("", ""))
        self.say(sentence)
        if key:
            self.show_key(key)
        else:
            self.inspect(self._scenario_tab)

    def say(self, text: str) -> None:
        """Into the status bar, for some seconds."""
        self.status.showMessage(text, STATUS_MS)

    def _folder(self) -> Path:
        return self.document.path.parent if self.document.path else Path.cwd()

    def _document_changed(self) -> None:
        self.status.tell()
        self._compare()

    def _renamed(self) -> None:
        document = self.document
        where = document.path.name if document.path else document.name
        self.setWindowTitle(f"{where}[*] - KVScope")
        self.setWindowModified(not document.saved)

    # Theme

    def use_theme(self, name: str) -> None:
        """Show and remember a theme."""
        theme.themes.use(name)
        settings.settings().setValue("theme", theme.themes.choice)
        self.actions_[f"view.theme-{theme.themes.choice}"].setChecked(True)

    def next_theme(self) -> None:
        """Dark, light, high contrast."""
        names = list(theme.THEMES)
        self.use_theme(names[(names.index(theme.current().name) + 1) % len(names)])

    def full_screen(self) -> None:
        """Only this window, or no longer."""
        self.setWindowState(self.windowState() ^ Qt.WindowState.WindowFullScreen)

    # The window itself

    def _restore(self) -> None:
        store = settings.settings()
        geometry = store.value("geometry")
        if not (isinstance(geometry, QByteArray) and self.restoreGeometry(geometry)):
            screen = QApplication.primaryScreen().availableGeometry()
            self.resize(min(1440, screen.width() - 40), min(920, screen.height() - 60))
        self._renamed()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Files may be dropped anywhere."""
        if any(url.isLocalFile() for url in event.mimeData().urls()):
            event.acceptProposedAction()
            self.say("Drop it to open it")

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802
        """They went away again."""
        self.status.clearMessage()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802
        """Open the first file that was dropped."""
        urls = [url for url in event.mimeData().urls() if url.isLocalFile()]
        if urls:
            event.acceptProposedAction()
            path = Path(urls[0].toLocalFile())
            QTimer.singleShot(0, self, lambda: self.open_path(path))  # who dragged it need not wait

    def end(self) -> None:
        """Close without asking, and keep edits that are not saved for the next start."""
        if not self.document.saved:
            with suppress(InputError, OSError):
                settings.unsaved().parent.mkdir(parents=True, exist_ok=True)
                self.document.save(settings.unsaved())
        self.document.undo.setClean()  # nobody is there to be asked
        self.close()

    def restore_edits(self) -> bool:
        """Take up what was not saved when the program was ended, as one edit that can be undone. False: all was."""
        try:
            data = parse_toml(read_text(settings.unsaved()), str(settings.unsaved()))
        except InputError:
            return False
        settings.unsaved().unlink(missing_ok=True)
        self.document.replace(data, "edits of last time")
        self.say("The edits that were not saved last time are here again; Ctrl+Z takes them away.")
        return True

    def closeEvent(self, event: QCloseEvent) -> None:  # noqa: N802
        """Ask about edits, end every process, remember the window."""
        if not self.may_leave():
            event.ignore()
            return
        store = settings.settings()
        store.setValue("geometry", self.saveGeometry())
        if self.shown is not None:
            self.shown.leave()
        for page in self.pages.values():
            page.close_down()
        if self.session is not None:
            self.session.shut_down()
        self.tasks.shut_down()
        event.accept()


def _run_chosen(palette: Palette) -> None:
    """After it has closed, so that dialogs and focus are the window's."""
    chosen = palette.chosen
    palette.deleteLater()
    if chosen is not None:
        chosen.run()

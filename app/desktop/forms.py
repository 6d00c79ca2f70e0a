"""Forms that are made from the scenario's own descriptions: a new key or policy has its field by itself.

A field that is left alone shows its default in grey. What is wrong is said below the field, in the words of the
command line.
"""

from collections.abc import Callable, Iterable

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QShowEvent
from PySide6.QtWidgets import (
    QFrame,
    QLabel,
    QLineEdit,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.document import TAGS, Document
from app.desktop.fields import Field, title_of, type_of
from simcore.schema import KeyInfo

BASIC = {
    "name",
    "seed",
    "model.preset",
    "hardware.preset",
    "hardware.count",
    "memory.blocks",
    "memory.block_size",
    "memory.allocator",
    "memory.prefix_caching",
    "memory.eviction",
    "scheduler.policy",
    "scheduler.max_num_seqs",
    "scheduler.max_num_batched_tokens",
    "scheduler.chunked_prefill",
    "scheduler.preemption",
    "timing.model",
    "workload.trace",
    "workload.requests",
    "workload.arrivals",
    "workload.prompt",
    "workload.output",
    "workload.conversations",
    "metrics.slo",
}
"""Keys that are shown at first, with what their tables choose; the others are below "More", or found by searching."""


class Group(QWidget):
    """A table of the scenario, which can be folded; its rarer keys are below "More"."""

    def __init__(self, title: str, help: str) -> None:
        super().__init__()
        self.open = True
        self.all = False
        self.head = QToolButton()
        self.head.setProperty("role", "section")
        self.head.setText(title)
        self.head.setToolTip(help)
        self.head.setAccessibleDescription(help)
        self.head.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.head.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.head.setIconSize(QSize(14, 14))
        self.more = QToolButton()
        self.more.setProperty("role", "more")
        self.inside = QWidget()
        self.rows = QVBoxLayout(self.inside)
        self.rows.setContentsMargins(10, 0, 4, 10)
        self.rows.setSpacing(0)
        self.rows.addWidget(self.more)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(2)
        box.addWidget(self.head)
        box.addWidget(self.inside)


class Form(QWidget):
    """Fields of a document's keys below a prefix, or of all of them, that always show what it holds."""

    shown = Signal()
    """which fields are to be seen has changed"""

    def __init__(
        self,
        document: Document,
        prefix: str = "",
        *,
        leave_out: Iterable[str] = (),
        filter: bool = True,
        only: Callable[[str], bool] | None = None,
    ) -> None:
        """`leave_out`: tables that have a place of their own elsewhere; `only`: which keys have a field at all."""
        super().__init__()
        self.document = document
        self.prefix = prefix
        self.leave_out = tuple(leave_out)
        self.only = only
        self.fields: dict[str, Field] = {}
        self.groups: dict[str, Group] = {}
        self._ranks = {path: rank for rank, path in enumerate(dict.fromkeys(info.path for info in document.known))}
        self.search = QLineEdit()
        self.search.setPlaceholderText("Find a key")
        self.search.setClearButtonEnabled(True)
        self.search.setAccessibleName("Find a key of the scenario")
        self.search.textChanged.connect(lambda _text: self.sync())
        if not filter:
            self.search.hide()
        self.banner = QFrame()
        self.banner.setProperty("role", "problem")
        self.sentence = QLabel()
        self.sentence.setWordWrap(True)
        self.sentence.setProperty("role", "bad")
        inside = QVBoxLayout(self.banner)
        inside.addWidget(self.sentence)
        self.nothing = QLabel("No key has these words.")
        self.nothing.setProperty("role", "muted")
        self.column = QVBoxLayout()
        self.column.setContentsMargins(0, 0, 6, 0)
        self.column.setSpacing(4)
        self.column.addWidget(self.nothing)
        self.column.addStretch(1)
        body = QWidget()
        body.setLayout(self.column)
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setWidget(body)
        self.area.setProperty("role", "clear")
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.setSpacing(8)
        box.addWidget(self.search)
        box.addWidget(self.banner)
        box.addWidget(self.area, 1)
        self._stale = False
        document.changed.connect(self._changed)
        theme.themes.changed.connect(self._dress)
        self.sync()

    def _changed(self) -> None:
        """What nobody sees is brought up to date when it is shown."""
        if self.isVisible():
            self.sync()
        else:
            self._stale = True

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802
        """See `_changed`."""
        super().showEvent(event)
        if self._stale:
            self.sync()

    def sync(self) -> None:
        """Make fields for keys that are new, hide those that are gone, show what all of them are now."""
        self._stale = False
        words = self.search.text().lower().split()
        infos = [info for info in self.document.infos(self.prefix) if self._has_field(info)]
        now = {info.path: info for info in infos}
        order = list(now)
        visible: set[str] = set()
        for info in infos:
            field = self.fields.get(info.path)
            if field is not None and type(field) is not type_of(info) and field.info is not info:
                self._drop(info.path)
                field = None
            table, _, name = info.path.rpartition(".")
            chooses = name in TAGS and "." not in table  # a whole section is about what is chosen there
            basic = bool({info.path, table} & BASIC) or bool(info.when) or not table or chooses
            told = any(self._concerns(problem, info.path) for problem in self.document.problems)
            group = self._group(info.path)
            wanted = basic or told or self.document.given(info.path) is not None or group.all
            if field is None:
                if not wanted and not words:
                    continue
                field = self._make(info)
            if field.info is not info:
                field.describe(info)
            if field.matches(words) if words else wanted and group.open:
                visible.add(info.path)
        for path, field in self.fields.items():
            on = path in visible
            if on:
                field.sync()
            field.setVisible(on)
        for name, group in self.groups.items():
            mine = [path for path in now if self._group_name(path) == name]
            hidden = [path for path in mine if path not in visible]
            group.setVisible(bool(mine) and (not words or any(path in visible for path in mine)))
            group.inside.setVisible(group.open or bool(words))
            group.more.setVisible(not words and (group.all or bool(hidden)))
            group.more.setText("Less" if group.all else f"{len(hidden)} more")
            group.more.setAccessibleName(f"{group.more.text()} keys of {group.head.text()}")
        self._tell_the_rest(now)
        self.nothing.setVisible(bool(words) and not visible)
        self._dress()
        self._order_tabs(order)
        self.shown.emit()

    def show_key(self, key: str) -> None:
        """Bring a key into view and put the cursor into it."""
        if self._stale:
            self.sync()
        path = next((info.path for info in self.document.infos(self.prefix) if info.path == key), "")
        path = path or key.rpartition(".")[0]
        if path not in self.fields or self.fields[path].isHidden():
            group = self._group(path)
            group.open = group.all = True
            self.search.clear()
            self.sync()
        if path in self.fields:
            field = self.fields[path]
            field.editor.setFocus(Qt.FocusReason.OtherFocusReason)
            QTimer.singleShot(0, field, lambda: self.area.ensureWidgetVisible(field, 0, 60))  # it may have no place yet

    def _has_field(self, info: KeyInfo) -> bool:
        if self.only is not None and not self.only(info.path):
            return False
        if any(info.path == table or info.path.startswith(f"{table}.") for table in self.leave_out):
            return False
        if info.type != "table":
            parent = info.path.rpartition(".")[0]
            return not parent or "." not in parent or self._there(parent)
        tagged = any(other.path == f"{info.path}.{tag}" for other in self.document.known for tag in TAGS)
        optional = info.default is None and "." in info.path
        return optional and not tagged

    def _there(self, table: str) -> bool:
        """Whether a table below a section exists now."""
        return self.document.value(table) is not None or self.document.info(table).default is not None

    def _concerns(self, problem: str, path: str) -> bool:
        table, _, name = path.rpartition(".")
        return problem == path or (name in TAGS and problem == table) or problem.startswith(f"{path}[")

    def _group_name(self, path: str) -> str:
        """Sections have a group each; inside of a form for one section, its tables have."""
        parts = path.split(".")
        if not self.prefix:
            return parts[0] if len(parts) > 1 else ""
        inside = path.removeprefix(f"{self.prefix}.").split(".")
        table = f"{self.prefix}.{inside[0]}"
        return (
            table
            if len(inside) > 1 or any(other.path.startswith(f"{table}.") for other in self.document.known)
            else self.prefix
        )

    def _group(self, path: str) -> Group:
        name = self._group_name(path)
        if name not in self.groups:
            info = next((info for info in self.document.known if info.path == name), None)
            title = "Scenario" if not name else title_of(name, self.prefix) if name != self.prefix else "Requests"
            group = Group(title, info.help if info else "")
            group.head.clicked.connect(lambda: self._fold(group))
            group.more.clicked.connect(lambda: self._unfold(group))
            known = [self._group_name(info.path) for info in self.document.known]
            rank = known.index(name) if name in known else 0
            place = sum(known.index(other) < rank for other in self.groups if other in known)
            self.groups[name] = group
            self.column.insertWidget(place, group)
        return self.groups[name]

    def _fold(self, group: Group) -> None:
        group.open = not group.open
        self.sync()

    def _unfold(self, group: Group) -> None:
        group.all = not group.all
        self.sync()

    def _make(self, info: KeyInfo) -> Field:
        group = self._group(info.path)
        field = type_of(info)(self.document, info, self._group_name(info.path))
        ranks = self._ranks
        mine = [other for other in self.fields if self._group_name(other) == self._group_name(info.path)]
        group.rows.insertWidget(sum(ranks[other] < ranks[info.path] for other in mine), field)
        self.fields[info.path] = field
        return field

    def _drop(self, path: str) -> None:
        field = self.fields.pop(path)
        field.hide()
        field.setParent(None)
        field.deleteLater()

    def _tell_the_rest(self, now: dict[str, KeyInfo]) -> None:
        """Problems that no field shows."""
        rest = [
            sentence
            for problem, sentence in self.document.problems.items()
            if not any(path in self.fields and self._concerns(problem, path) for path in now)
            and not any(problem == table or problem.startswith(f"{table}.") for table in self.leave_out)
            and (not self.prefix or problem.startswith(self.prefix))
        ]
        self.sentence.setText("\n".join(rest))
        self.banner.setVisible(bool(rest))

    def _order_tabs(self, order: list[str]) -> None:
        last: QWidget = self.search
        for name, group in sorted(self.groups.items(), key=lambda pair: self.column.indexOf(pair[1])):
            QWidget.setTabOrder(last, group.head)
            last = group.head
            for path in order:
                field = self.fields.get(path)
                if field is not None and self._group_name(path) == name:
                    QWidget.setTabOrder(last, field.editor)
                    QWidget.setTabOrder(field.editor, field.back)
                    last = field.back
            QWidget.setTabOrder(last, group.more)
            last = group.more

    def _dress(self) -> None:
        words = bool(self.search.text())
        for group in self.groups.values():
            group.head.setIcon(theme.icon("down" if group.open or words else "right", "muted"))

"""Where one begins: presets as cards, what was open lately, a place to drop files, the first steps."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QObject, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop import settings, theme
from app.desktop.figure import Elided, label
from app.desktop.pages.base import Context, Page
from simcore.scenario import Scenario
from simcore.scenario.presets import preset_names, read_preset

SKETCH_REQUESTS = 600
SKETCH_COLUMNS = 56
CARD_WIDTH = 300
"""A card is at least so wide, and there are as many in a row as fit."""
FIRST = ("default", "chat", "agents", "code-completion", "long-context", "overload")
"""These come first; the others follow by name."""


@dataclass(frozen=True, slots=True)
class Sketch:
    """What arrives over the first requests of a workload."""

    prompt: NDArray[np.float64]
    """[columns] tokens of prompts, of 1 for the highest column"""
    output: NDArray[np.float64]
    """[columns] tokens of outputs, on the same scale"""
    line: str
    """model, hardware and requests in a few words"""


def sketch_of(preset: str) -> Sketch:
    """Draw the first requests of a preset, and add their tokens up over time."""
    from simcore.workload.build import make_workload
    from simcore.workload.columns import OPEN

    scenario = Scenario.preset(preset)
    section = scenario.workload
    count = section.requests or 0
    workload = make_workload(section.model_copy(update={"requests": min(count, SKETCH_REQUESTS)}), scenario.seed)
    time = workload.arrival.copy()
    if workload.after is not None:
        for row, before in enumerate(workload.after):  # a turn comes so long after the one before it
            if before != OPEN:
                time[row] += time[before]
    end = float(np.percentile(time, 95)) or 1.0
    column = np.minimum((time / end * SKETCH_COLUMNS).astype(np.int64), SKETCH_COLUMNS)
    prompt, output = (
        np.bincount(column, lengths, SKETCH_COLUMNS + 1)[:SKETCH_COLUMNS]
        for lengths in (workload.prompt_len, workload.output_len)
    )
    highest = float((prompt + output).max()) or 1.0
    hardware = scenario.hardware.resolve()
    devices = hardware.name if hardware.count == 1 else f"{hardware.count} x {hardware.name}"
    line = f"{scenario.model.resolve().name} on {devices}, {count:,} requests"
    return Sketch(prompt / highest, output / highest, line)


class SketchView(QWidget):
    """Columns of tokens over time: prompts below, outputs on top of them."""

    def __init__(self) -> None:
        super().__init__()
        self.sketch: Sketch | None = None
        self.setFixedHeight(54)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def show_sketch(self, sketch: Sketch) -> None:
        """It is known now."""
        self.sketch = sketch
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        width, height = self.width(), self.height() - 1
        painter.fillRect(QRectF(0, height, width, 1), theme.colour("border"))
        if self.sketch is not None:
            step = width / len(self.sketch.prompt)
            for place, (below, above) in enumerate(zip(self.sketch.prompt, self.sketch.output, strict=True)):
                x, w = place * step, max(step - 1.5, 1.0)
                low, high = np.sqrt(below) * height, np.sqrt(below + above) * height
                painter.fillRect(QRectF(x, height - low, w, low), theme.colour("stored", 0.9))
                painter.fillRect(QRectF(x, height - high, w, high - low), theme.colour("internal", 0.9))
        painter.end()


class Card(QFrame):
    """A preset: its sketch, name, and one sentence; a click, Enter or Space opens it."""

    chosen = Signal(str)

    def __init__(self, preset: str) -> None:
        super().__init__()
        self.preset = preset
        about = str(read_preset("scenarios", preset)["description"])
        self.setProperty("role", "hot")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName(f"Preset {preset}")
        self.setAccessibleDescription(about)
        self.setMinimumHeight(196)
        self.sketch = SketchView()
        name = QLabel(preset)
        name.setProperty("role", "heading")
        text = QLabel(f"{about}.")
        text.setWordWrap(True)
        text.setProperty("role", "muted")
        text.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.line = Elided(" ")  # it must not make the card wider than its column
        self.line.setProperty("role", "small")
        box = QVBoxLayout(self)
        box.setContentsMargins(14, 14, 14, 12)
        box.setSpacing(6)
        box.addWidget(self.sketch)
        box.addSpacing(2)
        box.addWidget(name)
        box.addWidget(text, 1)
        box.addWidget(self.line)

    def show_sketch(self, sketch: Sketch) -> None:
        """It is known now."""
        self.sketch.show_sketch(sketch)
        self.line.setText(sketch.line)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if event.button() == Qt.MouseButton.LeftButton and self.rect().contains(event.position().toPoint()):
            self.chosen.emit(self.preset)

    def event(self, event: QEvent) -> bool:
        """Space is the card's while it has the focus, not the transport's."""
        if isinstance(event, QKeyEvent) and event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if event.type() == QEvent.Type.ShortcutOverride:
                event.accept()
                return True
            if event.type() == QEvent.Type.KeyPress:
                self.chosen.emit(self.preset)
                return True
        return super().event(event)


class DropZone(QFrame):
    """Says that files may be dropped, anywhere; a click asks for one."""

    clicked = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "drop")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setAccessibleName("Open a file")
        self.setAccessibleDescription("Drop a scenario, a trace or a folder of results here, or press Enter to choose")
        self.setAcceptDrops(True)
        self.sign = QLabel()
        self.sign.setAlignment(Qt.AlignmentFlag.AlignCenter)
        text = QLabel("Drop a scenario, a trace or a folder of results anywhere")
        text.setWordWrap(True)
        text.setAlignment(Qt.AlignmentFlag.AlignCenter)
        more = QLabel("or click to choose a file")
        more.setProperty("role", "small")
        more.setAlignment(Qt.AlignmentFlag.AlignCenter)
        box = QVBoxLayout(self)
        box.setContentsMargins(16, 18, 16, 18)
        for each in (self.sign, text, more):
            box.addWidget(each)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.clicked.emit()

    def event(self, event: QEvent) -> bool:
        """As a button."""
        if isinstance(event, QKeyEvent) and event.key() in (Qt.Key.Key_Space, Qt.Key.Key_Return, Qt.Key.Key_Enter):
            if event.type() == QEvent.Type.ShortcutOverride:
                event.accept()
                return True
            if event.type() == QEvent.Type.KeyPress:
                self.clicked.emit()
                return True
        return super().event(event)

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802
        """Light up; what is dropped is the window's."""
        self._over(True)
        event.ignore()

    def dragLeaveEvent(self, event: QDragLeaveEvent) -> None:  # noqa: N802
        self._over(False)

    def _over(self, on: bool) -> None:
        self.setProperty("over", on)
        self.style().unpolish(self)
        self.style().polish(self)

    def _dress(self) -> None:
        self.sign.setPixmap(theme.pixmap("import", 32, theme.current().accent, self.devicePixelRatioF()))


class Home(Page):
    """See the module."""

    id = "home"
    title = "Home"
    icon = "home"
    guide = "desktop.md"
    about = (
        "Each card is a server with its workload: the columns are tokens that arrive over time, prompts in blue and "
        "outputs in orange on top. Choose one to look into its memory, or bring a scenario or a trace of your own."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        names = preset_names("scenarios")
        names = [name for name in FIRST if name in names] + [name for name in names if name not in FIRST]
        self.cards = {name: Card(name) for name in names}
        self.grid = QGridLayout()
        self.grid.setSpacing(14)
        self._columns = 0
        inside = QWidget()
        page = QHBoxLayout(inside)
        page.setContentsMargins(28, 22, 28, 28)
        page.setSpacing(28)
        left = QVBoxLayout()
        left.setSpacing(6)
        title = QLabel("What happens to the memory of an LLM server")
        title.setProperty("role", "title")
        title.setWordWrap(True)
        lead = QLabel("Pick a workload, press Space, and watch blocks fill, be shared and be evicted.")
        lead.setProperty("role", "muted")
        lead.setWordWrap(True)
        left.addWidget(title)
        left.addWidget(lead)
        left.addSpacing(14)
        left.addLayout(self.grid)
        left.addStretch(1)
        page.addLayout(left, 1)
        page.addWidget(self._side())
        self.area = QScrollArea()
        self.area.setWidgetResizable(True)
        self.area.setFrameShape(QFrame.Shape.NoFrame)
        self.area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.area.setWidget(inside)
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 0, 0, 0)
        box.addWidget(self.area)
        for card in self.cards.values():
            card.chosen.connect(self._choose)
            card.installEventFilter(self)
        self._unsketched = list(self.cards)
        self._timer = QTimer(self)  # a sketch at a time, so that the window is there first
        self._timer.timeout.connect(self._sketch_next)
        self._place()

    def enter(self) -> None:
        """Recent files may be others."""
        self._fill_recent()
        if self._unsketched:
            self._timer.start(0)

    def leave(self) -> None:
        """Nothing is drawn unseen."""
        self._timer.stop()

    def _side(self) -> QWidget:
        side = QWidget()
        side.setFixedWidth(300)
        box = QVBoxLayout(side)
        box.setContentsMargins(0, 4, 0, 0)
        box.setSpacing(10)
        self.drop = DropZone()
        self.drop.clicked.connect(self.context.window.ask_to_open)
        box.addWidget(self.drop)
        box.addSpacing(10)
        box.addWidget(label("Recent", "heading"))
        self.recent = QVBoxLayout()
        self.recent.setSpacing(0)
        box.addLayout(self.recent)
        box.addSpacing(10)
        box.addWidget(label("First steps", "heading"))
        window = self.context.window
        steps: list[tuple[str, str, Callable[[], object], str]] = [("Take the tour", "a minute", window.tour, "tour")]
        if self.context.session is not None:
            steps.append(("Run the default scenario", "Space", self._run_default, "run"))
        steps += [
            ("Change how blocks are evicted", "Ctrl+I", lambda: window.show_key("memory.eviction.policy"), "inspector"),
            ("Shape the workload", "", lambda: window.show_page("workload"), "workload"),
            ("Find anything", "Ctrl+Shift+P", window.palette_, "search"),
            ("See all keys", "?", window.shortcuts, "keyboard"),
        ]
        self._steps: list[tuple[QPushButton, str]] = []
        for text, keys, run, icon in steps:
            button = QPushButton()
            button.setText(text)
            button.setFlat(True)
            button.setProperty("role", "link")
            button.setAccessibleName(text)
            button.clicked.connect(lambda _checked=False, run=run: run())
            row = QHBoxLayout()
            row.addWidget(button, 1)
            if keys:
                cap = QLabel(keys)
                cap.setProperty("role", "small" if keys == "a minute" else "key")
                row.addWidget(cap, 0, Qt.AlignmentFlag.AlignVCenter)
            box.addLayout(row)
            self._steps.append((button, icon))
        box.addStretch(1)
        theme.themes.changed.connect(self._dress)
        self._dress()
        return side

    def _dress(self) -> None:
        for button, icon in self._steps:
            button.setIcon(theme.icon(icon, "accent"))
            button.setIconSize(QSize(16, 16))
        self._fill_recent()

    def _fill_recent(self) -> None:
        while (item := self.recent.takeAt(0)) is not None:
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        for path in settings.recent()[:6]:
            button = QToolButton()
            button.setText(path.name)
            button.setToolTip(str(path))
            button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
            button.setIcon(
                theme.icon("folder" if path.is_dir() else "trace" if path.suffix != ".toml" else "new", "muted")
            )
            button.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda _checked=False, path=path: self.context.window.open_path(path))
            self.recent.addWidget(button)
        if not self.recent.count():
            nothing = QLabel("What you open or save is listed here.")
            nothing.setWordWrap(True)
            nothing.setProperty("role", "muted")
            self.recent.addWidget(nothing)

    def _choose(self, preset: str) -> None:
        window = self.context.window
        if window.new(preset):
            window.show_page("live") or window.show_page("workload")

    def _run_default(self) -> None:
        if self.context.window.new("default"):
            self.context.window.begin()

    def _sketch_next(self) -> None:
        if not self._unsketched:
            self._timer.stop()
            return
        name = self._unsketched.pop(0)
        self.cards[name].show_sketch(sketch_of(name))

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """As many cards in a row as fit."""
        super().resizeEvent(event)
        self._place()

    def _place(self) -> None:
        room = self.width() - 300 - 3 * 28
        columns = min(max(1, (room + 14) // (CARD_WIDTH + 14)), 5)
        if columns == self._columns:
            return
        for column in range(max(columns, self._columns)):
            self.grid.setColumnStretch(column, 1 if column < columns else 0)
        self._columns = columns
        for place, card in enumerate(self.cards.values()):
            self.grid.addWidget(card, place // columns, place % columns)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """Arrows go from card to card; the one with the focus is in view."""
        if isinstance(watched, Card) and event.type() == QEvent.Type.FocusIn:
            self.area.ensureWidgetVisible(watched, 0, 20)
        if isinstance(watched, Card) and isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            ways = {
                Qt.Key.Key_Right: 1,
                Qt.Key.Key_Left: -1,
                Qt.Key.Key_Down: self._columns,
                Qt.Key.Key_Up: -self._columns,
            }
            if by := ways.get(Qt.Key(event.key())):
                cards = list(self.cards.values())
                place = cards.index(watched) + by
                if 0 <= place < len(cards):
                    cards[place].setFocus(Qt.FocusReason.TabFocusReason)
                return True
        return super().eventFilter(watched, event)

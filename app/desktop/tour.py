"""The tour of the first start: a few places of the window, each lit up with a sentence or two.

Where nothing runs and nothing was edited, it runs the default scenario while it tells of the blocks, and pauses it to
tell of one of them. A run of the person's is left alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PySide6.QtCore import QEvent, QObject, QPoint, QRect, QRectF, Qt, QTimer
from PySide6.QtGui import QColor, QKeyEvent, QPainter, QPainterPath, QPaintEvent, QPen
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from app.desktop import settings, theme

if TYPE_CHECKING:
    from app.desktop.window import MainWindow

_KEYS = (Qt.Key.Key_Escape, Qt.Key.Key_Right, Qt.Key.Key_Left, Qt.Key.Key_Return, Qt.Key.Key_Enter)
SPEED = "3x"
"""of the tour's own run: the first block is shared after half a second, and evicted after two; it lasts 50 s"""


@dataclass(frozen=True, slots=True)
class Stop:
    """One place of the tour."""

    title: str
    text: str
    place: Callable[[], QWidget]
    """what is lit up"""
    page: str = ""
    """what is shown meanwhile; empty: what was shown before"""
    begin: Callable[["Tour"], None] | None = None
    """what is done there first"""


class Tour(QWidget):
    """Covers the window; Enter or the right arrow goes on, the left one back, Escape ends it."""

    def __init__(self, window: "MainWindow") -> None:
        super().__init__(window)
        self.window_ = window
        self.stops = _stops(window)
        self.number = 0
        self.runs = False
        """the run is the tour's own"""
        self._speed = 0  # that the person had chosen
        self._again = QTimer(self)
        self._again.setSingleShot(True)
        self._again.timeout.connect(self._place)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setAccessibleName("Tour")
        self.bubble = QFrame(self)
        self.bubble.setProperty("role", "card")
        self.bubble.setFixedWidth(380)
        self.heading = QLabel()
        self.heading.setProperty("role", "heading")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.count = QLabel()
        self.count.setProperty("role", "muted")
        self.skip = QPushButton("Skip")
        self.back = QPushButton("Back")
        self.onward = QPushButton("Next")
        self.onward.setProperty("role", "primary")
        self.skip.clicked.connect(self.end)
        self.back.clicked.connect(lambda: self.go(self.number - 1))
        self.onward.clicked.connect(lambda: self.go(self.number + 1))
        row = QHBoxLayout()
        row.addWidget(self.count)
        row.addStretch(1)
        for button in (self.skip, self.back, self.onward):
            row.addWidget(button)
        box = QVBoxLayout(self.bubble)
        box.setContentsMargins(18, 16, 18, 14)
        box.setSpacing(8)
        box.addWidget(self.heading)
        box.addWidget(self.text)
        box.addSpacing(6)
        box.addLayout(row)
        window.installEventFilter(self)

    def begin(self) -> None:
        """Show the first place."""
        self.setGeometry(self.window_.rect())
        self.show()
        self.raise_()
        self.go(0)

    def end(self) -> None:
        """It is over, and does not come by itself again."""
        settings.set_flag("tour", True)
        self._rest()
        self.window_.removeEventFilter(self)
        self.hide()
        self.deleteLater()
        if self.window_.shown is not None:
            self.window_.shown.setFocus(Qt.FocusReason.OtherFocusReason)

    def go(self, number: int) -> None:
        """To a place; past the last one it is over."""
        if number >= len(self.stops):
            self.end()
            return
        self.number = max(number, 0)
        stop = self.stops[self.number]
        self.heading.setText(stop.title)
        self.text.setText(stop.text)
        self.count.setText(f"{self.number + 1} of {len(self.stops)}")
        self.back.setVisible(self.number > 0)
        last = self.number == len(self.stops) - 1
        self.onward.setText("Done" if last else "Next")
        self.skip.setVisible(not last)
        self.setAccessibleDescription(f"{stop.title}. {stop.text}")
        if stop.page:
            self.window_.show_page(stop.page)
        if stop.begin is not None:
            stop.begin(self)
        self.raise_()
        self.bubble.adjustSize()
        self.bubble.move(self._beside(self._lit()))
        self._again.start()  # a page that is new has no sizes yet
        self.onward.setFocus(Qt.FocusReason.OtherFocusReason)
        self.update()

    def run(self) -> None:
        """Run the default scenario, if that is what is there and nothing runs."""
        window = self.window_
        session, transport, document = window.session, window.transport, window.document
        if session is not None and self.runs and session.state == "paused":
            session.run()
        if session is None or transport is None or session.state != "idle":
            return
        if document.preset != "default" or not (document.saved and document.valid):
            return
        self.runs, self._speed = True, transport.speed.currentIndex()
        transport.speed.setCurrentText(SPEED)
        window.begin()

    def _rest(self) -> None:
        """Pause the tour's own run, and give the person's speed back."""
        session, transport = self.window_.session, self.window_.transport
        if not self.runs or session is None or transport is None:
            return
        self.runs = False
        if session.state in ("starting", "running"):
            session.pause()
        if session.state != "ended":
            self.window_.say("The run of the tour is paused; Space goes on with it.")
        transport.speed.setCurrentIndex(self._speed)

    def choose(self) -> None:
        """Let the tour's own run stand still, and inspect a block."""
        session = self.window_.session
        if session is not None and self.runs and session.state in ("starting", "running"):
            session.pause()
        self._choose()
        QTimer.singleShot(200, self, self._choose)  # until it stands still, it has gone on

    def _choose(self) -> None:
        """Inspect the block that most requests share, if there is one yet."""
        page = self.window_.pages["live"]
        state = getattr(page, "state", None)
        if state is not None and state.refs[1:].any():
            page.choose_block(int(state.refs[1:].argmax()) + 1)  # type: ignore[attr-defined]
        page.tabs.setCurrentWidget(page.details)  # type: ignore[attr-defined]

    def _place(self) -> None:
        self.bubble.move(self._beside(self._lit()))
        self.update()

    def _lit(self) -> QRect:
        place = self.stops[self.number].place()
        return QRect(place.mapTo(self.window_, QPoint(0, 0)), place.size()).adjusted(-4, -4, 4, 4)

    def _beside(self, lit: QRect) -> QPoint:
        """Where the bubble hides nothing of what is lit up, if there is such a place."""
        size, gap, whole = self.bubble.size(), 16, self.rect().adjusted(12, 12, -12, -12)
        for corner in (
            QPoint(lit.right() + gap, lit.top()),
            QPoint(lit.left(), lit.bottom() + gap),
            QPoint(lit.left() - gap - size.width(), lit.top()),
            QPoint(lit.left(), lit.top() - gap - size.height()),
        ):
            if whole.contains(QRect(corner, size)):
                return corner
        return QPoint(whole.center().x() - size.width() // 2, whole.center().y() - size.height() // 2)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        lit = QRectF(self._lit())
        shade = QPainterPath()
        shade.addRect(QRectF(self.rect()))
        hole = QPainterPath()
        hole.addRoundedRect(lit, 8, 8)
        painter.fillPath(shade.subtracted(hole), QColor(0, 0, 0, 150))
        painter.setPen(QPen(theme.colour("accent"), 2))
        painter.drawPath(hole)
        painter.end()

    def event(self, event: QEvent) -> bool:
        """Its keys are its own, also where the page below has an action for them."""
        if event.type() == QEvent.Type.ShortcutOverride and isinstance(event, QKeyEvent) and event.key() in _KEYS:
            event.accept()
            return True
        return super().event(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        match event.key():
            case Qt.Key.Key_Escape:
                self.end()
            case Qt.Key.Key_Right | Qt.Key.Key_Return | Qt.Key.Key_Enter:
                self.go(self.number + 1)
            case Qt.Key.Key_Left:
                self.go(self.number - 1)
            case _:
                super().keyPressEvent(event)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802
        """The window has another size."""
        if event.type() == QEvent.Type.Resize:
            self.setGeometry(self.window_.rect())
            self.bubble.move(self._beside(self._lit()))
        return False


def _stops(window: "MainWindow") -> list[Stop]:
    def part(page: str, *names: str) -> Callable[[], QWidget]:
        """An attribute of a page, or of an attribute of it; pages are made when they are first shown."""

        def found() -> QWidget:
            place: object = window.pages[page]
            for name in names:
                place = place[int(name)] if isinstance(place, list) else getattr(place, name)
            assert isinstance(place, QWidget)
            return place

        return found

    home = window.pages["home"]
    card = getattr(home, "cards", {}).get("default", home)
    stops = [
        Stop(
            "A server in a card",
            "Every preset is a model on its hardware with a workload. The default one is small: in a short run you see "
            "blocks shared, evicted and requests preempted.",
            lambda: card,
            "home",
        ),
        Stop(
            "The pages",
            "What there is to see; Ctrl+1 and so on go there. Each page says above what it shows.",
            lambda: window.rail,
        ),
    ]
    transport = window.transport
    if transport is not None:
        stops.append(
            Stop(
                "Time",
                "Space runs and pauses, . computes one step, < and > change the speed. The bar shows how fast the run "
                "really goes.",
                lambda: transport,
            )
        )
    stops += [
        stop
        for stop in (
            Stop(
                "Every square is a block",
                "The default scenario runs while you read this, unless a run of yours is here: blocks fill, are shared "
                "(a dot) and are evicted. Colours and signs are explained below the grid.",
                part("live", "views", "0"),
                "live",
                Tour.run,
            ),
            Stop(
                "What is in it?",
                "A click on a block tells who holds it, what prefix it is part of and all that ever happened to it. "
                "This is one that most requests share.",
                part("live", "details"),
                "live",
                Tour.choose,
            ),
            Stop(
                "Back in time",
                "A click or a drag goes to any instant of the run; [ and ] jump to the previous and the next eviction, "
                "preemption or hit.",
                part("live", "scrubber"),
                "live",
            ),
            Stop(
                "Which is better?",
                "Compare runs settings several times, all on the same random numbers, and says where a difference "
                "is one. Here is what varies.",
                part("compare", "card"),
                "compare",
            ),
            Stop(
                "Can it be believed?",
                "Validation lets a small model run the very steps on tensors, and checks every count and every byte of "
                "the simulator against it.",
                part("validation", "run"),
                "validation",
            ),
            Stop(
                "How much memory?",
                "The calculator puts your model, batch and GPU into the formula. Labs, below it in the rail, measures "
                "attention and memory on this machine.",
                part("calculator", "card"),
                "calculator",
            ),
        )
        if stop.page in window.rail.buttons
    ]
    stops += [
        Stop(
            "Is the scenario right?",
            "The scenario is checked while you type. What is wrong is counted here and said beside its field, in the "
            "words of the command line.",
            lambda: window.status.verdict,
            "live" if "live" in window.rail.buttons else "home",  # the tour ends where its run can be watched
        ),
        Stop(
            "Everything by name",
            "Ctrl+Shift+P finds every action, preset and key, and ? shows the shortcuts. Ctrl+Z takes any edit back.",
            window.menuBar,
        ),
    ]
    return stops

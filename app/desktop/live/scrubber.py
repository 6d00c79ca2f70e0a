"""The whole run as a strip: go to any instant by a click, select a range by dragging with Shift."""

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QKeyEvent, QMouseEvent, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.desktop import theme
from app.jobs.history import History

_EDGE = 8


class Scrubber(QWidget):
    """Memory in use over the run, its evictions and preemptions, and where one is."""

    sought = Signal(int)
    """a step was gone to"""
    selected = Signal(object)
    """(first step, last step), or None"""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Time of the run")
        self.setAccessibleDescription(
            "Arrow keys go from step to step, Page up and down by a hundredth of the run, Home and End to its ends; "
            "drag with Shift held to select a range."
        )
        self.setToolTip(
            "<b>Time of the run</b><br>Click or drag to go there; drag with Shift held to select a range, and "
            "double-click to let it go."
        )
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setFixedHeight(46)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.history: History | None = None
        self.step = 0
        self.range: tuple[int, int] | None = None
        self._from: int | None = None  # where a range began
        self._dragging = False
        theme.themes.changed.connect(self.update)

    def show_step(self, history: History | None, step: int) -> None:
        """Where the run is, and how far there is a run."""
        self.history, self.step = history, step
        self.update()

    def select(self, chosen: tuple[int, int] | None) -> None:
        """Mark a range of steps; None: no range."""
        self.range = chosen
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(400, 46)

    def _end(self) -> float:
        """s"""
        assert self.history is not None
        return max(self.history.seconds(len(self.history) - 1), 1e-9)

    def _x(self, step: int) -> float:
        assert self.history is not None
        return _EDGE + self.history.seconds(step) / self._end() * (self.width() - 2 * _EDGE)

    def _step_at(self, x: float) -> int:
        assert self.history is not None
        share = (x - _EDGE) / max(self.width() - 2 * _EDGE, 1)
        return self.history.step_at(min(max(share, 0.0), 1.0) * self._end())

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        box = QRectF(_EDGE, 6, self.width() - 2 * _EDGE, self.height() - 12)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(theme.colour("surface"))
        painter.drawRoundedRect(box, 4, 4)
        history = self.history
        if history is None or not len(history):
            painter.end()
            return
        columns = max(int(box.width()), 2)
        t = history.steps["t"]
        edges = np.linspace(0, t[-1] if t[-1] else 1, columns + 1).astype(np.int64)  # floats would copy all of t
        places = np.clip(np.searchsorted(t, edges[:-1], "right") - 1, 0, len(t) - 1)
        pool = history.facts.blocks - 1
        used = history.steps["blocks_used"][places] / pool
        cached = used + history.steps["blocks_cached"][places] / pool
        x = box.left() + np.arange(columns)
        for heights, name, alpha in ((cached, "cached", 0.35), (used, "stored", 0.8)):
            y = box.bottom() - heights * box.height()
            points = [QPointF(box.left(), box.bottom()), *map(QPointF, x.tolist(), y.tolist())]
            painter.setBrush(theme.colour(name, alpha))
            painter.drawPolygon(QPolygonF([*points, QPointF(x[-1], box.bottom())]))
        begins = np.searchsorted(t, edges)
        begins[-1] = len(t)
        for kind, name, height in (("eviction", "warn", 4), ("preemption", "bad", 8)):
            happened = np.diff(np.searchsorted(history.marks(kind), begins)) > 0  # [columns]
            for column in x[happened].tolist():
                painter.fillRect(QRectF(column, box.top(), 1, height), theme.colour(name))
        if self.range is not None:
            left, right = self._x(self.range[0]), self._x(self.range[1])
            painter.setBrush(theme.colour("accent", 0.25))
            painter.setPen(QPen(theme.colour("accent"), 1))
            painter.drawRect(QRectF(left, box.top(), max(right - left, 1), box.height()))
        here = self._x(min(self.step, len(history) - 1))
        painter.setPen(QPen(theme.colour("window"), 4))
        painter.drawLine(QPointF(here, 2), QPointF(here, self.height() - 2))
        hue = theme.colour("accent" if self.hasFocus() else "text")
        painter.setPen(QPen(hue, 2))
        painter.drawLine(QPointF(here, 2), QPointF(here, self.height() - 2))
        painter.setBrush(hue)
        painter.drawEllipse(QPointF(here, 5), 4, 4)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self.history is None or not len(self.history) or event.button() != Qt.MouseButton.LeftButton:
            return
        step = self._step_at(event.position().x())
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._from = step
        else:
            self._dragging = True
            self.sought.emit(step)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self.history is None or not len(self.history):
            return
        step = self._step_at(event.position().x())
        if self._from is not None:
            self.range = min(self._from, step), max(self._from, step)
            self.selected.emit(self.range)
            self.update()
        elif self._dragging:
            self.sought.emit(step)

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self._from, self._dragging = None, False

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.range = None
        self.selected.emit(None)
        self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        if self.history is None or not len(self.history):
            super().keyPressEvent(event)
            return
        last = len(self.history) - 1
        page = max(1, last // 100)
        moves = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
            Qt.Key.Key_Home: -last,
            Qt.Key.Key_End: last,
        }
        if event.key() in moves:
            self.sought.emit(min(max(self.step + moves[Qt.Key(event.key())], 0), last))
        elif event.key() == Qt.Key.Key_Escape and self.range is not None:
            self.range = None
            self.selected.emit(None)
            self.update()
        else:
            super().keyPressEvent(event)

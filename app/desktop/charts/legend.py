"""The legend of a chart, which shares the line of its title while there is room."""

import math
from typing import TYPE_CHECKING

from pyqtgraph.graphicsItems.ScatterPlotItem import Symbols
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QTransform
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.desktop import theme

if TYPE_CHECKING:
    from app.desktop.charts.chart import Chart


class Legend(QWidget):
    """The names of a chart's series: on the right of its title, or in a line of their own from the left."""

    def __init__(self, chart: "Chart") -> None:
        super().__init__(chart)
        self.chart = chart
        self.left = False
        self.setFixedHeight(24)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def entries(self) -> list[tuple[str, QColor, str, Qt.PenStyle]]:
        """What is shown."""
        return [entry for series in self.chart.series for entry in series.legend()]

    def needed(self) -> float:
        """Its width in points."""
        metrics = QFontMetricsF(theme.font(9))
        return sum(_mark_width(swatch) + metrics.horizontalAdvance(name) + 14 for name, _, swatch, _ in self.entries())

    def take_lines(self, width: float) -> None:
        """As many as its names need in such a width; 0: one."""
        lines = 1 + max((line for *_, line in self._flow(width)), default=0) if width else 1
        self.setFixedHeight(24 + 20 * (lines - 1))

    def _flow(self, width: float) -> list[tuple[float, int]]:
        """Where each name begins, from the left, and in which line."""
        metrics = QFontMetricsF(theme.font(9))
        places: list[tuple[float, int]] = []
        x, line = 0.0, 0
        for name, _, swatch, _ in self.entries():
            taken = _mark_width(swatch) + metrics.horizontalAdvance(name) + 14
            if x and x + taken - 14 > width:
                x, line = 0.0, line + 1
            places.append((x, line))
            x += taken
        return places

    def refresh(self) -> None:
        """There are other series, or other colours."""
        names = [name for name, *_ in self.entries()]
        self.setToolTip(", ".join(names))
        self.setVisible(bool(names))
        self.chart.place_legend()
        self.update()

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(80, 24)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        self.draw(painter, QRectF(self.rect()))
        painter.end()

    def draw(self, painter: QPainter, area: QRectF) -> None:
        """Into a place of the chart."""
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setFont(theme.font(9))
        metrics = QFontMetricsF(theme.font(9))
        begin = area.left() if self.left else area.right() - self.needed() + 8
        places = self._flow(area.width() if self.left else math.inf)
        for (name, hue, swatch, dash), (left, line) in zip(self.entries(), places, strict=True):
            x, y = begin + left, area.top() + 12 + 20 * line
            if swatch == "line":
                painter.setPen(QPen(hue, 2, dash))
                painter.drawLine(QPointF(x, y), QPointF(x + 17, y))
            else:
                painter.setPen(Qt.PenStyle.NoPen)
                painter.setBrush(hue)
                if swatch == "box":
                    painter.drawRoundedRect(QRectF(x, y - 5, 10, 10), 2, 2)
                else:
                    painter.drawPath(QTransform(10, 0, 0, 10, x + 5, y).map(Symbols[swatch]))
            x += _mark_width(swatch)
            painter.setPen(theme.colour("muted"))
            width = metrics.horizontalAdvance(name)
            room = QRectF(x, y - 12, width + 4, 24)
            painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, name)
        painter.restore()


def _mark_width(swatch: str) -> int:
    """Points from the start of a mark to its name."""
    return 23 if swatch == "line" else 16

"""Pages of a pool that fill one after another: 8 rows of 128, as the calculator shows them."""

from PySide6.QtCore import QRectF, QSize, Qt, QTimer
from PySide6.QtGui import QColor, QHideEvent, QLinearGradient, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.desktop import theme

ROWS, COLUMNS = 8, 128
CELLS = ROWS * COLUMNS
FRAME_MS, FRAMES = 30, 24
"""The filling moves for less than a second."""


class FillGrid(QWidget):
    """Shows how many of so many pages are used; the pool may be larger than the cells, which then stand for several."""

    def __init__(self) -> None:
        super().__init__()
        self.setAccessibleName("Pages of the pool")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Maximum)
        self.blocks, self.used = CELLS, 0
        self.shown = 0.0
        """used cells as far as the filling has got"""
        self._step = 0.0
        self._timer = QTimer(self)
        self._timer.setInterval(FRAME_MS)
        self._timer.timeout.connect(self._move)
        theme.themes.changed.connect(self.update)

    def tell(self, used: int, blocks: int) -> None:
        """So many of so many blocks are used; the cells fill or empty to there."""
        self.used, self.blocks = used, max(blocks, 1)
        self.setAccessibleDescription(f"{used:,} of {blocks:,} blocks are used")
        self.setToolTip(f"{used:,} of {blocks:,} blocks are used; {self.each:,.4g} blocks a cell")
        self._step = (self.wanted - self.shown) / FRAMES
        if self.isVisible() and self._step:
            self._timer.start()
        else:
            self.shown = self.wanted
            self.update()

    @property
    def cells(self) -> int:
        """That stand for blocks."""
        return min(self.blocks, CELLS)

    @property
    def each(self) -> float:
        """Blocks that a cell stands for."""
        return self.blocks / self.cells

    @property
    def wanted(self) -> float:
        """Used cells."""
        return self.used / self.each

    def _move(self) -> None:
        self.shown += self._step
        if abs(self.wanted - self.shown) <= abs(self._step):
            self.shown = self.wanted
            self._timer.stop()
        self.update()

    def hideEvent(self, event: QHideEvent) -> None:  # noqa: N802
        """Nobody looks: it is where it goes."""
        self._timer.stop()
        self.shown = self.wanted
        super().hideEvent(event)

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(640, 96)

    def minimumSizeHint(self) -> QSize:  # noqa: N802
        return QSize(256, 48)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        width = self.width() / COLUMNS
        height = self.height() / ROWS
        gap = 1.0 if width >= 5 else 0.0
        hue = QLinearGradient(0, 0, self.width(), 0)
        hue.setColorAt(0, QColor(theme.current().paged))
        hue.setColorAt(1, QColor(theme.current().shared))
        painter.setPen(Qt.PenStyle.NoPen)
        full = int(self.shown)
        free = theme.colour("free")
        for cell in range(self.cells):
            row, column = divmod(cell, COLUMNS)
            area = QRectF(column * width, row * height, width - gap, height - gap)
            if cell < full:
                painter.fillRect(area, hue)
                continue
            painter.fillRect(area, free)
            if cell == full and self.shown > full:
                area.setTop(area.bottom() - (height - gap) * (self.shown - full))
                painter.fillRect(area, hue)
        painter.end()

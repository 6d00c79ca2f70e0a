"""The grid of blocks: one picture, made from whole arrays, of what can be seen of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QEvent, QPoint, QPointF, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import (
    QAccessible,
    QAccessibleEvent,
    QFocusEvent,
    QHelpEvent,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QPaintEvent,
    QPen,
    QResizeEvent,
    QWheelEvent,
)
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from app.desktop import theme
from app.desktop.live.colouring import BARS, CROSS, DOT, HATCH, HOLLOW, Painting

SIGNS_FROM = 7
"""Pixels of a cell from which signs and levels are drawn in it."""
GAPS_FROM = 5
LARGEST = 48
MINIMAP = 150

Pixels = NDArray[np.uint32]


class BlockGrid(QWidget):
    """Blocks 1, 2, ... from left to right and down. Wheel: zoom; drag: move; click or keys: choose a block."""

    chosen = Signal(int)
    """a block was clicked, or chosen by Enter"""
    hovered = Signal(int)
    """the block under the mouse or the cursor; 0: none"""

    def __init__(self, name: str = "Blocks") -> None:
        super().__init__()
        self.setAccessibleName(name)
        self.setAccessibleDescription("The blocks of the pool; arrow keys go from block to block.")
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setMouseTracking(True)
        self.setMinimumSize(200, 120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.tell: Callable[[int], str] = "Block {}".format
        """what the tooltip says of a block"""
        self.blocks = 0
        """that are shown: those of the pool without the null block"""
        self.painting: Painting | None = None
        self.lit: NDArray[np.bool_] | None = None
        """[blocks of the pool] those that stand out; the others are dimmed"""
        self.block = 0
        """the one that is chosen; 0: none"""
        self.cursor_block = 0
        self.columns = 1
        self.cell = 8
        """pixels, the gap included"""
        self._fit = 8
        self._origin = QPointF(0, 0)  # of the view, in pixels of the content
        self._pressed: QPointF | None = None
        self._moved = False
        self._tip_at = QPoint()
        self._buffer: Pixels | None = None
        theme.themes.changed.connect(self.update)

    # What is shown

    def show_painting(self, painting: Painting, lit: NDArray[np.bool_] | None = None) -> None:
        """Draw this instead."""
        blocks = len(painting.code) - 1
        self.painting, self.lit = painting, lit
        if blocks != self.blocks:
            self.blocks = blocks
            self.fit()
        self.update()

    def clear(self) -> None:
        """There is no run."""
        self.painting, self.blocks, self.block = None, 0, 0
        self.update()

    def choose(self, block: int) -> None:
        """Mark a block, and bring it into view; 0: none."""
        self.block = block
        if block:
            self.cursor_block = block
            self._reveal(block)
        self.update()

    def fit(self) -> None:
        """All blocks at once, as large as they can be; a pool that is too large for that is shown from its start."""
        width, height = max(self.width(), 1), max(self.height(), 1)
        count = max(self.blocks, 1)
        cell = max(1, min(LARGEST, int((width * height / count) ** 0.5) + 1))
        while cell > 1 and (width // cell) * (height // cell) < count:
            cell -= 1
        self.columns = max(min(width // cell, count), 1)
        if cell >= 2:  # rows of round numbers are easier to count in
            for step in (64, 32, 16, 8):
                rounded = self.columns // step * step
                if rounded and -(-count // rounded) * cell <= height:
                    self.columns = rounded
                    break
        self.cell = self._fit = cell
        self._origin = QPointF(0, 0)
        self.update()

    @property
    def rows(self) -> int:
        return -(-self.blocks // self.columns)

    @property
    def zoomed(self) -> bool:
        """Whether only a part can be seen."""
        return self.columns * self.cell > self.width() or self.rows * self.cell > self.height()

    def zoom(self, steps: int, around: QPointF | None = None) -> None:
        """Larger or smaller cells; the place `around`, or the middle, stays where it is."""
        place = around or QPointF(self.width() / 2, self.height() / 2)
        before = self.cell
        cell = before
        for _ in range(abs(steps)):
            cell = max(cell + 1, round(cell * 1.3)) if steps > 0 else min(cell - 1, round(cell / 1.3))
        self.cell = max(self._fit, min(LARGEST, cell))
        factor = self.cell / before
        offset = self._margin(before)
        self._origin = (self._origin + place - offset) * factor - place + self._margin(self.cell)
        self._clamp()
        self.update()

    def block_at(self, place: QPointF) -> int:
        """The block at a place of the widget; 0: none."""
        spot = place + self._origin - self._margin(self.cell)
        column, row = int(spot.x() // self.cell), int(spot.y() // self.cell)
        index = row * self.columns + column
        return index + 1 if 0 <= column < self.columns and row >= 0 and index < self.blocks else 0

    def rect_of(self, block: int) -> QRectF:
        """Where a block is drawn, in the widget."""
        row, column = divmod(block - 1, self.columns)
        at = QPointF(column * self.cell, row * self.cell) - self._origin + self._margin(self.cell)
        return QRectF(at.x(), at.y(), self.cell, self.cell)

    def _margin(self, cell: int) -> QPointF:
        """A content that is smaller than the widget stands in its middle."""
        wide = max(0, (self.width() - self.columns * cell) // 2)
        high = max(0, (self.height() - self.rows * cell) // 2)
        return QPointF(wide, min(high, 8))

    def _clamp(self) -> None:
        right = max(0.0, self.columns * self.cell - self.width())
        below = max(0.0, self.rows * self.cell - self.height())
        x, y = min(max(self._origin.x(), 0.0), right), min(max(self._origin.y(), 0.0), below)
        self._origin = QPointF(round(x), round(y))

    def _reveal(self, block: int) -> None:
        here = self.rect_of(block)
        if not QRectF(self.rect()).contains(here):
            self._origin += here.center() - QPointF(self.width() / 2, self.height() / 2)
            self._clamp()

    # Drawing

    def sizeHint(self) -> QSize:  # noqa: N802
        return QSize(640, 360)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.fillRect(self.rect(), theme.colour("surface"))
        if self.painting is None or not self.blocks:
            painter.setPen(theme.colour("muted"))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Press Space to run the scenario")
            painter.end()
            return
        cell, margin = self.cell, self._margin(self.cell)
        first_row = int(self._origin.y()) // cell
        first_column = int(self._origin.x()) // cell
        last_row = min(self.rows, first_row + self.height() // cell + 2)
        last_column = min(self.columns, first_column + self.width() // cell + 2)
        area = (slice(first_row, last_row), slice(first_column, last_column))
        pixels = self._pixels(area, cell)
        scale = 1 if cell >= SIGNS_FROM else cell
        height, width = pixels.shape
        image = QImage(pixels.data, width, height, width * 4, QImage.Format.Format_RGB32)
        left = first_column * cell - int(self._origin.x()) + int(margin.x())
        top = first_row * cell - int(self._origin.y()) + int(margin.y())
        painter.drawImage(QRect(left, top, width * scale, height * scale), image)
        if GAPS_FROM <= cell < SIGNS_FROM:
            painter.setPen(QPen(theme.colour("surface"), 1))
            right, bottom = left + width * scale, top + height * scale
            painter.drawLines([QPoint(x, y) for x in range(left + cell - 1, right, cell) for y in (top, bottom)])
            painter.drawLines([QPoint(x, y) for y in range(top + cell - 1, bottom, cell) for x in (left, right)])
        self._mark(painter, self.block, "accent", 2)
        if self.hasFocus() and self.cursor_block != self.block:
            self._mark(painter, self.cursor_block, "text", 1)
        if self.zoomed:
            self._draw_minimap(painter)
        painter.end()

    def _mark(self, painter: QPainter, block: int, colour: str, width: int) -> None:
        if not 0 < block <= self.blocks:
            return
        here = self.rect_of(block)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        around = here.adjusted(-2, -2, 1, 1)
        painter.setPen(QPen(theme.colour("surface"), width + 2))
        painter.drawRect(around)
        painter.setPen(QPen(theme.colour(colour), width))
        painter.drawRect(around)

    def _squares(self, column: NDArray[Any], area: tuple[slice, slice]) -> NDArray[Any]:
        """A column of the painting as the rows of the grid that are in view; what is beyond the last block is 0."""
        rows, columns = area
        first, end = rows.start * self.columns, min(rows.stop * self.columns, self.blocks)
        part = column[1 + first : 1 + end]
        missing = (rows.stop - rows.start) * self.columns - len(part)
        if missing:
            part = np.concatenate([part, np.zeros(missing, part.dtype)])
        return part.reshape(-1, self.columns)[:, columns]

    def _pixels(self, area: tuple[slice, slice], cell: int) -> Pixels:
        """[height, width] of what is in view: a pixel a block, or all pixels of each where signs are drawn."""
        painting = self.painting
        assert painting is not None
        ground = 0xFF000000 | int(theme.current().surface[1:], 16)
        code = self._squares(painting.code, area)
        bright = painting.palette
        if self.lit is not None:
            bright = np.concatenate([bright, _mixed(bright, ground, 0.78)])
            code = np.where(self._squares(self.lit, area), code, code + len(painting.palette))
        colour = bright[code]
        beyond = None
        if area[0].stop * self.columns > self.blocks:
            index = np.arange(area[0].start * self.columns, area[0].stop * self.columns).reshape(-1, self.columns)
            beyond = index[:, area[1]] >= self.blocks
            colour[beyond] = ground
        if cell < SIGNS_FROM:
            return np.ascontiguousarray(colour)
        rows, columns = colour.shape
        sign = self._squares(painting.sign, area)
        level = self._squares(painting.level, area).astype(np.int32)
        inner = cell - 1
        if self._buffer is None or self._buffer.shape != (rows, cell, columns, cell):
            self._buffer = np.empty((rows, cell, columns, cell), np.uint32)
        out = self._buffer
        out[:] = colour[:, None, :, None]
        dim = _mixed(bright, ground, 0.62)[code]
        empty = inner - (level * inner + 254) // 255
        partly = empty > 0
        if partly.any():
            r, c = np.nonzero(partly)
            above = np.arange(cell) < empty[r, c][:, None]
            tile = np.where(above, dim[r, c][:, None], colour[r, c][:, None])
            out[r, :, c, :] = tile[:, :, None]
        for number, mask in _masks(cell).items():
            r, c = np.nonzero(sign == number)
            if len(r):
                ink = _mixed(colour[r, c], ground, 0.6) if number != DOT else np.full(len(r), _INK, np.uint32)
                out[r, :, c, :] = np.where(mask, ink[:, None, None], out[r, :, c, :])
        if beyond is not None:
            r, c = np.nonzero(beyond)
            out[r, :, c, :] = ground
        out[:, -1] = ground
        out[..., -1] = ground
        return out.reshape(rows * cell, columns * cell)

    def _minimap_rect(self) -> QRectF:
        scale = min(MINIMAP / self.columns, MINIMAP / self.rows)
        width, height = max(self.columns * scale, 12), max(self.rows * scale, 12)
        return QRectF(self.width() - width - 10, self.height() - height - 10, width, height)

    def _draw_minimap(self, painter: QPainter) -> None:
        painting = self.painting
        assert painting is not None
        step = max(1, self.rows // (2 * MINIMAP))
        padded = np.zeros(self.rows * self.columns, np.uint8)
        padded[: self.blocks] = painting.code[1:]
        every = max(1, self.columns // (2 * MINIMAP))
        pixels = np.ascontiguousarray(painting.palette[padded.reshape(self.rows, self.columns)[::step, ::every]])
        height, width = pixels.shape
        image = QImage(pixels.data, width, height, width * 4, QImage.Format.Format_RGB32)
        box = self._minimap_rect()
        painter.fillRect(box.adjusted(-3, -3, 3, 3), theme.colour("surface"))
        painter.drawImage(box, image)
        painter.setPen(QPen(theme.colour("border"), 1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawRect(box.adjusted(-2, -2, 2, 2))
        wide, high = self.columns * self.cell, self.rows * self.cell
        view = QRectF(
            box.x() + box.width() * self._origin.x() / wide,
            box.y() + box.height() * self._origin.y() / high,
            box.width() * min(1.0, self.width() / wide),
            box.height() * min(1.0, self.height() / high),
        )
        painter.setPen(QPen(theme.colour("text"), 1))
        painter.drawRect(view)

    # Mouse and keys

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        was_fit = self.cell == self._fit
        super().resizeEvent(event)
        if was_fit:
            self.fit()
        else:
            self._clamp()

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802
        turned = event.angleDelta().y()
        if turned:
            self.zoom(1 if turned > 0 else -1, event.position())
            event.accept()

    def mousePressEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if event.button() == Qt.MouseButton.LeftButton:
            self._pressed, self._moved = event.position(), False
            if self.zoomed and self._minimap_rect().contains(event.position()):
                self._go_by_minimap(event.position())
                self._moved = True

    def mouseMoveEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self._pressed is None:
            self.hovered.emit(self.block_at(event.position()))
            return
        if self.zoomed and self._minimap_rect().contains(self._pressed):
            self._go_by_minimap(event.position())
            return
        by = event.position() - self._pressed
        if self._moved or by.manhattanLength() > 5:
            self._moved = True
            self._origin -= by
            self._pressed = event.position()
            self._clamp()
            self.update()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        if self._pressed is not None and not self._moved and (block := self.block_at(event.position())):
            self.choose(block)
            self.chosen.emit(block)
        self._pressed = None

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        self.zoom(4 if self.cell < 16 else -99, event.position())

    def leaveEvent(self, event: QEvent) -> None:  # noqa: N802
        self.hovered.emit(0)

    def _go_by_minimap(self, place: QPointF) -> None:
        box = self._minimap_rect()
        x = (place.x() - box.x()) / box.width() * self.columns * self.cell - self.width() / 2
        y = (place.y() - box.y()) / box.height() * self.rows * self.cell - self.height() / 2
        self._origin = QPointF(x, y)
        self._clamp()
        self.update()

    def event(self, event: QEvent) -> bool:
        if event.type() == QEvent.Type.ToolTip and isinstance(event, QHelpEvent):
            self._tip_at = event.globalPos()
            self._tip()
            return True
        return super().event(event)

    def tell_again(self) -> None:
        """What the tooltip says of a block may not be so any more."""
        if QToolTip.isVisible() and self.underMouse():
            self._tip()

    def _tip(self) -> None:
        block = self.block_at(QPointF(self.mapFromGlobal(self._tip_at)))
        if block and self.painting is not None:
            QToolTip.showText(self._tip_at, self.tell(block), self, self.rect_of(block).toRect())
        else:
            QToolTip.hideText()

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        page = max(1, self.height() // self.cell - 1) * self.columns
        moves = {
            Qt.Key.Key_Left: -1,
            Qt.Key.Key_Right: 1,
            Qt.Key.Key_Up: -self.columns,
            Qt.Key.Key_Down: self.columns,
            Qt.Key.Key_PageUp: -page,
            Qt.Key.Key_PageDown: page,
        }
        key = event.key()
        if not self.blocks:
            super().keyPressEvent(event)
        elif key in moves:
            self._go_to(min(max((self.cursor_block or 1) + moves[Qt.Key(key)], 1), self.blocks))
        elif key == Qt.Key.Key_Home:
            self._go_to(1)
        elif key == Qt.Key.Key_End:
            self._go_to(self.blocks)
        elif key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and self.cursor_block:
            self.choose(self.cursor_block)
            self.chosen.emit(self.cursor_block)
        elif key in (Qt.Key.Key_Plus, Qt.Key.Key_Equal):
            self.zoom(1)
        elif key == Qt.Key.Key_Minus:
            self.zoom(-1)
        elif key == Qt.Key.Key_0:
            self.fit()
        else:
            super().keyPressEvent(event)

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802
        super().focusInEvent(event)
        self.cursor_block = self.cursor_block or min(1, self.blocks)
        self.update()

    def _go_to(self, block: int) -> None:
        self.cursor_block = block
        self._reveal(block)
        self.hovered.emit(block)
        self.setAccessibleDescription(self.tell(block))
        QAccessible.updateAccessibility(QAccessibleEvent(self, QAccessible.Event.DescriptionChanged))
        self.update()


_INK = 0xFFFFFFFF


def _mixed(colours: Pixels, ground: int, share: float) -> Pixels:
    """Colours with a share of the ground in them."""
    out = np.full(colours.shape, 0xFF000000, np.uint32)
    for shift in (0, 8, 16):
        part = (colours >> np.uint32(shift)) & np.uint32(0xFF)
        mixed = part * (1 - share) + ((ground >> shift) & 0xFF) * share
        out |= mixed.astype(np.uint32) << np.uint32(shift)
    return out


def _masks(cell: int) -> dict[int, NDArray[np.bool_]]:
    """[cell, cell] where each sign has its ink."""
    y, x = np.mgrid[:cell, :cell]
    inner = cell - 1
    middle = (inner - 1) / 2
    radius = max(1.0, inner / 5)
    return {
        HATCH: (x + y) % max(3, inner // 3) == 0,
        DOT: (x - middle) ** 2 + (y - middle) ** 2 <= radius**2,
        CROSS: (abs(x - y) < 1) | (abs(x + y - inner + 1) < 1),
        HOLLOW: (x > 0) & (y > 0) & (x < inner - 1) & (y < inner - 1),
    }


def swatch(colour: str, sign: int, size: int = 12) -> QImage:
    """A cell of a legend."""
    ground = 0xFF000000 | int(theme.current().surface[1:], 16)
    hue = np.array([0xFF000000 | int(colour[1:], 16)], np.uint32)
    pixels = np.full((size, size), hue[0], np.uint32)
    if sign == BARS:
        pixels[: size // 2] = _mixed(hue, ground, 0.62)[0]
    elif sign:
        ink = _INK if sign == DOT else int(_mixed(hue, ground, 0.6)[0])
        pixels[_masks(size + 1)[sign][:size, :size]] = ink
    return QImage(pixels.data, size, size, size * 4, QImage.Format.Format_RGB32).copy()

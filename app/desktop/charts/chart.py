"""One plot with a title, a legend, a readout under the mouse, and buttons that copy and export it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyqtgraph as pg
from PySide6.QtCore import QPointF, QRectF, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QGuiApplication,
    QImage,
    QKeyEvent,
    QMouseEvent,
    QPainter,
    QResizeEvent,
)
from PySide6.QtWidgets import (
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QLabel,
    QMenu,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.charts import export
from app.desktop.charts.axis import Axis
from app.desktop.charts.legend import Legend
from app.desktop.charts.series import Bars, Colour, Heatmap, Histogram, Line, Scatter, Series, Stack, number
from app.desktop.figure import Elided
from simcore.errors import InputError

S = TypeVar("S", bound=Series)


class Chart(QFrame):
    """A card with one plot in it."""

    region_changed = Signal(object)
    """(start, end) of the selected range of x, or None"""

    def __init__(
        self,
        title: str,
        x: str = "",
        y: str = "",
        *,
        x_unit: str = "",
        y_unit: str = "",
        about: str = "",
        card: bool = True,
        empty: str = "",
        from_zero: bool = False,
        parent: QWidget | None = None,
    ) -> None:
        """`about` is one sentence, the title's tooltip; `card` draws a border around it; `empty` is written into it
        while there are no data; with `from_zero`, y begins at 0 and not at the smallest value.
        """
        super().__init__(parent)
        if card:
            self.setProperty("role", "card")
        self.title = title
        self.x_name, self.y_name = x, y
        self.from_zero = from_zero
        self.powers = (False, False)
        """whether x and y are in powers of ten"""
        self.series: list[Series] = []
        self.bars_of: list[Bars] = []
        self.region: pg.LinearRegionItem | None = None
        self._above = False
        self.setAccessibleName(title)
        self.setAccessibleDescription(about)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)

        self.axes = {side: Axis(side) for side in ("bottom", "left")}
        self.view = pg.PlotWidget(axisItems=self.axes)
        self.view.setFrameShape(QFrame.Shape.NoFrame)
        self.view.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view.viewport().setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.view.setMinimumSize(120, 80)
        self.view.setAcceptDrops(False)  # files are for the window
        self.plot = self.view.getPlotItem()
        self.plot.setMenuEnabled(False)
        self.plot.hideButtons()
        self.plot.setDownsampling(auto=True, mode="peak")  # on the plot: it overwrites what its lines say
        self.plot.setClipToView(True)
        self.plot.getViewBox().suggestPadding = self._padding
        for side, name, unit in (("bottom", x, x_unit), ("left", y, y_unit)):
            axis = self.axes[side]
            axis.enableAutoSIPrefix(unit in ("B", "B/s", "FLOP/s"))
            axis.setZValue(-1000)  # its grid lies behind the data
            if name:
                axis.setLabel(name, units=unit or None)
        self.readout = QLabel(self.view)
        self.readout.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.readout.hide()
        self.hint = QLabel(empty, self.view)
        self.hint.setProperty("role", "muted")
        self.hint.setWordWrap(True)
        self.hint.setAlignment(Qt.AlignmentFlag.AlignCenter)
        self.hint.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.hint.setVisible(bool(empty))
        self.cross = pg.InfiniteLine(angle=90, movable=False)
        self.cross.hide()
        self.plot.addItem(self.cross, ignoreBounds=True)
        self.view.scene().sigMouseMoved.connect(self._hover)
        self.view.leaveEvent = lambda _event: self._unhover()

        self.heading = Elided(title)
        self.heading.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
        self.heading.setProperty("role", "heading")
        self.heading.setMinimumWidth(40)  # it may be cut
        self.heading.setToolTip(f"{title}. {about}".strip())
        self.key = Legend(self)
        self.button = QToolButton()
        self.button.setAccessibleName(f"Export {title}")
        self.button.setToolTip("Copy or save this chart")
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.button.setAutoRaise(True)
        self.button.setMenu(self._menu())
        self._top = QHBoxLayout()
        self._top.setContentsMargins(0, 0, 0, 0)
        self._top.setSpacing(12)
        self._top.addWidget(self.heading)
        self._top.addStretch(1)
        self._top.addWidget(self.key, 100)
        self._top.addWidget(self.button)
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(12, 6, 8, 6)
        self._box.setSpacing(2)
        self._box.addLayout(self._top)
        self._box.addWidget(self.view, 1)
        theme.themes.changed.connect(self.dress)
        self.dress()

    # Series

    def line(
        self, name: str = "", colour: Colour | None = None, *, step: bool = False, fill: bool = False, dash: bool = True
    ) -> Line:
        """A line; a `step` holds each value until the next; `dash` tells lines apart by their dashes too."""
        return self._add(Line(self, name, colour, self._place(), step, fill, dash))

    def stack(self, names: Sequence[str], colours: Sequence[Colour] | None = None) -> Stack:
        """Areas on top of each other, named from the bottom up."""
        return self._add(Stack(self, names, colours, self._place()))

    def bars(self, name: str = "", colour: Colour | None = None, hues: Sequence[Colour] = ()) -> Bars:
        """Bars with labels, and intervals where they are known; `hues`: of each bar, where they differ."""
        return self._add(Bars(self, name, colour, self._place(), hues))

    def scatter(self, name: str = "", colour: Colour | None = None, *, size: int = 7) -> Scatter:
        """Points."""
        return self._add(Scatter(self, name, colour, self._place(), size))

    def histogram(self, name: str = "", colour: Colour | None = None) -> Histogram:
        """Counts between edges."""
        return self._add(Histogram(self, name, colour, self._place()))

    def heatmap(self, name: str = "") -> Heatmap:
        """A matrix."""
        return self._add(Heatmap(self, name, self._place()))

    def _place(self) -> int:
        return len(self.series)

    def _add(self, series: S) -> S:
        self.series.append(series)
        self.dress()
        return series

    # Views

    def rename(self, title: str) -> None:
        """Another title, in the window and in what is exported."""
        self.title = title
        self.setAccessibleName(title)
        self.heading.setText(title)
        self.heading.setToolTip(f"{title}. {self.accessibleDescription()}".strip())
        self.button.setAccessibleName(f"Export {title}")
        self.place_legend()

    def tools(self, *widgets: QWidget) -> None:
        """Put fields into its head, before the button."""
        for widget in widgets:
            self._top.insertWidget(self._top.count() - 1, widget)

    def label(self, *, x: str | None = None, y: str | None = None) -> None:
        """Other names of the axes."""
        if x is not None:
            self.x_name = x
            self.plot.setLabel("bottom", x)
        if y is not None:
            self.y_name = y
            self.plot.setLabel("left", y)

    def whole(self, *sides: str) -> None:
        """Ticks of an axis at whole numbers alone: there is no half a block."""
        for side in sides:
            self.axes[side].whole = True

    def _padding(self, axis: int) -> float:
        """Room above; at the sides only beside points, which would be cut."""
        return 0.04 if axis or any(isinstance(series, Scatter) for series in self.series) else 0.0

    @property
    def follows_x(self) -> bool:
        """Whether the range of x follows the data."""
        return bool(self.plot.getViewBox().autoRangeEnabled()[0])

    def link_x(self, other: "Chart") -> None:
        """Show the same range of x as another chart."""
        self.plot.setXLink(other.plot)

    def logarithmic(self, *, x: bool = False, y: bool = False) -> None:
        """Axes in powers of ten."""
        self.powers = (x, y)
        self.plot.setLogMode(x=x, y=y)
        for side, powers in (("bottom", x), ("left", y)):
            if powers:
                self.axes[side].logarithmic()

    def select(self, start: float, end: float) -> None:
        """Select a range of x, which can then be dragged; `region_changed` tells."""
        if self.region is None:
            self.region = pg.LinearRegionItem()
            self.region.sigRegionChanged.connect(self._region_moved)
            self.plot.addItem(self.region, ignoreBounds=True)
            self.dress()
        self.region.setRegion((start, end))

    def unselect(self) -> None:
        """Select nothing."""
        if self.region is not None:
            self.plot.removeItem(self.region)
            self.region = None
            self.region_changed.emit(None)

    def selectable(self) -> None:
        """Let a range of x be selected by dragging with Shift held; a double click selects nothing."""
        self.plot.getViewBox().mouseDragEvent = self._drag(self.plot.getViewBox().mouseDragEvent)
        self.view.scene().sigMouseClicked.connect(lambda event: self.unselect() if event.double() else None)

    def _drag(self, otherwise: Callable[..., None]) -> Callable[..., None]:
        def drag(event: Any, axis: int | None = None) -> None:
            if not event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
                otherwise(event, axis)
                return
            event.accept()
            box = self.plot.getViewBox()
            ends = sorted(box.mapSceneToView(point).x() for point in (event.buttonDownScenePos(), event.scenePos()))
            self.select(ends[0], ends[1])

        return drag

    def _region_moved(self) -> None:
        assert self.region is not None
        start, end = self.region.getRegion()
        self.region_changed.emit((float(start), float(end)))

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802
        """Arrows move, + and - zoom, 0 shows everything: what the mouse does."""
        box = self.plot.getViewBox()
        (left, right), (low, high) = box.viewRange()
        match event.text() or event.key():
            case Qt.Key.Key_Left | Qt.Key.Key_Right:
                by = (right - left) * (0.1 if event.key() == Qt.Key.Key_Right else -0.1)
                box.translateBy(x=by)
            case Qt.Key.Key_Up | Qt.Key.Key_Down:
                by = (high - low) * (0.1 if event.key() == Qt.Key.Key_Up else -0.1)
                box.translateBy(y=by)
            case "+" | "=":
                box.scaleBy(x=0.8)
            case "-":
                box.scaleBy(x=1.25)
            case "0":
                self.show_all()
            case _:
                super().keyPressEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:  # noqa: N802
        """Show everything again."""
        self.show_all()
        event.accept()

    def show_all(self) -> None:
        """Let the ranges follow the data again."""
        self.plot.getViewBox().enableAutoRange()
        for series in self.series:
            series.redraw()

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """A legend that has no room beside the title goes below it."""
        super().resizeEvent(event)
        self.place_legend()
        self._place_hint()
        for bars in self.bars_of[:1]:
            bars.tick()

    def _place_hint(self) -> None:
        for axis in self.axes.values():
            axis.setStyle(showValues=not self.hint.isVisibleTo(self))
        for series in self.series:
            if isinstance(series, Heatmap):
                series.bar.setVisible(not self.hint.isVisibleTo(self))
        if self.hint.isVisibleTo(self):
            self.hint.setGeometry(self.view.rect().adjusted(56, 8, -24, -40))

    def place_legend(self) -> None:
        """Beside the title, or below it."""
        room = self.width() - 20 - self.heading.sizeHint().width() - self.button.sizeHint().width() - 36
        below = self.key.needed() > room
        if below and self._top.indexOf(self.key) >= 0:
            self._top.removeWidget(self.key)
            self._box.insertWidget(1, self.key)
        elif not below and self._top.indexOf(self.key) < 0:
            self._box.removeWidget(self.key)
            self._top.insertWidget(2, self.key, 100)
        self.key.left = below
        self.key.take_lines(self.width() - 24 if below else 0)

    def _hover(self, position: QPointF) -> None:
        box = self.plot.getViewBox()
        if not box.sceneBoundingRect().contains(position) or not self.series:
            self._unhover()
            return
        point = box.mapSceneToView(position)
        x = 10 ** point.x() if self.powers[0] else point.x()
        told = [
            series.read_at(point.x(), point.y()) if isinstance(series, Heatmap) else series.read(x)
            for series in self.series
        ]
        told = [text for text in told if text]
        if not told:
            self._unhover()
            return
        bars = bool(self.bars_of) or any(isinstance(series, Heatmap | Histogram) for series in self.series)
        where = "" if bars else f"{self.x_name} {number(x)}  "
        self.readout.setText(where.lstrip() + "  ".join(told))
        self.readout.adjustSize()
        area = self.view.mapFromScene(box.sceneBoundingRect()).boundingRect()
        left = position.x() + 12
        if left + self.readout.width() > area.right():
            left = max(area.left() + 4, position.x() - 12 - self.readout.width())
        self.readout.move(int(left), area.top() + 4)
        self.readout.show()
        self.cross.setPos(point.x())
        self.cross.setVisible(not bars)

    def _unhover(self) -> None:
        self.readout.hide()
        self.cross.hide()

    def touched(self) -> None:
        """A series has new data: what is never negative stands on 0."""
        if self.hint.text():
            self.hint.setVisible(all(series.blank for series in self.series))
            self._place_hint()
        floors = [series.floor() for series in self.series]
        above = all(floor is not None and floor >= 0 for floor in floors) and not self.powers[1]
        if above != self._above:
            self._above = above
            self.plot.getViewBox().setLimits(yMin=0 if above else None)

    def dress(self) -> None:
        """Take the colours of the current theme."""
        shown = theme.current()
        self.view.setBackground(theme.colour("surface"))
        small = theme.font(8.5)
        for axis in self.axes.values():
            axis.setPen(pg.mkPen(theme.colour("border")))
            axis.setTickPen(pg.mkPen(theme.colour("grid")))
            axis.setTextPen(pg.mkPen(theme.colour("muted")))
            axis.setTickFont(small)
            axis.label.setFont(small)
            axis.label.setDefaultTextColor(theme.colour("muted"))
            axis.labelStyle = {"color": shown.muted}
        self.plot.showGrid(y=not any(isinstance(series, Heatmap) for series in self.series), alpha=0.9)
        self.cross.setPen(pg.mkPen(theme.colour("muted")))
        if self.region is not None:
            self.region.setBrush(theme.colour("accent", 0.18))
            for edge in self.region.lines:
                edge.setPen(pg.mkPen(theme.colour("accent")))
        self.readout.setStyleSheet(
            f"background: {shown.raised}; color: {shown.text}; border: 1px solid {shown.border};"
            "border-radius: 4px; padding: 2px 6px; font-size: 9pt;"
        )
        self.button.setIcon(theme.icon("export", "muted"))
        for series in self.series:
            series.dress()
        self.key.refresh()

    # Export

    def _menu(self) -> QMenu:
        menu = QMenu(self)
        for text, run in (
            ("Copy picture", self.copy_picture),
            ("Copy data as CSV", self.copy_data),
            ("Save as PNG ...", lambda: self.ask_and_save("png")),
            ("Save as SVG ...", lambda: self.ask_and_save("svg")),
            ("Save as PDF ...", lambda: self.ask_and_save("pdf")),
            ("Save data as CSV ...", lambda: self.ask_and_save("csv")),
        ):
            action = QAction(text, menu)
            action.triggered.connect(lambda _checked=False, run=run: run())
            menu.addAction(action)
        menu.aboutToShow.connect(self._offer)
        return menu

    def _offer(self) -> None:
        """What shows nothing is not exported."""
        known = any(not series.blank for series in self.series)
        for action in self.button.menu().actions():
            action.setEnabled(known)

    def copy_picture(self) -> None:
        """Put a picture of it into the clipboard."""
        QGuiApplication.clipboard().setImage(self.image())

    def copy_data(self) -> None:
        """Put its numbers into the clipboard, as CSV."""
        QGuiApplication.clipboard().setText(self.csv())

    def ask_and_save(self, kind: str) -> None:
        """Ask for a file's name, and save."""
        name = "".join(letter if letter.isalnum() else "-" for letter in self.title.lower()) or "chart"
        chosen, _ = QFileDialog.getSaveFileName(self, f"Save {self.title}", f"{name}.{kind}", f"*.{kind}")
        if chosen:
            try:
                self.save(Path(chosen))
            except InputError as error:
                from app.desktop.dialogs import complain

                complain(self, "The chart was not saved", str(error))

    def save(self, path: Path) -> None:
        """Write it as the file's ending says: .png, .svg, .pdf or .csv. Raises InputError."""
        export.write(self, path)

    def csv(self) -> str:
        """Its numbers: series with equal x share a table, others stand in one of their own."""
        return export.numbers(self.series)

    def image(self, scale: int = export.EXPORT_SCALE) -> QImage:
        """A picture of it, `scale` pixels a point."""
        return export.picture(self, scale)

    def paint(self, painter: QPainter, area: QRectF) -> None:
        """Draw title, legend and plot, as pictures and files have them: where they stand in the window."""
        painter.save()
        painter.setFont(theme.font(11, bold=True))
        painter.setPen(theme.colour("text"))
        head = QRectF(area.left() + 12, area.top() + 6, area.width() - 24, 24)
        painter.drawText(head, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, self.title)
        painter.restore()
        self.key.draw(painter, QRectF(self.key.geometry()))
        self.view.scene().render(
            painter, QRectF(self.view.geometry()), self.view.sceneRect(), Qt.AspectRatioMode.IgnoreAspectRatio
        )

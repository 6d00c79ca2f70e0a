"""Charts: one plot with a title, a legend, a readout under the mouse, and buttons that copy and export it.

Series are made once and then given data; nothing is cleared and drawn again. What is drawn is thinned out to the
pixels that there are. Colours are names of the theme's fields or `#rrggbb`; without one the series of the theme are
taken in turn, and lines differ in their dashes too.
"""

import csv
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QPointF, QRectF, QSize, QSizeF, Qt, Signal
from PySide6.QtGui import (
    QAction,
    QColor,
    QFontMetricsF,
    QGuiApplication,
    QImage,
    QImageWriter,
    QKeyEvent,
    QMouseEvent,
    QPageSize,
    QPainter,
    QPaintEvent,
    QPdfWriter,
    QPen,
    QResizeEvent,
)
from PySide6.QtSvg import QSvgGenerator
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
from app.desktop.figure import Elided
from simcore.errors import InputError

Floats = NDArray[np.float64]
Colour = str
Column = Sequence[Any] | NDArray[Any]
S = TypeVar("S", bound="Series")
EXPORT_SCALE = 3
"""Pixels a point of an exported PNG."""
_DASHES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DashDotDotLine,
)
_SYMBOLS = "ostdx+p"
_HATCHES = (
    Qt.BrushStyle.SolidPattern,
    Qt.BrushStyle.BDiagPattern,
    Qt.BrushStyle.Dense4Pattern,
    Qt.BrushStyle.FDiagPattern,
    Qt.BrushStyle.CrossPattern,
)


class Series(ABC):
    """What a chart draws; it belongs to its chart, which is told when the data change."""

    swatch = "box"
    """how the legend shows it: `box`, `line` or `dot`"""

    def __init__(self, chart: "Chart", name: str, colour: Colour | None, place: int) -> None:
        self.chart = chart
        self.name = name
        self.given = colour
        self.place = place
        """how many series the chart had before; it decides on colour and dashes"""

    @property
    def colour(self) -> QColor:
        """In the current theme."""
        series = theme.current().series
        return theme.colour(self.given or series[self.place % len(series)])

    @property
    def dash(self) -> Qt.PenStyle:
        """A second sign beside the colour."""
        return _DASHES[self.place % len(_DASHES)]

    @abstractmethod
    def dress(self) -> None:
        """Take the colours of the current theme."""

    @abstractmethod
    def columns(self) -> list[tuple[str, Column]]:
        """What is drawn, as named columns of equal length: the first one is x."""

    def read(self, x: float) -> str:
        """What the readout says of it at x; empty: nothing."""
        return ""

    def redraw(self) -> None:  # noqa: B027  # most have nothing to do
        """Draw all of it, where only what was in view was drawn."""

    def floor(self) -> float | None:
        """Its smallest y; None: y need not begin at 0."""
        return None

    @property
    def blank(self) -> bool:
        """Whether it has no data."""
        return not any(len(values) for _, values in self.columns())

    def legend(self) -> list[tuple[str, QColor, str, Qt.PenStyle]]:
        """Name, colour, swatch and dashes of its lines in the legend."""
        return [(self.name, self.colour, self.swatch, self.dash)] if self.name else []


class Line(Series):
    """A line through points; `set` gives them."""

    swatch = "line"

    def __init__(
        self, chart: "Chart", name: str, colour: Colour | None, place: int, step: bool, fill: bool, dashed: bool
    ) -> None:
        super().__init__(chart, name, colour, place)
        self.fill = fill
        self.dashed = dashed
        self.x: Floats = np.empty(0)
        self.y: Floats = np.empty(0)
        self.item = pg.PlotDataItem(stepMode="right" if step else None, connect="finite")
        chart.plot.addItem(self.item)
        self.dress()

    @property
    def dash(self) -> Qt.PenStyle:
        return super().dash if self.dashed else Qt.PenStyle.SolidLine

    def set(self, x: ArrayLike, y: ArrayLike) -> None:
        """x and y [points], x rising; NaN in y is a gap."""
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        self.item.setData(self.x, self.y)
        self.chart.touched()

    def redraw(self) -> None:
        self.item.setData(self.x, self.y)

    def dress(self) -> None:
        self.item.setPen(pg.mkPen(self.colour, width=1, style=self.dash))
        if self.fill:
            shade = QColor(self.colour)
            shade.setAlphaF(0.18)
            self.item.setBrush(shade)
        if self.fill or self.chart.from_zero:
            self.item.setFillLevel(0)  # without a brush nothing is filled, but the range begins there

    def columns(self) -> list[tuple[str, Column]]:
        return [(self.chart.x_name, self.x), (self.name or self.chart.y_name, self.y)]

    def floor(self) -> float | None:
        known = self.y[np.isfinite(self.y)]
        return float(known.min()) if len(known) else 0.0

    def read(self, x: float) -> str:
        place = int(np.searchsorted(self.x, x, side="right")) - 1
        return f"{self.name} {number(self.y[place])}".strip() if 0 <= place < len(self.y) else ""


class Stack(Series):
    """Areas on top of each other; `set` gives their heights. Each is drawn filled down to 0, the largest sum first."""

    def __init__(self, chart: "Chart", names: Sequence[str], colours: Sequence[Colour] | None, place: int) -> None:
        super().__init__(chart, "", None, place)
        self.names = tuple(names)
        """from the bottom up"""
        self.colours = tuple(colours) if colours else None
        self.x: Floats = np.empty(0)
        self.heights: Floats = np.empty((len(self.names), 0))
        self.items: list[Any] = []
        for level in reversed(range(len(self.names))):  # the largest sum lies below the others
            item = pg.PlotCurveItem(fillLevel=0, skipFiniteCheck=True)
            item.setZValue(-10 - level)
            chart.plot.addItem(item)
            self.items.insert(0, item)
        chart.plot.getViewBox().sigXRangeChanged.connect(lambda *_: self._draw())
        self.dress()

    def set(self, x: ArrayLike, heights: ArrayLike) -> None:
        """x [points], rising; heights [names, points], from the bottom up, none negative."""
        self.x, self.heights = np.asarray(x, np.float64), np.asarray(heights, np.float64)
        self._draw()
        self.chart.touched()

    def redraw(self) -> None:
        self._draw()

    def _hue(self, level: int) -> QColor:
        series = theme.current().series
        return theme.colour(self.colours[level] if self.colours else series[(self.place + level) % len(series)])

    def _draw(self) -> None:
        """As many columns of what is in view as there are pixels; the last value in each pixel."""
        if not len(self.x):
            for item in self.items:
                item.setData([], [])
            return
        low, high = self.chart.plot.getViewBox().viewRange()[0]
        following = self.chart.follows_x
        first, last = (0, len(self.x)) if following else np.searchsorted(self.x, (low, high))
        first, last = max(int(first) - 1, 0), min(int(last) + 1, len(self.x))
        columns = max(200, self.chart.plot.width() or 0)
        rows = np.arange(first, last)
        if len(rows) > columns:
            rows = rows[np.linspace(0, len(rows) - 1, int(columns)).astype(np.int64)]
        x, sums = self.x[rows], np.cumsum(self.heights[:, rows], axis=0)
        for item, total in zip(self.items, sums, strict=True):
            item.setData(x, total)

    def dress(self) -> None:
        for level, item in enumerate(self.items):
            item.setPen(pg.mkPen(self._hue(level), width=1))  # an edge of another colour would hide narrow peaks
            item.setBrush(self._hue(level))

    def columns(self) -> list[tuple[str, Column]]:
        return [(self.chart.x_name, self.x), *zip(self.names, self.heights, strict=True)]

    def read(self, x: float) -> str:
        place = int(np.searchsorted(self.x, x, side="right")) - 1
        if not 0 <= place < len(self.x):
            return ""
        return "  ".join(f"{name} {number(row[place])}" for name, row in zip(self.names, self.heights, strict=True))

    def floor(self) -> float | None:
        return 0.0

    def legend(self) -> list[tuple[str, QColor, str, Qt.PenStyle]]:
        return [(name, self._hue(level), "box", _DASHES[0]) for level, name in enumerate(self.names)]


class Bars(Series):
    """A bar for each label, with an interval on it where one is known; several make groups."""

    def __init__(
        self, chart: "Chart", name: str, colour: Colour | None, place: int, hues: Sequence[Colour] = ()
    ) -> None:
        super().__init__(chart, name, colour, place)
        self.hues = hues
        """of each bar, where they differ"""
        self.labels: tuple[str, ...] = ()
        self.heights: Floats = np.empty(0)
        self.low: Floats | None = None
        self.high: Floats | None = None
        self.item = pg.BarGraphItem(x=[], height=[], width=0.8)
        self.errors = pg.ErrorBarItem(beam=0.1)
        chart.plot.addItem(self.item)
        chart.plot.addItem(self.errors)
        chart.bars_of.append(self)
        self.dress()

    def set(
        self, labels: Sequence[str], heights: ArrayLike, low: ArrayLike | None = None, high: ArrayLike | None = None
    ) -> None:
        """heights [labels], and the ends of their intervals [labels]."""
        self.labels, self.heights = tuple(labels), np.asarray(heights, np.float64)
        self.low = None if low is None else np.asarray(low, np.float64)
        self.high = None if high is None else np.asarray(high, np.float64)
        for bars in self.chart.bars_of:  # a new series makes those before it narrower
            bars.dress()
        self.tick()
        self.chart.plot.setXRange(-0.6, max(len(self.labels), 1) - 0.4, padding=0)
        self.chart.touched()

    def tick(self) -> None:
        """Write the labels: in two lines by turns where they would run into each other, shortened where they must."""
        metrics = QFontMetricsF(theme.font(8.5))
        room = (self.chart.view.width() - 60) / max(len(self.labels), 1)
        texts = list(self.labels)
        axis = self.chart.plot.getAxis("bottom")
        crowded = max((metrics.horizontalAdvance(text) for text in texts), default=0) + 8 > room
        if crowded:
            elide = Qt.TextElideMode.ElideRight
            texts = [metrics.elidedText(text, elide, max(2 * room - 8, 24)) for text in texts]
            texts = [f"\n{text}" if place % 2 else text for place, text in enumerate(texts)]
        axis.setTicks([list(enumerate(texts))])
        axis.setHeight(
            2 * metrics.height() + 8 + (metrics.height() + 4 if self.chart.x_name else 0) if crowded else None
        )
        axis.setStyle(hideOverlappingLabels=not crowded)
        self.chart.plot.layout.setContentsMargins(0, 0, 16 if crowded else 0, 0)

    def dress(self) -> None:
        groups = max(len(self.chart.bars_of), 1)
        width = 0.8 / groups
        rank = self.chart.bars_of.index(self)
        x = np.arange(len(self.heights)) + (rank - (groups - 1) / 2) * width
        brush = pg.mkBrush(self.colour)
        if theme.current().name == "contrast":
            brush.setStyle(_HATCHES[rank % len(_HATCHES)])
        self.item.setOpts(
            x=x, height=self.heights, width=width * 0.92, brush=brush, pen=pg.mkPen(theme.colour("surface")),
            brushes=[theme.colour(hue) for hue in self.hues[: len(x)]] or None,
        )  # fmt: skip
        if self.low is not None and self.high is not None:
            self.errors.setData(
                x=x,
                y=self.heights,
                top=self.high - self.heights,
                bottom=self.heights - self.low,
                beam=width * 0.3,
                pen=pg.mkPen(theme.colour("text")),
            )

    def floor(self) -> float | None:
        return float(self.heights.min(initial=0.0) if self.low is None else self.low.min(initial=0.0))

    def columns(self) -> list[tuple[str, Column]]:
        found: list[tuple[str, Column]] = [
            (self.chart.x_name or "label", self.labels),
            (self.name or self.chart.y_name, self.heights),
        ]
        if self.low is not None and self.high is not None:
            found += [(f"{self.name} low".strip(), self.low), (f"{self.name} high".strip(), self.high)]
        return found

    def read(self, x: float) -> str:
        place = round(x)
        if not (0 <= place < len(self.labels) and abs(x - place) <= 0.5):
            return ""
        interval = ""
        if self.low is not None and self.high is not None:
            interval = f" ({number(self.low[place])} to {number(self.high[place])})"
        label = self.labels[place] if self is self.chart.bars_of[0] else ""
        return f"{label}  {self.name} {number(self.heights[place])}{interval}".strip()


class Scatter(Series):
    """Points, each series with a sign of its own."""

    swatch = "dot"

    def __init__(self, chart: "Chart", name: str, colour: Colour | None, place: int, size: int) -> None:
        super().__init__(chart, name, colour, place)
        self.x: Floats = np.empty(0)
        self.y: Floats = np.empty(0)
        self.item = pg.ScatterPlotItem(size=size, symbol=_SYMBOLS[place % len(_SYMBOLS)])
        chart.plot.addItem(self.item)
        self.dress()

    def set(self, x: ArrayLike, y: ArrayLike, data: Sequence[object] | None = None) -> None:
        """x and y [points]; `data` [points] is what `item.sigClicked` tells of a point."""
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        x, y = (_log(v) if power else v for v, power in zip((self.x, self.y), self.chart.powers, strict=True))
        self.item.setData(x, y, data=data)  # unlike lines, points are not told of axes in powers of ten
        self.chart.touched()

    def dress(self) -> None:
        shade = QColor(self.colour)
        shade.setAlphaF(0.7)
        self.item.setBrush(shade)
        self.item.setPen(pg.mkPen(self.colour))

    def columns(self) -> list[tuple[str, Column]]:
        return [(self.chart.x_name, self.x), (self.name or self.chart.y_name, self.y)]


class Histogram(Series):
    """Counts between edges."""

    def __init__(self, chart: "Chart", name: str, colour: Colour | None, place: int) -> None:
        super().__init__(chart, name, colour, place)
        self.edges: Floats = np.zeros(1)
        self.counts: Floats = np.empty(0)
        self.item = pg.BarGraphItem(x0=[], x1=[], height=[])
        chart.plot.addItem(self.item)
        self.dress()

    def set(self, edges: ArrayLike, counts: ArrayLike) -> None:
        """edges [bins + 1], rising; counts [bins]."""
        self.edges, self.counts = np.asarray(edges, np.float64), np.asarray(counts, np.float64)
        self.dress()
        self.chart.touched()

    def dress(self) -> None:
        shade = QColor(self.colour)
        shade.setAlphaF(0.85)
        edge = pg.mkPen(theme.colour("surface"))
        self.item.setOpts(x0=self.edges[:-1], x1=self.edges[1:], height=self.counts, brush=shade, pen=edge)

    def floor(self) -> float | None:
        return 0.0

    def columns(self) -> list[tuple[str, Column]]:
        return [("from", self.edges[:-1]), ("to", self.edges[1:]), (self.name or "count", self.counts)]

    def read(self, x: float) -> str:
        place = int(np.searchsorted(self.edges, x, side="right")) - 1
        if not 0 <= place < len(self.counts):
            return ""
        between = f"{number(self.edges[place])} to {number(self.edges[place + 1])}"
        return f"{between}: {number(self.counts[place])}"


class Heatmap(Series):
    """A matrix in the colours of viridis, row 0 on top."""

    def __init__(self, chart: "Chart", name: str, place: int) -> None:
        super().__init__(chart, name, None, place)
        self.matrix: Floats = np.empty((0, 0))
        self.item = pg.ImageItem(axisOrder="row-major")
        chart.plot.addItem(self.item)
        chart.plot.getViewBox().invertY(True)
        self.bar = pg.ColorBarItem(colorMap=pg.colormap.get("viridis"), interactive=False, width=12)
        self.bar.setImageItem(self.item, insert_in=chart.plot)
        self.bar.axis.setStyle(hideOverlappingLabels=True)  # rather none at the ends than half of one
        chart.plot.getViewBox().suggestPadding = lambda axis: 0.0
        chart.whole("bottom", "left")
        chart.plot.getAxis("left").setStyle(hideOverlappingLabels=True)
        self.dress()

    def set(self, matrix: ArrayLike, levels: tuple[float, float] | None = None) -> None:
        """matrix [rows, columns]; `levels` are the values of the darkest and the brightest colour."""
        self.matrix = np.asarray(matrix, np.float64)
        low, high = levels or (float(np.nanmin(self.matrix)), float(np.nanmax(self.matrix)))
        self.item.setImage(self.matrix, autoLevels=False)
        self.bar.setLevels((low, high if high > low else low + 1))
        self.chart.touched()

    def dress(self) -> None:
        self.bar.axis.setTextPen(pg.mkPen(theme.colour("muted")))
        self.bar.axis.setTickFont(theme.font(8.5))

    def columns(self) -> list[tuple[str, Column]]:
        rows, columns = self.matrix.shape
        y, x = np.divmod(np.arange(rows * columns), max(columns, 1))
        return [("column", x), ("row", y), (self.name or "value", self.matrix.ravel())]

    def read_at(self, x: float, y: float) -> str:
        """What the readout says at a place."""
        row, column = math.floor(y), math.floor(x)
        inside = 0 <= row < self.matrix.shape[0] and 0 <= column < self.matrix.shape[1]
        return f"row {row}, column {column}: {number(self.matrix[row, column])}" if inside else ""

    def legend(self) -> list[tuple[str, QColor, str, Qt.PenStyle]]:
        return []


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

        self.view = pg.PlotWidget()
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
            axis = self.plot.getAxis(side)
            axis.enableAutoSIPrefix(unit in ("B", "B/s", "FLOP/s"))
            axis.setStyle(tickLength=-4, maxTickLevel=1)
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
        self.key = _Legend(self)
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
            axis = self.plot.getAxis(side)
            axis.tickSpacing = lambda low, high, size, axis=axis: [
                (max(round(each), 1), start) for each, start in type(axis).tickSpacing(axis, low, high, size)[:1]
            ]

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
            axis = self.plot.getAxis(side)
            axis.setStyle(maxTickLevel=0 if powers else 1)
            if powers:
                axis.tickValues = _powers_between
                axis.tickStrings = lambda values, scale, spacing: [number(float(f"{10**each:.1g}")) for each in values]

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
        for side in ("bottom", "left"):
            self.plot.getAxis(side).setStyle(showValues=not self.hint.isVisibleTo(self))
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
        for side in ("bottom", "left"):
            axis = self.plot.getAxis(side)
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
        match path.suffix.lower():
            case ".png":
                buffer = QBuffer()
                buffer.open(QIODevice.OpenModeFlag.WriteOnly)
                QImageWriter(buffer, QByteArray(b"png")).write(self.image())
                content = buffer.data().data()
            case ".svg":
                content = self._vector(_svg_device)
            case ".pdf":
                content = self._vector(_pdf_device)
            case ".csv":
                content = self.csv().encode()
            case ending:
                raise InputError(f'{path}: ends in "{ending}", and a chart is saved as .png, .svg, .pdf or .csv')
        try:
            path.write_bytes(content)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None

    def csv(self) -> str:
        """Its numbers: series with equal x share a table, others stand in one of their own."""
        tables: list[list[tuple[str, Column]]] = []
        for series in self.series:
            columns = series.columns()
            for table in tables:
                if len(table[0][1]) == len(columns[0][1]) and np.array_equal(table[0][1], columns[0][1]):
                    table += columns[1:]
                    break
            else:
                tables.append(columns)
        lines: list[list[Any]] = []
        for table in tables:
            lines += [[]] if lines else []
            lines.append([name for name, _ in table])
            lines += [list(row) for row in zip(*(_plain(values) for _, values in table), strict=True)]
        text = _Text()
        csv.writer(text, lineterminator="\n").writerows(lines)
        return "".join(text.parts)

    def image(self, scale: int = EXPORT_SCALE) -> QImage:
        """A picture of it, `scale` pixels a point."""
        picture = QImage(self.size() * scale, QImage.Format.Format_ARGB32)
        picture.fill(theme.colour("surface"))
        picture.setDevicePixelRatio(scale)
        painter = QPainter(picture)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        self.paint(painter, QRectF(0, 0, self.width(), self.height()))
        painter.end()
        return picture

    def _vector(self, device: Callable[[QBuffer, "Chart"], Any]) -> bytes:
        target = QBuffer()
        target.open(QIODevice.OpenModeFlag.WriteOnly)
        paper = device(target, self)
        painter = QPainter(paper)
        painter.fillRect(QRectF(0, 0, self.width(), self.height()), theme.colour("surface"))
        self.paint(painter, QRectF(0, 0, self.width(), self.height()))
        painter.end()
        written: QByteArray = target.data()
        return bytes(written.data())

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


class _Legend(QWidget):
    """The names of a chart's series: on the right of its title, or in a line of their own from the left."""

    def __init__(self, chart: Chart) -> None:
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
                mark = QRectF(x, y - 5, 10, 10)
                painter.drawEllipse(mark) if swatch == "dot" else painter.drawRoundedRect(mark, 2, 2)
            x += _mark_width(swatch)
            painter.setPen(theme.colour("muted"))
            width = metrics.horizontalAdvance(name)
            room = QRectF(x, y - 12, width + 4, 24)
            painter.drawText(room, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignLeft, name)
        painter.restore()


def _mark_width(swatch: str) -> int:
    """Points from the start of a mark to its name."""
    return 23 if swatch == "line" else 16


class _Text:
    """What csv writes into."""

    def __init__(self) -> None:
        self.parts: list[str] = []

    def write(self, text: str) -> None:
        self.parts.append(text)


def _log(values: Floats) -> Floats:
    """What has no logarithm is far below."""
    logarithms: Floats = np.log10(np.maximum(values, 1e-12))
    return logarithms


def _powers_between(low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
    """Ticks of an axis in powers of ten, as logarithms: with 2 and 5 between them where there is room."""
    steps = (1, 2, 5) if high - low < size / 100 else (1,)
    ticks = [power + math.log10(step) for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [(1.0, [tick for tick in ticks if low <= tick <= high])]


def _plain(values: Column) -> Sequence[Any]:
    return list(values.tolist()) if isinstance(values, np.ndarray) else values


def _svg_device(target: QBuffer, chart: Chart) -> QSvgGenerator:
    device = QSvgGenerator()
    device.setOutputDevice(target)
    device.setTitle(chart.title)
    device.setSize(chart.size())
    device.setViewBox(QRectF(0, 0, chart.width(), chart.height()))
    device.setResolution(96)
    return device


def _pdf_device(target: QBuffer, chart: Chart) -> QPdfWriter:
    device = QPdfWriter(target)
    device.setTitle(chart.title)
    device.setResolution(96)
    size = QSizeF(chart.width() * 0.75, chart.height() * 0.75)  # in points of 1/72 inch, 96 pixels an inch
    device.setPageSize(QPageSize(size, QPageSize.Unit.Point))
    device.setPageMargins(QMarginsF(0, 0, 0, 0))
    return device


def number(value: float) -> str:
    """A number as a readout shows it: at most four digits after the first, thousands apart."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"

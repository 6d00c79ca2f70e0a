"""What charts draw: made once and then given data; nothing is cleared and drawn again.

What is drawn is thinned out to the pixels that there are. Colours are names of the theme's fields or `#rrggbb`; without
one the series of the theme are taken in turn, and lines differ in their dashes too.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pyqtgraph as pg
from numpy.typing import ArrayLike, NDArray
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor, QFontMetricsF

from app.desktop import theme

if TYPE_CHECKING:
    from app.desktop.charts.chart import Chart

Floats = NDArray[np.float64]
Colour = str
Column = Sequence[Any] | NDArray[Any]
_DASHES = (
    Qt.PenStyle.SolidLine,
    Qt.PenStyle.DashLine,
    Qt.PenStyle.DotLine,
    Qt.PenStyle.DashDotLine,
    Qt.PenStyle.DashDotDotLine,
)
_SYMBOLS = "ostdx+p"
FEW = 100
"""Points up to which a line is drawn twice as thick: the pen of a long one has to be cheap."""
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
    """how the legend shows it: `box`, `line` or the sign of its points"""

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
        self.thick = True
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
        if (len(self.x) <= FEW) != self.thick:
            self.thick = not self.thick
            self.dress()
        self.item.setData(self.x, self.y)
        self.chart.touched()

    def redraw(self) -> None:
        self.item.setData(self.x, self.y)

    def dress(self) -> None:
        self.item.setPen(pg.mkPen(self.colour, width=2 if self.thick else 1, style=self.dash))
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

    def __init__(self, chart: "Chart", name: str, colour: Colour | None, place: int, size: int) -> None:
        super().__init__(chart, name, colour, place)
        self.x: Floats = np.empty(0)
        self.y: Floats = np.empty(0)
        self.swatch = _SYMBOLS[place % len(_SYMBOLS)]
        self.item = pg.ScatterPlotItem(size=size, symbol=self.swatch)
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


def _log(values: Floats) -> Floats:
    """What has no logarithm is far below."""
    logarithms: Floats = np.log10(np.maximum(values, 1e-12))
    return logarithms


def number(value: float) -> str:
    """A number as a readout shows it: at most four digits after the first, thousands apart."""
    if not math.isfinite(value):
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"

"""The axes of a chart: ticks that can be read at a glance, 0 among them."""

import math

import pyqtgraph as pg
from PySide6.QtCore import QRectF

from app.desktop.charts.series import number

BEYOND = 10
"""Points that the label of a tick at the beginning may stand out of the plot."""
CROWD = [(0, 0.7), (2, 0.3), (4, 0.2), (6, 0.1)]
"""From so many labels on, ticks between them get none where all would fill more than such a share of the axis."""


class Axis(pg.AxisItem):
    """Thousands apart, and a unit behind every number where it has a `suffix`."""

    def __init__(self, side: str) -> None:
        super().__init__(side)
        self.suffix = ""
        self.whole = False
        """ticks at whole numbers alone: there is no half a block"""
        self._powers = False
        self.setStyle(tickLength=-4, maxTickLevel=1)
        if side == "left":
            self.setStyle(textFillLimits=CROWD)

    def logarithmic(self) -> None:
        """Ticks at powers of ten, with 2 and 5 between them where there is room."""
        self.setStyle(maxTickLevel=0)
        self._powers = True

    def tickSpacing(self, low: float, high: float, size: float) -> list[tuple[float, float]]:  # noqa: N802
        levels: list[tuple[float, float]] = super().tickSpacing(low, high, size)
        return [(max(round(each), 1), start) for each, start in levels[:1]] if self.whole else levels

    def tickValues(self, low: float, high: float, size: float) -> list[tuple[float, list[float]]]:  # noqa: N802
        if self._powers:
            return _powers_between(low, high, size)
        return super().tickValues(low, high, size)  # type: ignore[no-any-return]

    def tickStrings(self, values: list[float], scale: float, spacing: float) -> list[str]:  # noqa: N802
        if self._powers:
            return [number(float(f"{10**each:.1g}")) for each in values]
        places = max(0, math.ceil(-math.log10(spacing * scale)))
        texts = [
            f"{value * scale:,.{places}f}" if 1e-3 <= abs(value * scale) < 1e9 or not value else f"{value * scale:g}"
            for value in values
        ]
        return [text + self.suffix for text in texts]

    def boundingRect(self) -> QRectF:  # noqa: N802
        """With room for half a label at the beginning, which would be left out."""
        area: QRectF = super().boundingRect()
        return area.adjusted(0, 0, 0, BEYOND) if self.orientation == "left" else area.adjusted(-BEYOND, 0, 0, 0)


def _powers_between(low: float, high: float, size: float) -> list[tuple[float, list[float]]]:
    """As logarithms."""
    steps = (1, 2, 5) if high - low < size / 100 else (1,)
    ticks = [power + math.log10(step) for power in range(math.floor(low), math.ceil(high) + 1) for step in steps]
    return [(1.0, [tick for tick in ticks if low <= tick <= high])]

"""Charts: `Chart` is the card with a plot, and what it draws are series."""

from app.desktop.charts.chart import Chart
from app.desktop.charts.export import EXPORT_SCALE
from app.desktop.charts.series import Bars, Heatmap, Histogram, Line, Scatter, Series, Stack, number

__all__ = ["EXPORT_SCALE", "Bars", "Chart", "Heatmap", "Histogram", "Line", "Scatter", "Series", "Stack", "number"]

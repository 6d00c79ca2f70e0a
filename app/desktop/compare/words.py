"""Metrics, means and differences of a comparison in words."""

import math

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QComboBox

from app.desktop.charts import number
from simcore.experiment import METRICS
from simcore.experiment.measures import BY_NAME

SHOWN = ("ttft.mean", "ttft.p99", "e2e.mean", "e2e.p99", "itl.p99", "throughput.output_tokens_per_s", "hits.hit_share")
"""Metrics at the head of the list."""


def metrics_box() -> QComboBox:
    """A choice of any metric; its data are their names."""
    box = QComboBox()
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(5)
    names = [*SHOWN, *(metric.name for metric in METRICS if metric.name not in SHOWN)]
    helps = {metric.name: f"{metric.help} ({metric.unit})" for metric in METRICS}
    for name in names:
        box.addItem(name, name)
        box.setItemData(box.count() - 1, helps[name], Qt.ItemDataRole.ToolTipRole)
    return box


def number_of(value: object) -> str:
    """`-` where there is none."""
    return number(float(value)) if isinstance(value, int | float) else "-"


def difference_text(row: dict[str, object]) -> str:
    """With its interval, where there is one."""
    difference, low, high = row["difference"], row["low"], row["high"]
    if not isinstance(difference, float):
        return "-"
    if not (isinstance(low, float) and isinstance(high, float)):
        return f"{difference:+.3g}"
    digits = max(1 - math.floor(math.log10((high - low) / 2)), 0) if high > low else 3
    return f"{difference:+,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"


def mean_text(row: dict[str, object]) -> str:
    """With half its interval, and no more digits than that has."""
    mean, low, high = row["mean"], row["low"], row["high"]
    if not (isinstance(mean, float) and isinstance(low, float) and isinstance(high, float)) or high <= low:
        return number_of(mean)
    half = (high - low) / 2
    digits = max(1 - math.floor(math.log10(half)), 0)
    return f"{mean:,.{digits}f} ± {half:,.{digits}f}"


def with_unit(metric: str) -> str:
    """A metric with its unit, if it has one."""
    return f"{metric} ({unit})" if (unit := unit_of(metric)) else metric


def unit_of(metric: str) -> str:
    """Empty: it is a share or a count."""
    unit = BY_NAME[metric].unit
    return "" if unit == "1" else unit

"""A chart as a picture or as numbers: PNG, SVG, PDF, CSV."""

import csv
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QBuffer, QByteArray, QIODevice, QMarginsF, QRectF, QSizeF
from PySide6.QtGui import QImage, QImageWriter, QPageSize, QPainter, QPdfWriter
from PySide6.QtSvg import QSvgGenerator

from app.desktop import theme
from app.desktop.charts.series import Column, Series
from simcore.errors import InputError

if TYPE_CHECKING:
    from app.desktop.charts.chart import Chart

EXPORT_SCALE = 3
"""Pixels a point of an exported PNG."""


def write(chart: "Chart", path: Path) -> None:
    """Write it as the file's ending says: .png, .svg, .pdf or .csv. Raises InputError."""
    match path.suffix.lower():
        case ".png":
            buffer = QBuffer()
            buffer.open(QIODevice.OpenModeFlag.WriteOnly)
            QImageWriter(buffer, QByteArray(b"png")).write(picture(chart))
            content = buffer.data().data()
        case ".svg":
            content = _vector(chart, _svg_device)
        case ".pdf":
            content = _vector(chart, _pdf_device)
        case ".csv":
            content = numbers(chart.series).encode()
        case ending:
            raise InputError(f'{path}: ends in "{ending}", and a chart is saved as .png, .svg, .pdf or .csv')
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def numbers(of: Iterable[Series]) -> str:
    """CSV: series with equal x share a table, others stand in one of their own."""
    tables: list[list[tuple[str, Column]]] = []
    for series in of:
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
    text = StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()


def picture(chart: "Chart", scale: int = EXPORT_SCALE) -> QImage:
    """A picture of it, `scale` pixels a point."""
    image = QImage(chart.size() * scale, QImage.Format.Format_ARGB32)
    image.fill(theme.colour("surface"))
    image.setDevicePixelRatio(scale)
    painter = QPainter(image)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    chart.paint(painter, QRectF(0, 0, chart.width(), chart.height()))
    painter.end()
    return image


def _vector(chart: "Chart", device: Callable[[QBuffer, "Chart"], Any]) -> bytes:
    target = QBuffer()
    target.open(QIODevice.OpenModeFlag.WriteOnly)
    paper = device(target, chart)
    painter = QPainter(paper)
    painter.fillRect(QRectF(0, 0, chart.width(), chart.height()), theme.colour("surface"))
    chart.paint(painter, QRectF(0, 0, chart.width(), chart.height()))
    painter.end()
    written: QByteArray = target.data()
    return bytes(written.data())


def _plain(values: Column) -> Sequence[Any]:
    return list(values.tolist()) if isinstance(values, np.ndarray) else values


def _svg_device(target: QBuffer, chart: "Chart") -> QSvgGenerator:
    device = QSvgGenerator()
    device.setOutputDevice(target)
    device.setTitle(chart.title)
    device.setSize(chart.size())
    device.setViewBox(QRectF(0, 0, chart.width(), chart.height()))
    device.setResolution(96)
    return device


def _pdf_device(target: QBuffer, chart: "Chart") -> QPdfWriter:
    device = QPdfWriter(target)
    device.setTitle(chart.title)
    device.setResolution(96)
    size = QSizeF(chart.width() * 0.75, chart.height() * 0.75)  # in points of 1/72 inch, 96 pixels an inch
    device.setPageSize(QPageSize(size, QPageSize.Unit.Point))
    device.setPageMargins(QMarginsF(0, 0, 0, 0))
    return device

"""A number on a card."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QFontMetrics, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QVBoxLayout

from app.desktop import theme

LARGE = 17
"""Points of the large letters, as the style sheet has them."""
WIDE = 128
"""Points from which on the number is written large."""


class Elided(QLabel):
    """A line that takes what room there is; what has none is left out, and its tooltip has all of it."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        area = self.contentsRect()
        text = self.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, area.width())
        side = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        self.style().drawItemText(painter, area, side, self.palette(), True, text, self.foregroundRole())
        painter.end()


class Figure(QFrame):
    """A number with its name above and a remark below."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.name = name
        title = Elided(name)
        title.setProperty("role", "small")
        self.value = Elided("-")
        self.value.setProperty("role", "value")
        self.remark = Elided(" ")
        self.remark.setProperty("role", "small")
        box = QVBoxLayout(self)
        box.setContentsMargins(11, 9, 6, 9)
        box.setSpacing(1)
        for label in (title, self.value, self.remark):
            box.addWidget(label)

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        """Smaller letters where there is little room."""
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        room = self.width() - 20
        large = QFontMetrics(theme.font(LARGE, bold=True)).horizontalAdvance(self.value.text())
        role = "value" if self.width() >= WIDE and large <= room else "heading"
        if self.value.property("role") != role:
            self.value.setProperty("role", role)
            self.value.style().unpolish(self.value)
            self.value.style().polish(self.value)

    def tell(self, value: str, remark: str = "") -> None:
        """What it is now."""
        if value != self.value.text():
            self.value.setText(value)
            self._fit()
        self.remark.setText(remark or " ")
        self.setToolTip(f"{self.name}: {value} {remark}")
        self.setAccessibleName(f"{self.name}: {value} {remark}")

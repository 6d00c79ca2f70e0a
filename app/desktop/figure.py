"""A number on a card."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QVBoxLayout

SMALLEST = 8.5
"""Points of letters that make themselves small."""


def label(text: str, role: str) -> QLabel:
    """Words in a role of the style sheet: `title`, `heading`, `muted`, `small`, ..."""
    made = QLabel(text)
    made.setProperty("role", role)
    return made


class Elided(QLabel):
    """A line that takes what room there is; what has none is left out, and its tooltip has all of it."""

    def __init__(self, text: str = "") -> None:
        super().__init__(text)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    def shown_font(self) -> QFont:
        """That its letters are drawn in."""
        return self.font()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802
        painter = QPainter(self)
        painter.setFont(self.shown_font())
        area = self.contentsRect()
        text = painter.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, area.width())
        side = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        self.style().drawItemText(painter, area, side, self.palette(), True, text, self.foregroundRole())
        painter.end()


class Fitted(Elided):
    """A line with smaller letters where it has little room: half a number would be another number."""

    def shown_font(self) -> QFont:
        font = QFont(self.font())
        wide = QFontMetricsF(font).horizontalAdvance(self.text())
        room = self.contentsRect().width() - 2
        if wide > room:
            font.setPointSizeF(max(font.pointSizeF() * room / wide, SMALLEST))
        return font


class Figure(QFrame):
    """A number with its name above and a remark below; one that is explained can be reached by Tab."""

    def __init__(self, name: str, help: str = "") -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(name)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        if help:
            self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.name = name
        self._about = f"<b>{name}</b><br>" + (f"{help}<br>" if help else "")
        title = Elided(name)
        title.setProperty("role", "small")
        self.value = Fitted("-")
        self.value.setProperty("role", "value")
        self.remark = Elided(" ")
        self.remark.setProperty("role", "small")
        box = QVBoxLayout(self)
        box.setContentsMargins(12, 7, 8, 7)
        box.setSpacing(1)
        for label in (title, self.value, self.remark):
            box.addWidget(label)
        self.tell("-")

    def tell(self, value: str, remark: str = "") -> None:
        """What it is now; what stays the same costs nothing."""
        if value == self.value.text() and (remark or " ") == self.remark.text() and self.toolTip():
            return
        self.value.setText(value)
        self.remark.setText(remark or " ")
        told = ", ".join(part for part in (value, remark) if part)
        self.setToolTip(self._about + told)
        self.setAccessibleDescription(told)

"""Numbers that tell how the memory does, a card each."""

from PySide6.QtCore import Qt
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QVBoxLayout

MARGIN = 11
"""px at either side of the text"""


class Card(QFrame):
    """A name, a number, and a line below it."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.name = name
        self._help = help
        self._told = ("-", "")
        self._name = QLabel(name)
        self._name.setProperty("role", "small")
        self._value = QLabel("-")
        self._value.setProperty("role", "value")
        self._below = QLabel("")
        self._below.setProperty("role", "small")
        for label in (self._name, self._value, self._below):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        column = QVBoxLayout(self)
        column.setContentsMargins(MARGIN, 7, MARGIN, 7)
        column.setSpacing(1)
        column.addWidget(self._name)
        column.addWidget(self._value)
        column.addWidget(self._below)

    def show_value(self, value: str, below: str = "") -> None:
        """Both lines; what stays the same costs nothing."""
        if (value, below) != self._told:
            self._told = value, below
            self.setAccessibleDescription(f"{value}, {below}")
            self._fit()

    @property
    def value(self) -> str:
        return self._told[0]

    def resizeEvent(self, event: QResizeEvent) -> None:  # noqa: N802
        super().resizeEvent(event)
        self._fit()

    def _fit(self) -> None:
        """What there is no room for ends in dots: a number that is cut looks like another one."""
        room = self.contentsRect().width() - MARGIN - MARGIN
        for label, text in zip((self._name, self._value, self._below), (self.name, *self._told), strict=True):
            shown = label.fontMetrics().elidedText(text, Qt.TextElideMode.ElideRight, room)
            if shown != label.text():
                label.setText(shown)
        self.setToolTip(f"<b>{self.name}</b> {self._told[0]}, {self._told[1]}<br>{self._help}")

"""Numbers that tell how the memory does, a card each."""

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QSizePolicy, QVBoxLayout

from app.desktop.figure import Elided


class Card(QFrame):
    """A name, a number, and a line below it."""

    def __init__(self, name: str, help: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self._help = f"<b>{name}</b><br>{help}"
        self.setToolTip(self._help)
        self.setAccessibleName(name)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.name = name
        self._name = Elided(name)
        self._name.setProperty("role", "small")
        self._value = Elided("-")
        self._value.setProperty("role", "value")
        self._below = Elided()
        self._below.setProperty("role", "small")
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 7, 10, 7)
        column.setSpacing(1)
        column.addWidget(self._name)
        column.addWidget(self._value)
        column.addWidget(self._below)

    def show_value(self, value: str, below: str = "") -> None:
        """Both lines; what stays the same costs nothing."""
        if value != self._value.text():
            self._value.setText(value)
        if below != self._below.text():
            self._below.setText(below)
            self.setToolTip(f"{self._help}<br>{value}, {below}")
        self.setAccessibleDescription(f"{value}, {below}")

    @property
    def value(self) -> str:
        return self._value.text()

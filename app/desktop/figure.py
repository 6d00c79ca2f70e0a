"""A number on a card."""

from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy, QVBoxLayout


class Figure(QFrame):
    """A number with its name above and a remark below."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.name = name
        title = QLabel(name)
        title.setProperty("role", "small")
        self.value = QLabel("-")
        self.value.setProperty("role", "value")
        self.remark = QLabel(" ")
        self.remark.setProperty("role", "small")
        box = QVBoxLayout(self)
        box.setContentsMargins(14, 9, 14, 9)
        box.setSpacing(1)
        for label in (title, self.value, self.remark):
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)  # it may be cut, with a tooltip
            box.addWidget(label)

    def tell(self, value: str, remark: str = "") -> None:
        """What it is now."""
        self.value.setText(value)
        self.remark.setText(remark or " ")
        self.setToolTip(f"{self.name}: {value} {remark}")
        self.setAccessibleName(f"{self.name}: {value} {remark}")

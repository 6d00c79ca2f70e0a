"""What varies in a comparison: a key and its values."""

from typing import TYPE_CHECKING

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QComboBox,
    QCompleter,
    QGridLayout,
    QLineEdit,
    QToolButton,
    QWidget,
)

from app.desktop import theme
from simcore.policies.families import FAMILIES

if TYPE_CHECKING:
    from app.desktop.pages.compare import Compare


class FactorRow(QWidget):
    """One key, and the values that it takes."""

    def __init__(self, page: "Compare", key: str, values: str) -> None:
        super().__init__()
        self.page = page
        keys = [info.path for info in page.context.document.infos() if info.type != "table"]
        keys += [key for key in FAMILIES if key not in keys]
        self.key = QComboBox()
        self.key.setEditable(True)
        self.key.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.key.addItems(sorted(keys))
        completer = QCompleter(self.key.model(), self.key)
        self.key.setCompleter(completer)
        completer.setFilterMode(Qt.MatchFlag.MatchContains)
        completer.setCompletionMode(QCompleter.CompletionMode.PopupCompletion)
        self.key.setCurrentText(key)
        self.key.setAccessibleName("Key that varies")
        self.key.setToolTip("A key of the scenario, or a family of policies")
        self.key.setSizePolicy(self.key.sizePolicy().Policy.Ignored, self.key.sizePolicy().verticalPolicy())
        self.values = QLineEdit(values)
        self.values.setPlaceholderText("values: 8, 16, 32 or 8:64:8 or log:1:16:5")
        self.values.setAccessibleName("Values of the key")
        self.values.setToolTip("With commas between them; 8:64:8 is from, to and step, log:1:16:5 is five from 1 to 16")
        self.all = QToolButton()
        self.all.setText("All")
        self.all.setProperty("role", "field")
        self.all.setAccessibleName("All policies")
        self.all.setToolTip("Every policy of this family")
        self.all.clicked.connect(self._take_all)
        self.drop = QToolButton()
        self.drop.setAccessibleName("Remove this key")
        self.drop.setToolTip("Remove this key")
        self.drop.clicked.connect(lambda: page.remove(self))
        self.key.currentTextChanged.connect(self._changed)
        self.values.textChanged.connect(page.asked_anew)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 4)
        grid.setSpacing(4)
        grid.addWidget(self.key, 0, 0)
        grid.addWidget(self.drop, 0, 1)
        grid.addWidget(self.values, 1, 0)
        grid.addWidget(self.all, 1, 1)
        grid.setColumnMinimumWidth(1, 40)
        theme.themes.changed.connect(self._dress)
        self._dress()
        self._changed()

    @property
    def text(self) -> str:
        """As `--vary` has it."""
        return f"{self.key.currentText().strip()}={self.values.text().strip()}"

    def _changed(self) -> None:
        self.all.setVisible(self.key.currentText() in FAMILIES)
        self.page.asked_anew()

    def _dress(self) -> None:
        self.drop.setIcon(theme.icon("close", "muted"))

    def _take_all(self) -> None:
        self.values.setText(", ".join(FAMILIES[self.key.currentText()]))

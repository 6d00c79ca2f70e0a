"""A table of words and numbers that a page fills: aligned by column, in the theme's colours, passed by Tab."""

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTableWidget, QTableWidgetItem

from app.desktop import theme

_HUE = Qt.ItemDataRole.UserRole
_LEFT = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter


class Sheet(QTableWidget):
    """Columns are as wide as what is in them; those that `stretch` share what is left, and wrap."""

    def __init__(
        self, columns: Sequence[str], name: str, *, right: Sequence[int] = (), stretch: Sequence[int] = (-1,)
    ) -> None:
        """`name` is for who cannot see it; `right`: columns of numbers; `stretch`: columns, from the end if below 0."""
        super().__init__(0, len(columns))
        self.right = frozenset(right)
        self.setAccessibleName(name)
        self.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTabKeyNavigation(False)
        self.setShowGrid(False)
        self.verticalHeader().hide()
        header = self.horizontalHeader()
        header.setHighlightSections(False)
        for column, text in enumerate(columns):
            head = QTableWidgetItem(text)
            head.setTextAlignment(_RIGHT if column in self.right else _LEFT)
            self.setHorizontalHeaderItem(column, head)
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        for column in stretch:
            header.setSectionResizeMode(column % len(columns), QHeaderView.ResizeMode.Stretch)
        theme.themes.changed.connect(self.dress)

    def put(self, row: int, column: int, text: str, hue: str = "", tip: str = "") -> QTableWidgetItem:
        """One cell; `hue` is a colour of the theme, and `tip` says more than the text does."""
        item = QTableWidgetItem(text)
        item.setToolTip(tip or text)
        item.setTextAlignment(_RIGHT if column in self.right else _LEFT)
        item.setData(_HUE, hue)
        if hue:
            item.setForeground(theme.colour(hue))
        self.setItem(row, column, item)
        return item

    def head(self, column: int, text: str) -> None:
        """Another name of a column."""
        head = self.horizontalHeaderItem(column)
        assert head is not None
        head.setText(text)

    def explain(self, column: int, tip: str) -> None:
        """Say what a column has in it."""
        head = self.horizontalHeaderItem(column)
        assert head is not None
        head.setToolTip(tip)

    def dress(self) -> None:
        """Take the colours of the current theme."""
        for row in range(self.rowCount()):
            for column in range(self.columnCount()):
                item = self.item(row, column)
                if item is not None and (hue := item.data(_HUE)):
                    item.setForeground(theme.colour(hue))

"""The blocks of one run: their grid, its title and its legend."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QFrame, QHBoxLayout, QLabel, QVBoxLayout

from app.desktop.figure import Elided
from app.desktop.live.colouring import paint
from app.desktop.live.grid import BlockGrid, swatch
from app.jobs.history import History
from app.jobs.told import State


class RunView(QFrame):
    """The grid of one run, with its title and what its colours mean."""

    def __init__(self, title: str) -> None:
        super().__init__()
        self.setProperty("role", "card")
        self.title = QLabel(title)
        self.title.setProperty("role", "heading")
        self.count = Elided()
        self.count.setProperty("role", "small")
        self.grid = BlockGrid(title)
        self.note = QLabel("")
        self.note.setProperty("role", "small")
        self.note.setWordWrap(True)
        self.note.hide()
        self.top = QHBoxLayout()
        self.top.setSpacing(10)
        self.top.addWidget(self.title)
        self.top.addWidget(self.count, 1)
        self.key = QHBoxLayout()
        self.key.setSpacing(5)
        column = QVBoxLayout(self)
        column.setContentsMargins(12, 8, 12, 8)
        column.setSpacing(5)
        column.addLayout(self.top)
        column.addWidget(self.grid, 1)
        column.addLayout(self.key)
        column.addWidget(self.note)
        self._legend: Sequence[tuple[str, str, int]] = ()
        self.under = 0
        """the block under the mouse; 0: none"""
        self.hover = QLabel("")
        self.hover.setProperty("role", "small")

    def show_state(self, mode: str, history: History, state: State, lit: Any) -> None:
        """Draw a state."""
        painting = paint(mode, history, state)
        self.grid.show_painting(painting, lit)
        limits = history.facts.limits
        self.note.setVisible(limits is not None)
        self.note.setText(limits or "")
        if painting.legend != self._legend:
            self._legend = painting.legend
            self._show_legend()

    def tell_count(self, state: State) -> None:
        """In figures, for who can read them: a few times a second."""
        used, pool = int(np.count_nonzero(state.refs)), len(state.refs) - 1
        shared, cached = np.count_nonzero(state.refs > 1), np.count_nonzero((state.refs == 0) & (state.key != 0))
        self.count.setText(f"{used:,} of {pool:,} in use, {shared:,} shared; {cached:,} cached")

    def dress(self) -> None:
        """Other colours."""
        self._show_legend()

    def _show_legend(self) -> None:
        while (item := self.key.takeAt(0)) is not None:
            if (widget := item.widget()) is not None and widget is not self.hover:
                widget.hide()
                widget.deleteLater()
        for name, hue, sign in self._legend:
            mark, text = QLabel(), QLabel(name)
            mark.setPixmap(QPixmap.fromImage(swatch(hue, sign)))
            text.setProperty("role", "small")
            self.key.addWidget(mark)
            self.key.addWidget(text)
            self.key.addSpacing(7)
        self.key.addStretch(1)
        self.key.addWidget(self.hover)

"""The status bar: the pool, the seed, and whether the scenario can be run."""

from contextlib import suppress

from PySide6.QtCore import QSize, Qt
from PySide6.QtWidgets import QLabel, QStatusBar, QToolButton

from app.desktop import theme
from app.desktop.document import Document
from simcore.errors import InputError


class Status(QStatusBar):
    """What is so now, on the right; on the left what has just been said."""

    def __init__(self, document: Document) -> None:
        super().__init__()
        self.document = document
        self.setSizeGripEnabled(False)
        self.verdict = QToolButton()
        self.verdict.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.verdict.setIconSize(QSize(14, 14))
        self.verdict.setAccessibleName("Whether the scenario is right")
        self.pool = QLabel()
        self.pool.setAccessibleName("Pool")
        self.seed = QLabel()
        self.seed.setAccessibleName("Seed")
        for widget in (self.pool, self.seed, self.verdict):
            self.addPermanentWidget(widget)
        theme.themes.changed.connect(self._dress)

    def tell(self) -> None:
        """The document has changed."""
        document = self.document
        count = len(document.problems)
        self.verdict.setText("Scenario is good" if not count else f"{count} problem{'s' if count > 1 else ''}")
        self.verdict.setToolTip("\n".join(document.problems.values()) or "It can be run.")
        self.seed.setText(f"seed {document.value('seed')}")
        self.pool.setText(self._pool_text())
        self._dress()

    def _pool_text(self) -> str:
        from simcore.geometry import pool_size

        scenario = self.document.scenario
        if scenario is None or self.document.problems:
            return ""
        with suppress(InputError):
            return f"{pool_size(scenario).blocks:,} blocks of {scenario.memory.block_size} tokens"
        return ""

    def _dress(self) -> None:
        wrong = bool(self.document.problems)
        self.verdict.setIcon(theme.icon("wrong" if wrong else "good", "bad" if wrong else "good"))

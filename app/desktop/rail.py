"""The rail of pages, and the strip that says what a page shows."""

from collections.abc import Callable

from PySide6.QtCore import QSize, Qt, Signal
from PySide6.QtWidgets import QButtonGroup, QFrame, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout

from app.desktop import settings, theme
from app.desktop.pages.base import Page
from app.desktop.reader import pages


class Rail(QFrame):
    """The pages, one below the other."""

    def __init__(self) -> None:
        super().__init__()
        self.setProperty("role", "rail")
        self.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Preferred)  # the same beside every page
        self.setAccessibleName("Pages")
        self.buttons: dict[str, QToolButton] = {}
        self.icons: dict[str, str] = {}
        self._group = QButtonGroup(self)
        self._box = QVBoxLayout(self)
        self._box.setContentsMargins(6, 10, 6, 10)
        self._box.setSpacing(4)
        self._box.addStretch(1)
        theme.themes.changed.connect(self.dress)

    def add(self, name: str, text: str, icon: str, tip: str, run: Callable[[], object]) -> None:
        """A page, below those that are there."""
        button = QToolButton()
        button.setText(text)
        button.setToolTip(tip)
        button.setAccessibleName(text)
        button.setCheckable(True)
        button.setIconSize(QSize(22, 22))
        button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextUnderIcon)
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        button.clicked.connect(lambda _checked=False: run())
        self._group.addButton(button)
        self._box.insertWidget(len(self.buttons), button)
        self.buttons[name] = button
        self.icons[name] = icon

    def mark(self, name: str) -> None:
        """The page that is shown."""
        self.buttons[name].setChecked(True)
        self.dress()

    def dress(self) -> None:
        """Icons in the colours of the theme."""
        for name, button in self.buttons.items():
            button.setIcon(theme.icon(self.icons[name], "accent" if button.isChecked() else "muted"))


class About(QFrame):
    """What am I looking at: two sentences on the page that is shown, until they are closed for good."""

    followed = Signal(str)
    """a link to a page of the documentation"""

    def __init__(self) -> None:
        super().__init__()
        self.page: Page | None = None
        self.setProperty("role", "strip")
        self.text = QLabel()
        self.text.setWordWrap(True)
        self.text.setProperty("role", "muted")
        self.text.linkActivated.connect(self.followed)
        self.sign = QLabel()
        self.shut = QToolButton()
        self.shut.setAutoRaise(True)
        self.shut.setToolTip("Do not show this again; F1 brings it back")
        self.shut.setAccessibleName("Close the explanation of this page")
        self.shut.clicked.connect(lambda: self.want(False))
        row = QHBoxLayout(self)
        row.setContentsMargins(14, 6, 8, 6)
        row.setSpacing(10)
        row.addWidget(self.sign)
        row.addWidget(self.text, 1)
        row.addWidget(self.shut)
        theme.themes.changed.connect(self.dress)
        self.dress()

    def tell(self, page: Page) -> None:
        """Of this page from now on."""
        self.page = page
        more = f" <a href='{page.guide}'>More</a>" if page.guide in pages() else ""
        self.text.clear()  # the same text again would keep its link in the colour of another theme
        self.text.setText(page.about + more)
        self.setVisible(settings.flag(f"about/{page.id}", True))

    def want(self, on: bool) -> None:
        """Show it with this page, or do not, from now on."""
        if self.page is not None:
            settings.set_flag(f"about/{self.page.id}", on)
            self.tell(self.page)

    def dress(self) -> None:
        """Take the colours of the current theme."""
        if self.page is not None:
            self.tell(self.page)
        self.sign.setPixmap(theme.pixmap("help", 18, theme.current().accent, self.devicePixelRatioF()))
        self.shut.setIcon(theme.icon("close", "muted"))

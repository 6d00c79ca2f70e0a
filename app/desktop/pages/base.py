"""What every page has: a name in the rail, two sentences about it, actions of its own."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QSplitter, QVBoxLayout, QWidget

from app.desktop.actions import Action, Actions
from app.desktop.document import Document

if TYPE_CHECKING:
    from app.desktop.tasks import Tasks
    from app.desktop.transport import Session
    from app.desktop.window import MainWindow


@dataclass(slots=True)
class Context:
    """What pages share."""

    document: Document
    actions: Actions
    tasks: "Tasks"
    """work in processes of their own"""
    session: "Session | None"
    """the run that is shown; None: this window runs nothing"""
    window: "MainWindow"
    """to go to another page, to say something"""


class Page(QWidget):
    """A page of the window. It is made when it is first shown, and lives as long as the window."""

    id: ClassVar[str] = ""
    """as in `window.show_page("live")`"""
    title: ClassVar[str] = ""
    """the rail's word for it"""
    icon: ClassVar[str] = ""
    """a name of assets/icons"""
    about: ClassVar[str] = ""
    """what am I looking at, in two sentences"""
    guide: ClassVar[str] = ""
    """the page of the documentation that tells more, as in `ideas/paging.md`"""
    inspector: ClassVar[bool] = False
    """whether the inspector, with the scenario's form, stands beside it at first"""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self.context = context
        self.setObjectName(f"page-{self.id}")
        self.setAccessibleName(self.title)
        self.setAccessibleDescription(self.about)

    def divide(self, left: QWidget, right: QWidget, width: int) -> None:
        """Fill it with what is asked on the left, `width` points wide at first, and the answer on the right."""
        split = QSplitter(Qt.Orientation.Horizontal)
        split.setHandleWidth(14)
        split.setChildrenCollapsible(False)
        split.addWidget(left)
        split.addWidget(right)
        split.setStretchFactor(1, 1)
        split.setSizes([width, 1000])
        box = QVBoxLayout(self)
        box.setContentsMargins(16, 14, 16, 14)
        box.addWidget(split)

    def enter(self) -> None:
        """It is shown now: begin to draw."""

    def leave(self) -> None:
        """Another page is shown now: stop drawing."""

    def close_down(self) -> None:
        """The window closes: end what runs."""

    def actions_of(self) -> list[Action]:
        """Its own actions; their keys work while it is shown."""
        return []

    def open_path(self, path: Path) -> bool:
        """Open what was dropped or chosen; False: it is nothing for this page."""
        return False

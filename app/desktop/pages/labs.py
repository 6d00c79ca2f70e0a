"""The labs: forms of attention, a small model's heads and pages, where memory ends, how cost grows, what is written."""

from PySide6.QtWidgets import QTabWidget, QVBoxLayout

from app.desktop.actions import Action
from app.desktop.labs.attention import AttentionLab
from app.desktop.labs.complexity import ComplexityLab
from app.desktop.labs.documents import Documents
from app.desktop.labs.heads import HeadsLab
from app.desktop.labs.lab import Lab
from app.desktop.labs.training import TrainingLab
from app.desktop.pages.base import Context, Page


class Labs(Page):
    """See the module."""

    id = "labs"
    title = "Labs"
    icon = "labs"
    guide = "attention.md"
    about = (
        "What attention costs in its forms, what a small model looks at, which sizes fit into a GPU, and how cost "
        "grows with tokens and layers. All of it is measured on this machine when you ask, beside what documents say."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        self.attention = AttentionLab(context)
        self.heads = HeadsLab(context)
        self.training = TrainingLab(context)
        self.complexity = ComplexityLab(context)
        self.documents = Documents(context, self.see)
        self.tabs = QTabWidget()
        self.tabs.setAccessibleName("Labs")
        self.tabs.tabBar().setAccessibleName("Labs")
        for name, tab in (
            ("Attention", self.attention),
            ("A model's pages", self.heads),
            ("Training", self.training),
            ("Complexity", self.complexity),
            ("The documents", self.documents),
        ):
            self.tabs.addTab(tab, name)
        self.tabs.currentChanged.connect(self._shown)
        box = QVBoxLayout(self)
        box.setContentsMargins(16, 8, 16, 14)
        box.addWidget(self.tabs)

    @property
    def all(self) -> tuple[Lab, ...]:
        """The labs that run something."""
        return self.attention, self.heads, self.training, self.complexity

    def actions_of(self) -> list[Action]:
        """Run the lab that is shown."""
        return [Action("run.lab", "Run the lab that is shown", self.toggle, (), "Measure, or cancel that.", "labs")]

    def toggle(self) -> None:
        """Begin, or cancel, what is shown."""
        shown = self.tabs.currentWidget()
        if isinstance(shown, Lab):
            shown.toggle()

    def see(self, place: str) -> None:
        """Open a lab by the name of its attribute, or another page by its own."""
        if isinstance(tab := getattr(self, place, None), Lab):
            self.tabs.setCurrentWidget(tab)
        else:
            self.context.window.show_page(place)

    def leave(self) -> None:
        """Nothing moves where nobody looks."""
        self.heads.leave()

    def close_down(self) -> None:
        """End what runs."""
        for lab in self.all:
            lab.over()

    def _shown(self) -> None:
        if self.tabs.currentWidget() is self.training and not self.training.rows:
            self.training.predict()

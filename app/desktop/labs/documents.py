"""What the documents say, and what is so."""

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtWidgets import (
    QHeaderView,
    QLabel,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.pages.base import Context
from app.desktop.sheet import Sheet

IDEAS = (
    ("paging", "paging"), ("prefix sharing", "prefix-sharing"), ("GQA to MLA", "gqa-to-mla"), ("pruning", "pruning"),
    ("state-space models", "state-space"), ("fragmentation", "fragmentation"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Of a document."""

    document: str
    says: str
    so: str
    """what is so, as computed or measured"""
    command: str
    """that shows it"""
    title: str
    place: str
    """what to open: a page of the window, or a tab of this one"""


FAULTS = (
    Fault(
        "000, attention in NumPy",
        "Lets a block of queries see its own block of keys, calls it paged attention, and saves 78.7 %.",
        "That is block-local attention: it saves 78.1 %, and is off by 148 % of the answer. Paged attention saves "
        "79.4 % and gives what standard attention gives, to 1e-15.",
        "kvscope attention compare",
        "Attention",
        "attention",
    ),
    Fault(
        "001, a lecture",
        "Eight heads in four groups save 4x.",
        "2x: the factor is the number of heads that share. 4x needs two groups.",
        "kvscope memory --model llama-2-7b",
        "Calculator",
        "calculator",
    ),
    Fault(
        "001, a lecture",
        "Checkpointing has 2 forward calls in the text, and 1 in the table.",
        "2: each layer runs forward again before its backward pass.",
        "kvscope complexity",
        "Complexity",
        "complexity",
    ),
    Fault(
        "002, a benchmark",
        "Memory grows about 2x for four times the length.",
        "Its own rows grow 4.1x and then 9.5x to 12.4x; measured here 13.9x to 15.4x. Scores have length x length "
        "elements.",
        "kvscope attention benchmark",
        "Training",
        "training",
    ),
    Fault(
        "002, a benchmark",
        "Backward takes consistently 3 to 4 times as long as forward.",
        "Its own rows say 1.8 to 7.6 times, 2 of 12 between 3 and 4; measured here 1.5 to 1.8 times.",
        "kvscope attention benchmark",
        "Training",
        "training",
    ),
    Fault(
        "003, a note on GPT-2",
        "A token attends to a subset of the tokens at a time.",
        "To all pages before it: what is cut into pages is memory, not attention.",
        "kvscope generate --pages --prompt TEXT",
        "A model's pages",
        "heads",
    ),
    Fault(
        "004, a feature",
        "22.00 MB and 87.5 % saved for 2,048 tokens.",
        "Its formula gives 44.00 MiB and 93.75 %; 22.00 MiB and 87.5 % belong to 1,024 tokens.",
        "kvscope memory --model tinyllama --tokens 128 --max-tokens 2048",
        "Calculator",
        "calculator",
    ),
)
"""What the documents say, and what is so; docs/seed-documents.md has more."""


class Documents(QWidget):
    """What is written, and what is so."""

    def __init__(self, context: Context, see: Callable[[str], None]) -> None:
        """`see` opens the place of a fault."""
        super().__init__()
        self._see = see
        columns = ("document", "it says", "what is so", "shown by", "see")
        self.table = Sheet(columns, "The documents' own faults", stretch=(1, 2))
        self.table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        self.table.verticalHeader().setMinimumSectionSize(44)
        self.table.setRowCount(len(FAULTS))
        for place, fault in enumerate(FAULTS):
            command = fault.command.partition(" --")[0]
            for column, text in enumerate((fault.document, fault.says, fault.so, command)):
                self.table.put(place, column, text, "", fault.command if column == 3 else "")
            self.table.put(place, 4, fault.title, "accent", f"Open {fault.title}")
        self.table.cellActivated.connect(self._open)
        self.table.cellClicked.connect(lambda row, column: self._open(row) if column == 4 else None)
        ideas = ", ".join(f"<a href='ideas/{name}.md'>{words}</a>" for words, name in IDEAS)
        self.words = QLabel()
        self.words.setWordWrap(True)
        self.words.linkActivated.connect(context.window.read)
        self._text = (
            "The labs began with five documents on paged attention. Their numbers are computed or measured here; these "
            "are the places where they contradict themselves, or what can be measured, and "
            "<a href='seed-documents.md'>there are more</a>. The ideas behind them, a page each, for everybody: "
            f"{ideas}."
        )
        box = QVBoxLayout(self)
        box.setContentsMargins(0, 10, 0, 0)
        box.setSpacing(10)
        box.addWidget(self.words)
        box.addWidget(self.table, 1)
        theme.themes.changed.connect(self._dress)
        self._dress()

    def _dress(self) -> None:
        self.words.clear()  # links take the theme's colour when they are written
        self.words.setText(self._text)

    def _open(self, row: int, _column: int = 0) -> None:
        self._see(FAULTS[row].place)

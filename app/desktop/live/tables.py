"""Tables that are refilled as time goes: who runs with which blocks, who waits and why, what happened."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PySide6.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from app.desktop import theme
from app.desktop.live.colouring import hue_of
from app.jobs.history import History
from app.jobs.told import Status
from simcore.record.journal import Event
from simcore.record.sequences import Kind

Index = QModelIndex | QPersistentModelIndex
MOST_EVENTS = 2000
MOST_WAITING = 200
_LOOKED_AT = 200_000
"""Entries of the journal before the step shown in which events are looked for."""


class Rows(QAbstractTableModel):
    """Rows of texts; each has a key, and the colour of its request."""

    def __init__(
        self, headers: Sequence[str], right: Sequence[int] = (), mark: int = 0, parent: QObject | None = None
    ) -> None:
        """`right`: columns of numbers; `mark`: the column that has the colour."""
        super().__init__(parent)
        self.mark = mark
        self.headers = tuple(headers)
        self.right = frozenset(right)
        self.rows: Sequence[tuple[str, ...]] = []
        self.keys: Sequence[int] = []
        self.hues: Sequence[str | None] = []

    def fill(self, rows: Sequence[tuple[str, ...]], keys: Sequence[int], hues: Sequence[str | None]) -> None:
        """Other rows; where there are as many as before, those that are seen stay where they are."""
        if len(rows) == len(self.rows):
            self.rows, self.keys, self.hues = rows, keys, hues
            if rows:
                self.dataChanged.emit(self.index(0, 0), self.index(len(rows) - 1, len(self.headers) - 1))
            return
        self.beginResetModel()
        self.rows, self.keys, self.hues = rows, keys, hues
        self.endResetModel()

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self.rows)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008
        return 0 if parent.isValid() else len(self.headers)

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        row, column = index.row(), index.column()
        if not 0 <= row < len(self.rows):
            return None
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.ToolTipRole):
            return self.rows[row][column]
        if role == Qt.ItemDataRole.TextAlignmentRole and column in self.right:
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        if role == Qt.ItemDataRole.DecorationRole and column == self.mark and self.hues[row]:
            return QColor(self.hues[row])
        return None

    def headerData(self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole) -> Any:  # noqa: N802
        if orientation == Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return self.headers[section]
        return None


class Table(QTableView):
    """A view of `Rows` that tells which was activated."""

    activated_key = Signal(int)

    def __init__(
        self, name: str, headers: Sequence[str], widths: Sequence[int], right: Sequence[int] = (), mark: int = 0
    ) -> None:
        super().__init__()
        self.rows = Rows(headers, right, mark, self)
        self.setModel(self.rows)
        self.setAccessibleName(name)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setShowGrid(False)
        self.setWordWrap(False)
        self.setTabKeyNavigation(False)
        self.verticalHeader().hide()
        self.verticalHeader().setDefaultSectionSize(24)
        self.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        for column, width in enumerate(widths):
            self.setColumnWidth(column, width)
        self.horizontalHeader().setStretchLastSection(True)
        self.horizontalHeader().setHighlightSections(False)
        self.horizontalHeader().setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
        self.clicked.connect(lambda index: self._tell(index.row()))
        self.activated.connect(lambda index: self._tell(index.row()))

    def _tell(self, row: int) -> None:
        if 0 <= row < len(self.rows.keys):
            self.activated_key.emit(self.rows.keys[row])

    def choose(self, key: int | None) -> None:
        """Mark the row of a key."""
        if key in self.rows.keys:
            self.selectRow(self.rows.keys.index(key))
        else:
            self.clearSelection()


def fill_block_tables(table: Table, history: History, step: int, chosen: Sequence[int] | None = None) -> None:
    """A row a running sequence: its blocks in the order of its table."""
    sequences = history.sequences(step)
    running = np.flatnonzero((sequences.status == Status.PREFILL) | (sequences.status == Status.DECODE))
    if chosen is not None:
        running = running[np.isin(sequences.row[running], chosen)]
    tables = history.tables(step, running.tolist())
    rows, keys, hues = [], [], []
    for sequence in running.tolist():
        blocks = tables[sequence]
        row = int(sequences.row[sequence])
        shown = " ".join(map(str, blocks[:24].tolist())) + (" ..." if len(blocks) > 24 else "")
        phase = "prompt" if sequences.status[sequence] == Status.PREFILL else "output"
        tokens = f"{int(sequences.tokens[sequence]):,}"
        rows.append((history.facts.id_of(row), phase, tokens, f"{len(blocks):,}", shown))
        keys.append(row)
        hues.append(hue_of(row))
    table.rows.fill(rows, keys, hues)


class Queue(QWidget):
    """Who waits, and what the first of them waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.why = QLabel()
        self.why.setWordWrap(True)
        self.why.setAccessibleName("Why the head of the queue waits")
        self.table = Table("Queue", ("request", "is", "waits", "prompt", "before it"), (84, 88, 72, 66, 60), (2, 3, 4))
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 6, 0, 0)
        column.addWidget(self.why)
        column.addWidget(self.table)

    def fill(self, history: History, step: int) -> None:
        """A row a waiting sequence, in the order in which they came, those preempted first."""
        sequences = history.sequences(step)
        back = np.flatnonzero(sequences.status == Status.PREEMPTED)
        waiting = np.flatnonzero(sequences.status == Status.WAITING)
        order = [*back.tolist(), *waiting.tolist()][:MOST_WAITING]
        rows, keys, hues = [], [], []
        now, arrivals = history.seconds(step), history.arrivals(step)
        for place, sequence in enumerate(order):
            row = int(sequences.row[sequence])
            status = "preempted" if sequences.status[sequence] == Status.PREEMPTED else "new"
            waits = f"{max(now - arrivals[row], 0):.2f} s"
            rows.append((history.facts.id_of(row), status, waits, f"{history.prompt_of(row):,}", f"{place}"))
            keys.append(row)
            hues.append(hue_of(row))
        self.table.rows.fill(rows, keys, hues)
        head = (
            f"<b>{history.facts.id_of(keys[0])}</b>: {history.why_waits(order[0], step)}" if order else "Nobody waits."
        )
        if head != self.why.text():
            self.why.setText(head)


_OF_REQUESTS = {
    Kind.ARRIVE: "arrived",
    Kind.REFUSE: "refused",
    Kind.OPEN: "admitted",
    Kind.PREEMPT: "preempted",
    Kind.END: "finished",
    Kind.PRUNE: "pruned",
}
_OF_BLOCKS = {
    Event.EVICT: "evicted",
    Event.HIT: "hit",
    Event.ALLOCATE: "allocated",
    Event.REGISTER: "cached",
    Event.FREE: "freed",
    Event.COPY: "copied",
    Event.SWAP_OUT: "swapped out",
    Event.SWAP_IN: "swapped in",
    Event.PRUNE: "packed",
}
FILTERS: dict[str, tuple[tuple[Kind, ...], tuple[Event, ...]]] = {
    "Requests and evictions": (tuple(_OF_REQUESTS), (Event.EVICT,)),
    "Requests": (tuple(_OF_REQUESTS), ()),
    "Preemptions": ((Kind.PREEMPT,), ()),
    "Evictions": ((), (Event.EVICT,)),
    "Prefix hits": ((), (Event.HIT,)),
    "Pruning": ((Kind.PRUNE,), (Event.PRUNE,)),
    "Copies and swaps": ((), (Event.COPY, Event.SWAP_OUT, Event.SWAP_IN)),
    "All of the blocks": ((), tuple(_OF_BLOCKS)),
}


class EventLog(QWidget):
    """What happened up to the step that is shown, the newest first."""

    block_chosen = Signal(int)
    request_chosen = Signal(int)
    step_chosen = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self.kind = QComboBox()
        self.kind.setAccessibleName("Which events")
        self.kind.addItems(list(FILTERS))
        self.kind.setMinimumContentsLength(12)
        self.text = QLineEdit()
        self.text.setAccessibleName("Filter of events")
        self.text.setPlaceholderText("request or block")
        self.text.setClearButtonEnabled(True)
        self.table = Table("Events", ("t (s)", "step", "what", "of"), (76, 68, 88, 150), (0, 1), mark=3)
        self.table.activated_key.connect(self._choose)
        top = QHBoxLayout()
        top.setContentsMargins(0, 0, 0, 0)
        top.addWidget(self.kind, 1)
        top.addWidget(self.text, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 0)
        column.addLayout(top)
        column.addWidget(self.table)
        self.refill: Callable[[], None] = lambda: None
        self.kind.currentIndexChanged.connect(lambda _index: self.refill())
        self.text.textChanged.connect(lambda _text: self.refill())
        self._told: list[tuple[int, int, int]] = []  # step, block, row

    def fill(self, history: History, first: int, last: int) -> None:
        """Events of the steps from `first` to `last`."""
        kinds, events = FILTERS[self.kind.currentText()]
        wanted = self.text.text().strip().lower()
        found: list[tuple[int, int, str, str, int, int]] = []  # step, order, what, of, block, row
        found += self._of_requests(history, first, last, kinds, wanted)
        found += self._of_blocks(history, first, last, events, wanted)
        found.sort(key=lambda each: each[:2], reverse=True)
        del found[MOST_EVENTS:]
        rows = [(f"{history.seconds(step):.4f}", f"{step:,}", what, of) for step, _, what, of, _, _ in found]
        self._told = [(step, block, row) for step, *_, block, row in found]
        hues: list[str | None] = [hue_of(row) if row >= 0 else theme.current().cached for *_, row in found]
        self.table.rows.fill(rows, list(range(len(rows))), hues)

    def _of_requests(
        self, history: History, first: int, last: int, kinds: Sequence[Kind], wanted: str
    ) -> list[tuple[int, int, str, str, int, int]]:
        end = int(history.steps["events"][last])
        begin = int(history.steps["events"][first - 1]) if first else 0
        begin = max(begin, end - _LOOKED_AT)
        kind, step, row, tokens, lost = (
            history.events[name][begin:end] for name in ("kind", "step", "row", "tokens", "end")
        )
        places = np.flatnonzero(np.isin(kind, np.array(kinds, np.int8)))
        if wanted:
            names = {each: history.facts.id_of(each).lower() for each in np.unique(row[places]).tolist()}
            rows = [each for each, name in names.items() if wanted == name or (wanted in name and not wanted.isdigit())]
            places = places[np.isin(row[places], rows)]
        places = places[-MOST_EVENTS:]
        found = []
        for place in places.tolist():
            each, more = Kind(int(kind[place])), ""
            if each == Kind.ARRIVE:
                more = f": prompt of {int(tokens[place]):,}"
            elif each == Kind.OPEN and tokens[place]:
                more = f": {int(tokens[place]):,} tokens found"
            elif each == Kind.END:
                more = f": {int(tokens[place]):,} tokens"
            elif each == Kind.PRUNE:
                more = f": {int(lost[place]):,} tokens lost"
            name = history.facts.id_of(int(row[place]))
            at = min(int(step[place]), last)
            found.append((at, begin + place, _OF_REQUESTS[each], f"{name}{more}", 0, int(row[place])))
        return found

    def _of_blocks(
        self, history: History, first: int, last: int, events: Sequence[Event], wanted: str
    ) -> list[tuple[int, int, str, str, int, int]]:
        if not events:
            return []
        end = int(history.steps["entries"][last])
        begin = int(history.steps["entries"][first - 1]) if first else 0
        begin = max(begin, end - _LOOKED_AT)
        event, step, block, sequence, other = (
            history.entries[name][begin:end] for name in ("event", "step", "block", "sequence", "other")
        )
        places = np.flatnonzero(np.isin(event, np.array(events, np.int8)))
        if wanted:
            rows = history.rows[np.maximum(sequence[places], 0)]
            names = {each: history.facts.id_of(each).lower() for each in np.unique(rows).tolist() if each >= 0}
            mine = np.isin(rows, [each for each, name in names.items() if name == wanted]) & (sequence[places] >= 0)
            if wanted.isdigit():
                mine |= block[places] == int(wanted)
            places = places[mine]
        places = places[-MOST_EVENTS:]
        found = []
        for place in places.tolist():
            each, row = Event(int(event[place])), history.row_of(int(sequence[place]))
            of = f"block {int(block[place])}" + (f" of {history.facts.id_of(row)}" if row >= 0 else "")
            if each == Event.COPY:
                of += f", from {int(other[place])}"
            found.append((int(step[place]), begin + place, _OF_BLOCKS[each], of, int(block[place]), row))
        return found

    def _choose(self, place: int) -> None:
        step, block, row = self._told[place]
        self.step_chosen.emit(step)
        if block:
            self.block_chosen.emit(block)
        elif row >= 0:
            self.request_chosen.emit(row)

"""The Live page: memory as it is used, at any instant of a run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import (
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QInputDialog,
    QLabel,
    QMenu,
    QPushButton,
    QSplitter,
    QTabWidget,
    QToolButton,
    QVBoxLayout,
)

from app.desktop import theme
from app.desktop.actions import Action
from app.desktop.dialogs import complain
from app.desktop.live.charts import LiveCharts
from app.desktop.live.colouring import MODES
from app.desktop.live.inspector import Inspector
from app.desktop.live.numbers import Numbers
from app.desktop.live.runview import RunView
from app.desktop.live.scrubber import Scrubber
from app.desktop.live.tables import EventLog, Queue, Table, fill_block_tables
from app.desktop.pages.base import Context, Page
from app.desktop.session import LiveSession
from app.jobs.history import JUMPS, History
from app.jobs.told import State
from simcore.errors import InputError
from simcore.scenario import Scenario

CHARTS_EVERY = 0.12
TABLES_EVERY = 0.25
"""s"""
BESIDE: dict[str, tuple[str, ...]] = {
    "Traditional memory: the longest sequence reserved in one piece": (
        'memory.allocator={ policy = "contiguous", reserve = "max" }',
        "memory.prefix_caching=false",
    ),
    "Without prefix caching": ("memory.prefix_caching=false",),
    "A radix tree instead of a flat map": ('memory.structure="radix"',),
    "First in, first out eviction": ("memory.eviction=fifo",),
    "Half as many blocks": (),
}


class Live(Page):
    """See the module."""

    id = "live"
    title = "Live"
    icon = "live"
    guide = "live.md"
    about = (
        "Every square is a block of the KV cache: who holds it, how full it is, what is shared, while requests come "
        "and go. Press Space to run; click a block to see its life; drag the strip at the bottom to go back."
    )

    def __init__(self, context: Context) -> None:
        super().__init__(context)
        own = context.session
        self.session = own if isinstance(own, LiveSession) else LiveSession(self)  # a window that runs nothing
        self.mode = "state"
        self.chosen: tuple[str, int] | None = None
        """("block", number) or ("request", row)"""
        self.range: tuple[int, int] | None = None
        self.states: list[State | None] = [None, None]
        """as they are drawn, of the run and of the one beside it"""
        self._shown = False
        self._charts_at = self._tables_at = 0.0
        self._late = QTimer(self)
        self._late.setSingleShot(True)
        self._late.timeout.connect(self._catch_up)
        self._make()
        self.session.framed.connect(self._frame)
        self.session.began.connect(self._began)
        self.session.saved.connect(lambda folder: self.context.window.say(f"Saved to {folder}: Reports shows it"))
        self.session.told.connect(self.context.window.say)
        self.session.unopened.connect(lambda sentence: complain(self, "Not opened", sentence))
        self.session.state_changed.connect(lambda _state: self._show_where())
        theme.themes.changed.connect(self._dress)
        self._began()

    # Making

    def _make(self) -> None:
        self.numbers = Numbers()
        self.views = [RunView("Blocks"), RunView("Blocks")]
        self.views[1].hide()
        self.colour = QComboBox()
        self.colour.setAccessibleName("Colour blocks by")
        self.colour.setToolTip("<b>Colour by</b> (C)<br>What the colour of a block tells.")
        for name, text in MODES.items():
            self.colour.addItem(text, name)
        self.colour.currentIndexChanged.connect(lambda _index: self._recolour())
        self.beside = QToolButton()
        self.beside.setText("Beside it")
        self.beside.setToolTip("<b>Beside it</b><br>Run a second scenario on the same clock.")
        self.beside.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.beside.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.beside.setMenu(self._beside_menu())
        first = self.views[0].top
        by = QLabel("Colour by")
        by.setProperty("role", "small")
        first.addWidget(by)
        first.addWidget(self.colour)
        first.addWidget(self.beside)
        for number, view in enumerate(self.views):
            view.grid.tell = partial(self._tell, number)
            view.grid.hovered.connect(partial(self._hover, number))
        self.views[0].grid.chosen.connect(self.choose_block)
        self.grids = QSplitter(Qt.Orientation.Horizontal)
        self.grids.setChildrenCollapsible(False)
        for view in self.views:
            self.grids.addWidget(view)

        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.setAccessibleName("What is chosen, block tables, queue and events")
        self.tabs.tabBar().setAccessibleName("What is shown beside the blocks")
        self.tabs.setMinimumWidth(300)
        self.details = Inspector()
        self.tables = Table(
            "Block tables", ("request", "phase", "tokens", "blocks", "block table"), (84, 70, 68, 62, 90), (2, 3)
        )
        self.queue = Queue()
        self.log = EventLog()
        self.log.refill = self._fill_log
        for name, widget in (
            ("Chosen", self.details),
            ("Tables", self.tables),
            ("Queue", self.queue),
            ("Events", self.log),
        ):
            self.tabs.addTab(widget, name)
        self.tabs.setTabToolTip(1, "Block tables of the requests that run")
        self.tabs.setCurrentWidget(self.tables)
        self.tabs.currentChanged.connect(lambda _index: self._fill_tables())
        self.tables.activated_key.connect(partial(self.choose_request, stay=True))
        self.queue.table.activated_key.connect(self.choose_request)
        self.log.block_chosen.connect(partial(self.choose_block, stay=True))
        self.log.request_chosen.connect(partial(self.choose_request, stay=True))
        self.log.step_chosen.connect(self.session.seek)
        self.details.block_chosen.connect(self.choose_block)
        self.details.request_chosen.connect(self.choose_request)
        self.details.step_chosen.connect(self.session.seek)

        upper = QSplitter(Qt.Orientation.Horizontal)
        upper.setChildrenCollapsible(False)
        upper.addWidget(self.grids)
        upper.addWidget(self.tabs)
        upper.setStretchFactor(0, 5)
        upper.setStretchFactor(1, 2)
        upper.setSizes([820, 360])

        self.charts = LiveCharts()
        self.charts.region_changed.connect(self._region)
        middle = QSplitter(Qt.Orientation.Vertical)
        middle.setChildrenCollapsible(False)
        middle.addWidget(upper)
        middle.addWidget(self.charts)
        middle.setStretchFactor(0, 3)
        middle.setStretchFactor(1, 1)
        middle.setSizes([470, 190])

        column = QVBoxLayout(self)
        column.setContentsMargins(12, 10, 12, 8)
        column.setSpacing(8)
        column.addWidget(self.numbers)
        column.addWidget(middle, 1)
        column.addLayout(self._make_time())
        self._dress()

    def _make_time(self) -> QVBoxLayout:
        self.scrubber = Scrubber()
        self.scrubber.sought.connect(self.session.seek)
        self.scrubber.selected.connect(self.select)
        self.what = QComboBox()
        self.what.setAccessibleName("What to jump to")
        for name in JUMPS:
            self.what.addItem(name, name)
        self.back, self.forth = QToolButton(), QToolButton()
        self.back.clicked.connect(lambda: self.jump(True))
        self.forth.clicked.connect(lambda: self.jump(False))
        self.back.setAccessibleName("Previous of what is chosen")
        self.forth.setAccessibleName("Next of what is chosen")
        self.back.setToolTip("<b>Previous</b> ([)<br>Go back to the last eviction, preemption or hit.")
        self.forth.setToolTip("<b>Next</b> (])<br>Go on to the next eviction, preemption or hit.")
        self.now = QPushButton("Newest")
        self.now.setToolTip("<b>Newest</b> (N)<br>Follow the run again.")
        self.now.clicked.connect(self.session.follow)
        self.where = QLabel("")
        self.where.setMinimumWidth(230)
        self.where.setAccessibleName("Step that is shown")
        self.selection = QLabel("")
        self.selection.setAccessibleName("Selected range of time")
        self.selection.hide()
        row = QHBoxLayout()
        row.setSpacing(6)
        for widget in (self.back, self.what, self.forth):
            row.addWidget(widget)
        row.addWidget(self.scrubber, 1)
        row.addWidget(self.where)
        row.addWidget(self.now)
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addWidget(self.selection)
        column.addLayout(row)
        return column

    def _beside_menu(self) -> QMenu:
        menu = QMenu(self)
        for text in BESIDE:
            menu.addAction(text).triggered.connect(lambda _checked=False, text=text: self.run_beside(text))
        menu.addSeparator()
        menu.addAction("With other keys ...").triggered.connect(lambda _checked=False: self.ask_beside())
        menu.addAction("Nothing").triggered.connect(lambda _checked=False: self.run_beside(None))
        return menu

    def actions_of(self) -> list[Action]:
        return [
            Action(
                "time.previous",
                "Previous event",
                lambda: self.jump(True),
                ("[",),
                "Eviction, preemption or hit.",
                "back",
            ),
            Action("time.next", "Next event", lambda: self.jump(False), ("]",), "Eviction, preemption or hit.", "step"),
            Action("time.kind", "What to jump to", self._next_kind, ("J",), "Evictions, preemptions or hits."),
            Action("time.earlier", "One step back", lambda: self._by(-1), (",",), "The step before the one shown."),
            Action("time.newest", "Newest step", self.session.follow, ("N",), "Follow the run again."),
            Action("time.unselect", "No range", lambda: self.select(None), ("Esc",), "Let go of the range of time."),
            Action(
                "view.colour", "Colour blocks by the next", self._next_mode, ("C",), "State, request, fill and so on."
            ),
            Action("view.whole", "All blocks", self.views[0].grid.fit, ("0",), "Fit the whole grid."),
            *(
                Action(
                    f"run.until-{name}",
                    f"Run to the next {name}",
                    partial(self._until, name),
                    (),
                    "And pause there.",
                    "run",
                )
                for name in JUMPS
            ),
            Action("run.stop", "End the run here", self.session.stop, (), "It can be saved then."),
            Action("run.save-results", "Save results", self.save, ("Ctrl+Alt+S",), "Of a run that is over.", "save"),
            *(
                Action(
                    f"run.beside-{place}",
                    f"Beside it: {text}",
                    partial(self.run_beside, text),
                    (),
                    "On one clock.",
                    "compare",
                )
                for place, text in enumerate(BESIDE)
            ),
        ]

    @property
    def state(self) -> State | None:
        """Of the run, as it is drawn."""
        return self.states[0]

    # Being shown

    def enter(self) -> None:
        self._shown = True
        self._frame()

    def leave(self) -> None:
        self._shown = False
        self._late.stop()

    def close_down(self) -> None:
        self.leave()

    def open_path(self, path: Path) -> bool:
        """A folder of results with a journal of its blocks; it is shown when it has been read."""
        if not all((path / name).is_file() for name in ("blocks.parquet", "sequences.parquet")):
            return False
        self.session.open_folder(path, self.context.tasks)
        return True

    # What is chosen

    def choose_block(self, block: int, *, stay: bool = False) -> None:
        """Inspect a block; `stay` on the tab that is shown."""
        self.chosen = ("block", block)
        self.views[0].grid.choose(block)
        self._chosen(stay)

    def choose_request(self, row: int, *, stay: bool = False) -> None:
        """Inspect a request: its blocks light up."""
        self.chosen = ("request", row)
        self.views[0].grid.choose(0)
        self._chosen(stay)

    def _chosen(self, stay: bool) -> None:
        if not stay:
            self.tabs.setCurrentWidget(self.details)
        self._draw_grids()
        self._inspect()

    def _inspect(self) -> None:
        history, state = self.session.history, self.state
        if history is None or state is None or self.chosen is None:
            self.details.show_nothing()
            return
        kind, number = self.chosen
        if kind == "block" and number < len(state.refs):
            self.details.show_block(history, state, number)
        elif kind == "request":
            self.details.show_request(history, state, number)

    def _lit(self, history: History, state: State) -> Any:
        """[blocks] what stands out: the chosen request's blocks, or what was touched in the range."""
        if self.range is not None:
            first, last = self.range
            begin = int(history.steps["entries"][first - 1]) if first else 0
            lit = np.zeros(len(state.refs), bool)
            lit[history.entries["block"][begin : int(history.steps["entries"][last])]] = True
            return lit
        if self.chosen is None or self.chosen[0] != "request":
            return None
        sequences = history.sequences(state.step)
        mine = np.flatnonzero((sequences.row == self.chosen[1]) & np.isin(sequences.status, (1, 2)))
        lit = np.zeros(len(state.refs), bool)
        for table in history.tables(state.step, mine.tolist()).values():
            lit[table] = True
        return lit if lit.any() else None

    def _tell(self, which: int, block: int) -> str:
        """A block in a few words."""
        if which >= len(self.session.histories):
            return ""
        history = self.session.histories[which]
        step = self.session.step_of(which)
        if step < 0:
            return ""
        state = self.states[which] or history.at(step)
        refs, filled, key = int(state.refs[block]), int(state.filled[block]), int(state.key[block])
        if refs:
            name = history.facts.id_of(history.row_of(int(state.owner[block])))
            who = f"held by {name}" + (f" and {refs - 1} more" if refs > 1 else "")
            return f"Block {block}: {who}, {filled} of {history.facts.block_size} tokens"
        return f"Block {block}: cached, nobody holds it" if key else f"Block {block}: free"

    def _hover(self, which: int, block: int) -> None:
        self.views[which].under = block
        self.views[which].hover.setText(self._tell(which, block) if block else "")

    # Time

    def jump(self, back: bool) -> None:
        """To the previous or the next of what is chosen in the box."""
        kind = self.what.currentData()
        if not self.session.jump(kind, back):
            self.context.window.say(f"No {'earlier' if back else 'later'} {kind} so far")

    def _by(self, steps: int) -> None:
        self.session.seek(self.session.shown + steps)

    def _until(self, event: str) -> None:
        self.session.run_until(event)

    def _next_kind(self) -> None:
        self.what.setCurrentIndex((self.what.currentIndex() + 1) % self.what.count())

    def select(self, chosen: tuple[int, int] | None) -> None:
        """Show a range of steps alone in every view; None: all of the run."""
        if chosen == self.range:
            return
        self.range = chosen
        self.scrubber.select(chosen)
        if chosen is None or self.session.history is None:
            self.charts.unselect()
            self.charts.show_all()
        self._draw_grids()
        self._fill_charts()
        self._fill_tables()
        self._show_range()

    def _region(self, chosen: Any) -> None:
        """A range of a chart, in seconds."""
        history = self.session.history
        if history is None:
            return
        if chosen is None:
            self.select(None)
        else:
            first, last = history.step_at(chosen[0]), history.step_at(chosen[1])
            self.select((min(first, last), max(first, last)))

    def _show_range(self) -> None:
        history = self.session.history
        self.selection.setVisible(self.range is not None)
        if self.range is None or history is None:
            return
        first, last = self.range
        begin, end = history.seconds(first), history.seconds(last)
        used = history.steps["blocks_used"]
        change = int(used[last] - used[first])
        evicted = int(history.steps["evictions"][last] - history.steps["evictions"][first])
        preempted = int(history.steps["preemptions"][first : last + 1].sum())
        found = int(history.steps["hit_tokens"][first : last + 1].sum())
        self.selection.setText(
            f"<b>{begin:.3f} s to {end:.3f} s</b>, {end - begin:.3f} s in {last - first + 1:,} steps: blocks in use "
            f"{int(used[first]):,} to {int(used[last]):,} ({change:+,}), {_count(evicted, 'eviction')}, "
            f"{_count(preempted, 'preemption')}, {found:,} tokens found in the prefix cache. "
            "Blocks that changed are lit. Esc: all of the run"
        )

    # Drawing

    def _began(self) -> None:
        self.chosen, self.range, self.states = None, None, [None, None]
        self.scrubber.select(None)
        self.selection.hide()
        names = self.session.names
        self.views[1].setVisible(len(names) > 1)
        for view, name in zip(self.views, names, strict=False):
            view.title.setText(name if len(names) > 1 else "Blocks")
            view.grid.clear()
            view.grid.choose(0)
        self.details.show_nothing()
        self.grids.setSizes([1, 1])
        self.charts.begin(names)

    def _frame(self) -> None:
        if not self._shown or self.session.history is None:
            return
        self._draw_grids()
        self._show_where()
        wall = monotonic()
        if wall >= self._charts_at:
            self._charts_at = wall + CHARTS_EVERY
            self._fill_charts()
        if wall >= self._tables_at:
            self._tables_at = wall + TABLES_EVERY
            self._fill_tables()
        self._late.start(int(TABLES_EVERY * 1000) + 20)

    def _catch_up(self) -> None:
        """The last frame may have come too soon after one for charts and tables."""
        if self._shown and self.session.history is not None:
            self._fill_charts()
            self._fill_tables()

    def _draw_grids(self) -> None:
        session = self.session
        for which, (history, view) in enumerate(zip(session.histories, self.views, strict=False)):
            step = session.step_of(which)
            if not len(history) or step < 0:
                continue
            state = history.at(step)
            self.states[which] = state
            lit = self._lit(history, state) if which == 0 else None
            view.show_state(self.mode, history, state, lit)

    def _show_where(self) -> None:
        session, history = self.session, self.session.history
        self.now.setEnabled(not session.following)
        if history is None:
            self.where.setText("")
            return
        step = session.shown
        back = "" if session.following else f" of {session.newest:,}"
        self.where.setText(f"step {step:,}{back} at {session.now:.3f} s")
        self.scrubber.show_step(history, step)

    def _fill_charts(self) -> None:
        if self.session.history is None:
            return
        self.charts.fill(self.session, self.range)
        self.numbers.fill(self.session, self.range)
        for which, (view, state) in enumerate(zip(self.views, self.states, strict=True)):
            if state is not None:
                view.tell_count(state)
                self._hover(which, view.under if view.under < len(state.refs) else 0)  # it may have changed hands
                view.grid.tell_again()

    def _fill_tables(self) -> None:
        history, step = self.session.history, self.session.shown
        if history is None or step < 0 or not self._shown:
            return
        match self.tabs.currentWidget():
            case self.tables:
                fill_block_tables(self.tables, history, step)
            case self.queue:
                self.queue.fill(history, step)
            case self.log:
                self._fill_log()
            case _:
                self._inspect()

    def _fill_log(self) -> None:
        history, step = self.session.history, self.session.shown
        if history is not None and step >= 0:
            first, last = self.range or (0, step)
            self.log.fill(history, first, min(last, len(history) - 1))

    def _recolour(self) -> None:
        self.mode = self.colour.currentData()
        self._draw_grids()

    def _next_mode(self) -> None:
        self.colour.setCurrentIndex((self.colour.currentIndex() + 1) % self.colour.count())

    def _dress(self) -> None:
        self.back.setIcon(theme.icon("back"))
        self.forth.setIcon(theme.icon("step"))
        for view in self.views:
            view.dress()
        self.beside.setIcon(theme.icon("compare"))
        self.charts.dress()
        self._draw_grids()
        self._inspect()

    # Two runs, and keeping one

    def run_beside(self, text: str | None) -> None:
        """Begin again, with a second run beside it that differs in a few keys; None: with none."""
        scenario = self.context.document.scenario
        if scenario is None:
            return
        if text is None:
            self.session.begin(scenario, None)
            return
        keys = BESIDE[text]
        if not keys:
            from simcore.geometry import pool_size

            keys = (f"memory.blocks={max(2, pool_size(scenario).blocks // 2)}",)
        self.begin_beside(keys, text.partition(":")[0])

    def ask_beside(self) -> None:
        """Ask for the keys in which the second run differs."""
        text, sure = QInputDialog.getText(
            self, "Beside it", "Keys that differ, with ; between them, as in memory.blocks=400; memory.eviction=fifo"
        )
        if sure and text.strip():
            self.begin_beside(tuple(part.strip() for part in text.split(";") if part.strip()), text)

    def begin_beside(self, keys: Sequence[str], difference: str) -> None:
        """Begin both; the second is called by its difference."""
        scenario = self.context.document.scenario
        assert scenario is not None
        try:
            other = changed(scenario, keys)
        except InputError as error:
            complain(self, "The second run cannot be", str(error))
            return
        self.session.begin(scenario, other, difference)

    def save(self) -> None:
        """Ask for a folder, and write the results of a run that is over."""
        if self.session.state != "ended":
            self.context.window.say("Only a run that is over can be saved: Run > End the run here ends it")
            return
        chosen, _ = QFileDialog.getSaveFileName(self, "Save results", "results", "Folders (*)")
        if chosen:
            self.session.save(Path(chosen))


def changed(scenario: Scenario, keys: Sequence[str]) -> Scenario:
    """The same scenario with other keys, by which it is called. Raises InputError."""
    data = scenario.to_toml()
    return Scenario.from_toml(data, Path(), list(keys))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

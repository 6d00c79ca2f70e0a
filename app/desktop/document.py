"""The scenario that is being edited: what was written down, what is wrong with it, and every edit undoable."""

from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from PySide6.QtCore import QObject, Signal
from PySide6.QtGui import QUndoCommand, QUndoStack

from simcore.errors import InputError
from simcore.policies.base import Family
from simcore.policies.families import FAMILIES, discover
from simcore.scenario import Scenario
from simcore.scenario.describe import toml_value
from simcore.scenario.load import make_absolute, override, parse_toml, read_text
from simcore.scenario.presets import ABOUT, read_preset
from simcore.scenario.problems import problems
from simcore.schema import REQUIRED, KeyInfo, keys

MOST_PROBLEMS = 50
"""So many are marked at once."""
TAGS = ("policy", "process", "distribution")
"""The last part of the keys that choose which others their table has."""


class Document(QObject):
    """A scenario as a person writes it down: only the keys that are given; the others have their defaults.

    A document may be wrong while it is edited: `problems` then has a sentence for each wrong key, the one that the
    command line would print, and `scenario` is the last one that was right.
    """

    changed = Signal()
    """values or problems are others than before"""
    opened = Signal()
    """it is another document; `changed` comes before it"""
    renamed = Signal()
    """path, name or whether it is saved"""

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        discover()
        self.known: tuple[KeyInfo, ...] = tuple(keys(Scenario))
        self.undo = QUndoStack(self)
        self.undo.cleanChanged.connect(self.renamed)
        self.path: Path | None = None
        """the file it was read from or saved to"""
        self.preset = ""
        """the preset it began as"""
        self.scenario: Scenario | None = None
        """as validated; None: it was never right since it was opened"""
        self.problems: dict[str, str] = {}
        """key -> sentence; what belongs to no key stands under the empty one"""
        self._data: dict[str, Any] = {}
        self._last: _Edit | None = None
        self.start("default")

    # What it holds

    @property
    def data(self) -> dict[str, Any]:
        """A copy of what is written down, as tables of TOML."""
        return deepcopy(self._data)

    @property
    def valid(self) -> bool:
        """Whether it can be run."""
        return not self.problems and self.scenario is not None

    @property
    def name(self) -> str:
        """What the run is called."""
        return str(self.value("name"))

    @property
    def saved(self) -> bool:
        """Whether all edits are in its file, or there were none."""
        return self.undo.isClean()

    def infos(self, prefix: str = "") -> Iterator[KeyInfo]:
        """The keys that exist now, below a dotted prefix: those of the chosen variants, none of a list's elements."""
        for info in self.known:
            below = not prefix or info.path == prefix or info.path.startswith(f"{prefix}.")
            if below and "[]" not in info.path and self._exists(info):
                yield info

    def info(self, key: str) -> KeyInfo:
        """The description of a key, that of the chosen variant where several have it."""
        found = [info for info in self.known if info.path == key]
        return found[0] if len(found) == 1 else next((info for info in found if self._exists(info)), found[0])

    def given(self, key: str) -> Any:
        """What is written down for a key; None: nothing."""
        here: Any = self._data
        for part in key.split("."):
            if isinstance(here, str) and part in TAGS:
                return here  # a policy's name stands for its table
            if not isinstance(here, Mapping) or part not in here:
                return None
            here = here[part]
        return here

    def value(self, key: str) -> Any:
        """What holds for a key: what is written down, otherwise its default; a table is None if it is not there."""
        given = self.given(key)
        if isinstance(given, str) and key.endswith(".policy"):
            family = family_of(self.info(key))
            return family.canonical(given) if family else given
        if given is not None:
            return given
        here: Any = self.scenario
        for part in key.split("."):
            if not hasattr(here, part):  # of another variant, or of no scenario that was ever right
                default = self.info(key).default
                return None if default is REQUIRED else default
            here = getattr(here, part)
        return here

    def _exists(self, info: KeyInfo) -> bool:
        return all(self.value(path) == choice for path, choice in info.when.items())

    # Edits

    def set(self, key: str, value: Any, *, typing: bool = False) -> None:
        """Write a value down for a key; None takes it away again, so that the default holds.

        Edits of one key with `typing` become one step of undo, until `seal` or an edit of another key.
        """
        after = deepcopy(self._data)
        if value is None:
            _take_away(after, key)
        else:
            override(after, [f"{key}={toml_value(value)}"], self.known)
        if after != self._data:
            edit = _Edit(self, key, self._data, after, typing)
            self.undo.push(edit)
            self.renamed.emit()

    def seal(self) -> None:
        """The next edit is a step of undo of its own."""
        if self._last:
            self._last.typing = False

    def replace(self, data: Mapping[str, Any], text: str) -> None:
        """Another content as one step of undo, which is called `text`."""
        self.undo.push(_Edit(self, text, self._data, deepcopy(dict(data)), False, text))
        self.renamed.emit()

    def put(self, data: dict[str, Any], edit: "_Edit | None" = None) -> None:
        """For its undo steps: hold this, and say what is wrong with it."""
        self._data = deepcopy(data)
        self._last = edit
        self._check()
        self.changed.emit()

    def _check(self) -> None:
        self.problems = {}
        try:
            scenario = Scenario.model_validate(self.data)
        except ValidationError as error:
            found, untold = problems(error, self.known, self._data, MOST_PROBLEMS)
            self.problems = {problem.path: problem.sentence for problem in found}
            if untold:
                self.problems[""] = f"and {untold} more problems"
            return
        self.scenario = scenario
        if problem := _further(scenario):
            key = problem.partition(" ")[0].rstrip(":")
            self.problems[key if any(info.path == key for info in self.known) else ""] = problem

    # Files

    def start(self, preset: str) -> None:
        """A new document, as a preset has it. Raises InputError for a name that is none."""
        about = read_preset("scenarios", preset)
        data = {key: value for key, value in about.items() if key == "name" or key not in ABOUT}
        self._begin(data, None, about["name"])

    def open(self, path: Path) -> None:
        """A scenario's file, also one with wrong values in it. Raises InputError for what is no TOML."""
        data = parse_toml(read_text(path), str(path))
        make_absolute(data, self.known, path.parent)
        self._begin(data, path, "")

    def save(self, path: Path) -> None:
        """Write the keys that are given; comments of an earlier file are lost. Raises InputError."""
        import tomli_w

        from simcore.export.folder import replacing

        with replacing(path) as file:
            file.write(tomli_w.dumps(self._data))
        self.path = path
        self.seal()
        self.undo.setClean()
        self.renamed.emit()

    def _begin(self, data: dict[str, Any], path: Path | None, preset: str) -> None:
        self.scenario = None
        self.path, self.preset = path, preset
        self._last = None
        self.undo.clear()
        self.put(data)
        self.opened.emit()
        self.renamed.emit()


def family_of(info: KeyInfo) -> Family[Any] | None:
    """The policies that a key chooses from; None: it chooses something else."""
    return next((family for family in FAMILIES.values() if set(family) == set(info.choices)), None)


class _Edit(QUndoCommand):
    """From one content to another."""

    def __init__(
        self,
        document: Document,
        key: str,
        before: dict[str, Any],
        after: dict[str, Any],
        typing: bool,
        text: str = "",
    ) -> None:
        super().__init__(text or f"change of {key}")
        self.document = document
        self.key = key
        self.before = before
        self.after = after
        self.typing = typing

    def id(self) -> int:
        return 1

    def redo(self) -> None:
        self.document.put(self.after, self)

    def undo(self) -> None:
        self.typing = False
        self.document.put(self.before)

    def mergeWith(self, other: QUndoCommand) -> bool:  # noqa: N802
        assert isinstance(other, _Edit)
        if not (self.typing and other.key == self.key):
            return False
        self.after = other.after
        self.typing = other.typing
        self.document._last = self
        self.setObsolete(self.after == self.before)
        return True


def _take_away(data: dict[str, Any], key: str) -> None:
    """Remove a key; with what chooses a table's variant, the whole table; with a trace, what is taken of it."""
    *tables, name = key.split(".")
    if name in TAGS:
        *tables, name = tables
    here: Any = data
    for table in tables:
        here = here.get(table) if isinstance(here, dict) else None
    if not isinstance(here, dict):
        return
    if key == "workload.trace":
        here.clear()
    here.pop(name, None)


def _further(scenario: Scenario) -> str | None:
    """A sentence on what only shows beyond the scenario itself: a pool without room, a file that is not there."""
    from simcore.geometry import pool_size
    from simcore.timing import make_timer

    try:
        pool_size(scenario)
        make_timer(scenario)
    except InputError as error:
        return str(error)
    trace = scenario.workload.trace
    if trace is not None and not trace.exists():
        return f'workload.trace is "{trace}", but there is no such file'
    return None


Kind = Literal["scenario", "results", "trace"]


def kind_of(path: Path) -> Kind:
    """What a file or folder is most likely, told by its name and, of a folder, by what is in it."""
    if path.is_dir():
        return "results" if (path / "summary.json").exists() or (path / "run.json").exists() else "trace"
    return "scenario" if path.suffix.lower() == ".toml" else "trace"

"""The files of a run that goes on: rows of whole numbers, appended by the worker, read by whoever watches."""

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from simcore.record.journal import Entry
from simcore.record.recorder import STEP_COLUMNS

Table = NDArray[np.int64]

PREFIX = "kvscope-live-"
BOARD = "board"
EXTRA_COLUMNS = ("entries", "clock", "events")
"""When the step had been planned: entries of the journal and events so far, and the clock of those who decode."""
EVENT_COLUMNS = ("step", "t", "kind", "sequence", "row", "tokens", "end")
WIDTHS = {
    "steps": len(STEP_COLUMNS) + len(EXTRA_COLUMNS),
    "entries": len(Entry._fields),
    "events": len(EVENT_COLUMNS),
}


class Writer:
    """Appends to the files."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError."""
        self._files = {name: (folder / name).open("ab", buffering=0) for name in WIDTHS}

    def write(self, name: str, rows: Table) -> None:
        """Raises OSError, for want of room on the disk above all."""
        content = memoryview(rows.tobytes())
        while content:
            content = content[self._files[name].write(content) :]

    def close(self) -> None:
        for file in self._files.values():
            file.close()


class Reader:
    """Reads what has been appended since it last did."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError where there are no such files yet."""
        self._files = {name: (folder / name).open("rb") for name in WIDTHS}
        self.read_rows = dict.fromkeys(WIDTHS, 0)

    def read(self, name: str, until: int) -> Table:
        """[rows, columns] what comes after all that was read, up to row `until`."""
        width = WIDTHS[name]
        first = self.read_rows[name]
        content = self._files[name].read((until - first) * width * 8)
        rows = np.frombuffer(content, np.int64).reshape(-1, width)
        self.read_rows[name] = first + len(rows)
        return rows

    def close(self) -> None:
        for file in self._files.values():
            file.close()


def make_folder() -> Path:
    """A new folder for a run's files. Those that processes left behind which are gone are swept away."""
    home = Path(tempfile.gettempdir())
    for folder in home.glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).split("-")[0]
        if owner.isdigit() and not _lives(int(owner)):
            shutil.rmtree(folder, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-", dir=home))


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

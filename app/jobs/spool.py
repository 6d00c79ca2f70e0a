"""The folder of a run that goes on or was opened: its tables in files, which one process writes and others map.

They are those of `simcore.Simulation.keep_in`: `steps`, `entries` (the journal) and `events` of the sequences.
"""

import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "kvscope-live-"
BOARD = "board"


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

"""Finished runs that are kept, so that an experiment which was ended goes on where it was."""

import hashlib
import json
import os
import sys
import tempfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simcore.errors import InputError
from simcore.experiment.play import FAILED, Outcome
from simcore.export.folder import PARTIAL, telling_of

PLACE = "KVSCOPE_STORE"
"""The variable of the environment that says where runs are kept."""


def default_store() -> Path:
    """$KVSCOPE_STORE, or the folder `kvscope/runs` where the platform keeps what can be computed again.

    Raises InputError where nobody knows a home, as of a user without an account in a container.
    """
    if place := os.environ.get(PLACE):
        return Path(place)
    try:
        return _platform_caches() / "kvscope" / "runs"
    except RuntimeError:
        raise InputError(f"there is no home folder to keep runs in; say where in the variable {PLACE}") from None


def _platform_caches() -> Path:
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


class Store:
    """A folder with a small JSON file for each run, under its key.

    A file appears whole or not at all. One that is damaged is as good as none, and is written anew.
    """

    def __init__(self, folder: str | Path) -> None:
        """Raises InputError where no files can be written, before time is spent on runs."""
        self.folder = Path(folder)
        with telling_of(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass

    def get(self, key: str) -> Outcome | None:
        """What came of a run; None: it is not known."""
        try:
            content = json.loads(self._place(key).read_bytes())
            outcome = content["outcome"]
            if content["digest"] != _digest(outcome) or outcome["key"] != key:
                return None
            outcome["latencies"] = {
                name: (count, list(values)) for name, (count, values) in outcome["latencies"].items()
            }
            return Outcome(**outcome)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def put(self, outcome: Outcome) -> None:
        """Keep what came of a run, unless it failed: that may be due to the machine. Raises InputError."""
        if outcome.status == FAILED:
            return
        content = asdict(outcome)
        place = self._place(outcome.key)
        with telling_of(self.folder):
            place.parent.mkdir(exist_ok=True)
            handle, temporary = tempfile.mkstemp(prefix=PARTIAL, dir=place.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    json.dump({"digest": _digest(content), "outcome": content}, file)
                os.replace(temporary, place)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary)
                raise

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key[2:]}.json"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

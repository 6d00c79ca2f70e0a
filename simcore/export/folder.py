"""A folder of results, written whole or not at all."""

import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from simcore.errors import InputError
from simcore.export.perfetto import write_perfetto
from simcore.record.results import Results

if TYPE_CHECKING:
    import polars as pl

FILES = (
    "scenario.toml",
    "summary.json",
    "requests.parquet",
    "timeline.parquet",
    "blocks.parquet",
    "trace.perfetto.json",
    "run.json",
)
"""All that a folder of results may hold; run.json comes last, and with it the folder is complete."""
PARTIAL = ".partial-"
"""What is being written is called so; a run that was killed may leave it, and no other run minds it."""
PACKAGES = ("kvscope", "numpy", "polars", "pydantic", "simpy")


class ResultsFolder:
    """Results go to a temporary folder, which is renamed when all is there.

    A run that is killed, or that meets a full disk, leaves nothing behind that could be taken for results. A folder
    that is there already is filled from a temporary one inside of it: it may be all that can be written to.
    """

    def __init__(self, out: Path | None, name: str, *, force: bool = False) -> None:
        """`out` must be new or empty, unless `force` lets files of an earlier run be replaced; others stay.

        Without `out` the place is results/NAME-1, -2, and so on. Raises InputError where nothing can be written,
        before time is spent on a run.
        """
        self._name = name
        self._out = out = None if out is None else Path(os.path.normpath(out))
        self._force = force
        place = out or Path("results")
        with telling_of(place):
            self._check_place()
            home = place if out is None or out.is_dir() else out.parent
            home.mkdir(parents=True, exist_ok=True)
            prefix = f"{PARTIAL}{out.name if out else name}-"  # a name that is too long shows now
            self._temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def __enter__(self) -> "ResultsFolder":
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)

    def write(self, results: Results, *, perfetto: bool = False) -> Path:
        """Write all files, blocks.parquet if there is a journal, and return the folder. Raises InputError."""
        place = self._temporary
        with telling_of(self._out or place.parent):
            (place / "scenario.toml").write_text(results.scenario.to_toml(), encoding="utf-8", newline="\n")
            _write_json(place / "summary.json", results.summary)
            _write_parquet(place / "requests.parquet", results.requests)
            _write_parquet(place / "timeline.parquet", results.timeline)
            if results.journal is not None:
                _write_parquet(place / "blocks.parquet", results.blocks)
            if perfetto:
                write_perfetto(results, place / "trace.perfetto.json")
            _write_json(place / "run.json", self._about(results))
            return self._publish()

    def _about(self, results: Results) -> dict[str, Any]:
        """What belongs to this one run, and may differ between two with equal results."""
        return {
            "interrupted": results.interrupted,
            "stalled": results.stalled,
            "cpu_s": round(time.process_time() - self._cpu, 3),
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {package: _version(package) for package in PACKAGES},
            "command": sys.argv[1:],
        }

    def _check_place(self) -> None:
        out = self._out or Path("results")
        there = next(path for path in (out, *out.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise InputError(f"{there}: is no folder, and results need one there")
        if self._out is None or there != out:
            return
        if not self._force and any(not entry.name.startswith(PARTIAL) for entry in out.iterdir()):
            raise InputError(f"{out}: is not empty; choose another folder, or replace the results in it with --force")
        for path in (out / name for name in FILES):
            if path.is_dir():
                raise InputError(f"{path}: is a folder, and a file of the results belongs there")

    def _publish(self) -> Path:
        self._temporary.chmod(0o755)  # it was made for its owner alone
        out = self._out
        if out is None:
            return _rename_to_next(self._temporary, self._name)
        self._check_place()
        if not out.exists():
            return self._temporary.rename(out)
        (out / FILES[-1]).unlink(missing_ok=True)  # files of two runs must not pass for the results of one
        for name in FILES:
            if (self._temporary / name).exists():
                os.replace(self._temporary / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
        return out


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place when the block has ended well; nothing half written is ever there.

    A device or a pipe is no place to take: it gets the text as it comes.
    """
    with telling_of(path):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, and a file is to be written there")
        if path.exists() and not path.is_file():
            with path.open("w", encoding="utf-8", newline="\n") as file:
                yield file
            return
        place = Path(os.path.realpath(path))  # a link stays one
        handle, temporary = tempfile.mkstemp(prefix=f"{PARTIAL}{place.name}-", dir=place.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                yield file
            os.replace(temporary, place)
            place.chmod(0o644)
        finally:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def telling_of(path: Path) -> Iterator[None]:
    """Turn what the system says of a file or a disk into a sentence."""
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {(error.strerror or str(error)).lower()}") from None


def _rename_to_next(temporary: Path, name: str) -> Path:
    for number in count(1):
        out = temporary.with_name(f"{name}-{number}")
        if not os.path.lexists(out):
            try:
                return temporary.rename(out)
            except OSError:
                if not os.path.lexists(out):  # otherwise another run has taken it meanwhile
                    raise
    raise AssertionError


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def _write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    buffer = io.BytesIO()  # polars has errors of its own for a full disk
    frame.write_parquet(buffer)
    path.write_bytes(buffer.getbuffer())


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

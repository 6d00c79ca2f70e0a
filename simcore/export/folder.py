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
"""All that a folder of results may hold."""
PACKAGES = ("kvscope", "numpy", "polars", "pydantic", "simpy")


class ResultsFolder:
    """Results go to a temporary folder beside their place, which is renamed when all is there.

    A run that is killed, or that meets a full disk, leaves nothing behind that could be taken for results.
    """

    def __init__(self, out: Path | None, name: str, *, force: bool = False) -> None:
        """`out` must be new or empty, unless `force` lets files of an earlier run be replaced; others stay.

        Without `out` the place is results/NAME-1, -2, and so on. Raises InputError where nothing can be written,
        before time is spent on a run.
        """
        self._name = name
        self._out = out
        self._force = force
        self._check_place()
        parent = Path("results") if out is None else out.absolute().parent
        with telling_of(out or parent):
            parent.mkdir(parents=True, exist_ok=True)
            self._temporary = Path(tempfile.mkdtemp(prefix=".partial-", dir=parent))
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
            "cpu_s": round(time.process_time() - self._cpu, 3),
            "wall_s": round(time.perf_counter() - self._wall, 3),
            "written": datetime.now(UTC).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "packages": {package: _version(package) for package in PACKAGES},
            "command": sys.argv[1:],
        }

    def _check_place(self) -> None:
        out = self._out
        with telling_of(out or Path("results")):
            if out is not None and out.exists() and not out.is_dir():
                raise InputError(f"{out}: is a file; --out takes a folder, new or empty")
            if out is not None and not self._force and out.is_dir() and any(out.iterdir()):
                raise InputError(
                    f"{out}: is not empty; choose another folder, or replace the results in it with --force"
                )

    def _publish(self) -> Path:
        self._temporary.chmod(0o755)  # it was made for its owner alone
        out = self._out
        if out is None:
            return _rename_to_next(self._temporary, self._name)
        self._check_place()
        out.mkdir(exist_ok=True)
        for name in FILES:  # the run's description last: with it the folder is complete
            if (self._temporary / name).exists():
                os.replace(self._temporary / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
        return out


@contextmanager
def replacing(path: Path) -> Iterator[TextIO]:
    """A text file that takes its place when the block has ended well; nothing half written is ever there."""
    with telling_of(path):
        if path.is_dir():
            raise InputError(f"{path}: is a folder, and a file is to be written there")
        handle, temporary = tempfile.mkstemp(prefix=".partial-", dir=path.absolute().parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                yield file
            os.replace(temporary, path)
            path.chmod(0o644)
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
        if not out.exists():
            try:
                return temporary.rename(out)
            except OSError:
                if not out.exists():  # otherwise another run has taken it meanwhile
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

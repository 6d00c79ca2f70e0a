"""A folder of results, written whole or not at all."""

import io
import json
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import count, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO

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
    "sequences.parquet",
    "trace.perfetto.json",
    "report.html",
    "run.json",
)
"""All that a folder of results may hold; run.json comes last, and with it the folder is complete."""
PARTIAL = ".partial-"
"""What is being written is called so; a run that was killed may leave it, and no other run minds it."""
PACKAGES = ("kvscope", "numpy", "polars", "pydantic", "simpy")


class OutputFolder:
    """Files go to a temporary folder, which is renamed when all is there.

    A run that is killed, or that meets a full disk, leaves nothing behind that could be taken for results. A folder
    that is there already is filled from a temporary one inside of it: it may be all that can be written to.
    """

    def __init__(self, out: Path | None, name: str, files: Sequence[str], *, force: bool = False) -> None:
        """`out` must be new or empty, unless `force` lets files of an earlier run be replaced; others stay.

        `files` are all that the folder may come to hold; with the last of them it is complete. Without `out` the place
        is results/NAME-1, -2, and so on. Raises InputError where nothing can be written, before time is spent on a run.
        """
        self._name = name
        self._files = tuple(files)
        self._out = out = None if out is None else Path(os.path.normpath(out))
        self._force = force
        place = out or Path("results")
        with telling_of(place):
            self._check_place()
            home = place if out is None or out.is_dir() else out.parent
            prefix = f"{PARTIAL}{out.name if out else name}-"  # a name that is too long shows now
            with ExitStack() as stack:
                stack.enter_context(standing(home))
                self._temporary = home / Path(tempfile.mkdtemp(prefix=prefix, dir=home)).name  # relative if home is
                self._home = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        self._home.close()

    @contextmanager
    def filled(self) -> Iterator[Path]:
        """The temporary folder, to write into. Raises InputError for what the system says of that."""
        with telling_of(self._out or self._temporary.parent):
            yield self._temporary

    def publish(self) -> Path:
        """All is there: give the folder its name, and return it. Raises InputError."""
        with telling_of(self._out or self._temporary.parent):
            return self._publish()

    def _check_place(self) -> None:
        out = self._out or Path("results")
        there = next(path for path in (out, *out.parents) if os.path.lexists(path))
        if not there.is_dir():
            raise InputError(f"{there}: is no folder, and results need one there")
        if self._out is None or there != out:
            return
        if not self._force and any(not entry.name.startswith(PARTIAL) for entry in out.iterdir()):
            raise InputError(f"{out}: is not empty; choose another folder, or replace the results in it with --force")
        for path in (out / name for name in self._files):
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
        (out / self._files[-1]).unlink(missing_ok=True)  # files of two runs must not pass for the results of one
        for name in self._files:
            if (self._temporary / name).exists():
                (out / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(self._temporary / name, out / name)
            else:
                (out / name).unlink(missing_ok=True)
        return out


class ResultsFolder(OutputFolder):
    """The results of a simulation."""

    def __init__(self, out: Path | None, name: str, *, force: bool = False) -> None:
        """See `OutputFolder`."""
        super().__init__(out, name, FILES, force=force)
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def write(self, results: Results, *, perfetto: bool = False, report: bool = False) -> Path:
        """Write all files, those of blocks and sequences if there is a journal, and return the folder.

        Raises InputError.
        """
        from simcore.export.report.single import OneRun, run_page

        with self.filled() as place:
            (place / "scenario.toml").write_text(results.scenario.to_toml(), encoding="utf-8", newline="\n")
            write_json(place / "summary.json", results.summary)
            write_parquet(place / "requests.parquet", results.requests)
            write_parquet(place / "timeline.parquet", results.timeline)
            if results.journal is not None:
                write_parquet(place / "blocks.parquet", results.blocks)
                write_parquet(place / "sequences.parquet", results.sequences)
            if perfetto:
                write_perfetto(results, place / "trace.perfetto.json")
            about = self._about(results)
            if report:
                page = run_page(OneRun.of(results, about))
                (place / "report.html").write_text(page, encoding="utf-8", newline="\n")
            write_json(place / "run.json", about)
        return self.publish()

    def _about(self, results: Results) -> dict[str, Any]:
        """What belongs to this one run, and may differ between two with equal results."""
        return {
            "interrupted": results.interrupted,
            "stalled": results.stalled,
            "cpu_s": round(time.process_time() - self._cpu, 3),
            "wall_s": round(time.perf_counter() - self._wall, 3),
            **about_this_run(PACKAGES),
        }


def about_this_run(packages: Sequence[str]) -> dict[str, Any]:
    """When, where and with what: what may differ between two runs that are equal otherwise."""
    return {
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {package: _version(package) for package in packages},
        "command": sys.argv[1:],
    }


@contextmanager
def standing(folder: Path) -> Iterator[None]:
    """A folder to put something into: it is made, and those above it, where it is missing. What stays empty goes."""
    missing = list(takewhile(lambda path: not os.path.lexists(path), (folder, *folder.parents)))
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
        yield
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


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


def write_json(path: Path, content: Any) -> None:
    """An indented JSON document."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8", newline="\n")


def write_parquet(path: Path, frame: "pl.DataFrame") -> None:
    """A table. Raises OSError, also for a full disk."""
    buffer = io.BytesIO()  # polars has errors of its own for a full disk
    frame.write_parquet(buffer)
    path.write_bytes(buffer.getvalue())  # a view of it that a failure leaves behind can crash Python 3.12


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None

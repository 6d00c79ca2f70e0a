"""`kvscope report`: the page of a folder of results, made again."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.output import mention
from app.cli.paths import path_of
from app.cli.policies import Policies, load_policies
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.experiment import Comparison, Metric
    from simcore.export.report import ReportFolder

PAGES = (".html", ".htm")


def report(
    directory: Annotated[
        Path, typer.Argument(parser=path_of, metavar="DIR", help="Results of `simulate`, `compare` or `sweep`.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            parser=path_of, help="Of a comparison: a folder, which gets all its files. Of one run: an HTML file."
        ),
    ] = None,
    policies: Policies = None,
    force: Annotated[bool, typer.Option("--force", help="Replace what is there already.")] = False,
    blocks: Annotated[
        bool, typer.Option("--blocks/--no-blocks", help="Play runs again to show their pools block by block.")
    ] = True,
) -> None:
    """Make the report of a folder of results again, from its files: without --out, into the folder."""
    from simcore.export.report import is_comparison

    if is_comparison(directory):
        place = _comparison(directory, out, policies or [], force=force, blocks=blocks)
    else:
        load_policies(policies, [])
        place = _run(directory, out, force=force)
    mention(f"report in {place}")


def _comparison(directory: Path, out: Path | None, policies: list[Path], *, force: bool, blocks: bool) -> Path:
    from simcore.export.report import load, write
    from simcore.export.report.stored import read_json

    if out is not None and out.suffix.lower() in PAGES and not out.is_dir():
        raise InputError(f"--out is {out}, but the report of a comparison is a folder, which gets all its files")
    about = read_json(directory / "run.json")
    comparison = load(directory, policies)
    again = out is None or out.resolve() == directory.resolve()
    place = directory if out is None else out
    return write(comparison, place, force=force or again, about=about, block_maps=blocks) / "report.html"


def _run(directory: Path, out: Path | None, *, force: bool) -> Path:
    from simcore.export.folder import replacing
    from simcore.export.report import OneRun, run_page

    place = directory / "report.html" if out is None else out
    if place.suffix.lower() not in PAGES:
        raise InputError(f"--out is {place}, but the report of one run is a file whose name ends in .html")
    if out is not None and not force and place.exists():
        raise InputError(f"{place}: is there already; choose another file, or replace it with --force")
    run = OneRun.load(directory)
    try:
        page = run_page(run)
    except InputError as error:
        raise InputError(f"{directory}: {error}") from None
    with replacing(place) as file:
        file.write(page)
    return place


@contextmanager
def report_folder(out: Path | None, name: str, *, force: bool) -> "Iterator[ReportFolder | None]":
    """Where a comparison is to go; checked before time is spent on it. None: nowhere."""
    if out is None:
        yield None
        return
    from simcore.export.report import ReportFolder

    with ReportFolder(out, name, force=force) as folder:
        yield folder


def report_comparison(
    folder: "ReportFolder | None", comparison: "Comparison", asked: "Sequence[Metric] | None", *, quiet: bool
) -> None:
    """Write a comparison where it is to go, with the command that was typed, and say where that is.

    `asked`: metrics to show; None: the usual ones, empty: all.
    """
    if folder is None:
        return
    shown = () if asked is None else asked or comparison.metrics()
    command = shlex.join(["kvscope", *sys.argv[1:]])
    place = folder.write(comparison, command=command, metrics=[metric.name for metric in shown])
    if not quiet:
        mention(f"report in {place / 'report.html'}")

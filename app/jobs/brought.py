"""Policies that a person brings to the window: files of code, which every process that simulates for it runs."""

from collections.abc import Iterable
from pathlib import Path

from simcore.scenario.policies import load_policy

_files: list[str] = []


def bring(files: Iterable[str | Path]) -> None:
    """Run Python files, so that scenarios can choose the policies in them, and remember them. Raises InputError."""
    for file in files:
        path = str(Path(file).absolute())
        if path not in _files:
            load_policy(path)
            _files.append(path)


def brought() -> tuple[str, ...]:
    """The files so far, to `bring` in another process."""
    return tuple(_files)

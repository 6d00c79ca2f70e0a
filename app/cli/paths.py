"""Options and arguments that are paths."""

from pathlib import Path

import typer


def path_of(text: str) -> Path:
    """The path that is meant. An empty text, as of a variable that is not set, does not mean the working directory."""
    if not text:
        raise typer.BadParameter("a path must not be empty")
    if "\0" in text:
        raise typer.BadParameter("a path has no null character")
    return Path(text)

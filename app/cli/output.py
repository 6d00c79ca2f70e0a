"""What a command says: on the way, and where it has to refuse."""

import json
import sys
from contextlib import suppress
from typing import Any

import typer

WRONG_INPUT = 2


def mention(text: str, *, err: bool = False) -> None:
    """Say something on the way. If nobody listens any more, as in `| head`, the work goes on."""
    with suppress(OSError):
        typer.echo(text, err=err)


def print_json(content: Any) -> None:
    """What `--json` prints: one document, and nothing else on standard output."""
    typer.echo(json.dumps(content, indent=2))


def printable(text: str) -> str:
    """Words of others, which must not steer the terminal."""
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def complain(sentence: str) -> None:
    """Say on standard error what is wrong, if somebody is there to hear it."""
    if sys.stderr is not None:
        with suppress(OSError):
            print(f"kvscope: {printable(sentence)}", file=sys.stderr, flush=True)


def refuse(sentence: str) -> int:
    """Say why nothing comes of it, and return the exit code for that."""
    complain(sentence)
    return WRONG_INPUT

"""Options that several commands have, described once."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.paths import path_of

Overrides = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: memory.blocks=4096.")
]
PlayTrace = Annotated[
    Path | None, typer.Option(parser=path_of, help="Play this trace instead of the scenario's workload.")
]
ResultsOut = Annotated[
    Path | None, typer.Option(parser=path_of, help="Folder of results; without it results/NAME-1, -2, ...")
]
Force = Annotated[bool, typer.Option("--force", help="Replace the results in a folder that is not empty.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
Format = Annotated[str, typer.Option(help="The trace's format; auto: told by its content.")]
Sessions = Annotated[str, typer.Option(help="When kv-cache-tester's sessions begin: sequential or stagger60.")]
SkipBadLines = Annotated[
    bool, typer.Option("--skip-bad-lines", help="Pass over and count the broken lines of the trace.")
]

"""Files of results read back, with a sentence for whatever is missing or broken."""

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError

if TYPE_CHECKING:
    import polars as pl


def read_bytes(path: Path) -> bytes:
    """A file of results. Raises InputError where it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{path}: is missing, and the report is made from it") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object. Raises InputError where it is missing or is none."""
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: is no JSON") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must be a JSON object")
    return content


def is_comparison(directory: Path) -> bool:
    """Whether a folder has the results of a comparison; False: of one run. Raises InputError if of neither."""
    if not directory.is_dir():
        raise InputError(f"{directory}: is no folder of results")
    if not (directory / "run.json").exists():
        raise InputError(f"{directory}: has no run.json, so it is no complete folder of results")
    if (directory / "experiment.toml").exists():
        return True
    if (directory / "summary.json").exists():
        return False
    raise InputError(f"{directory}: has neither summary.json nor experiment.toml, so there is nothing to report")


def read_frame(path: Path) -> "pl.DataFrame":
    """A Parquet file. Raises InputError where it is missing or is none."""
    import polars as pl

    content = read_bytes(path)
    try:
        return pl.read_parquet(io.BytesIO(content))
    except pl.exceptions.PolarsError:
        raise InputError(f"{path}: is no Parquet file, or a broken one") from None

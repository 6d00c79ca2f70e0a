"""JSON lines: one object a line, its values read with care."""

import json
from collections.abc import Callable
from typing import Any

from simcore.errors import InputError
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.lines import BadLines, each_line
from simcore.workload.traces.values import MAX_TOKENS, Unit, listed, quoted, seconds, whole


class Record(dict[str, Any]):
    """A JSON object of a trace. A key that it lacks is an InputError."""

    def __init__(self, line: int, value: Any) -> None:
        if not isinstance(value, dict):
            raise InputError(f"expected a JSON object, found {quoted(value)}")
        super().__init__(value)
        self.line = line

    def __missing__(self, key: str) -> Any:
        raise InputError(f"{key} is missing")

    def tokens(self, key: str, least: int = 0) -> int:
        """A number of tokens."""
        return whole(key, self[key], least)

    def seconds(self, key: str, unit: Unit = "s") -> float:
        """A time in s, given in `unit`."""
        return seconds(key, self[key], unit)

    def token_ids(self, key: str) -> list[int]:
        """Literal tokens of the vocabulary."""
        ids = listed(key, self[key], {int}, "token ids")
        if ids and not 0 <= min(ids) <= max(ids) <= MAX_TOKENS:
            raise InputError(f"{key} must have ids from 0 to {MAX_TOKENS}, not from {min(ids)} to {max(ids)}")
        return ids

    def hashes(self, key: str, prompt_len: int, block: int, partial: bool = True) -> list[int | str]:
        """The names of a prompt's leading blocks; `partial`: its last block has a name even if it is not full."""
        hashes = listed(key, self[key], {int, str}, "block hashes")
        most = -(-prompt_len // block) if partial else prompt_len // block
        if len(hashes) > most:
            kind = "blocks" if partial else "full blocks"
            raise InputError(
                f"{key} has {len(hashes)} hashes, but a prompt of {prompt_len} tokens has {most} {kind} of {block}"
            )
        return hashes


def each_object(file: TraceFile, bad: BadLines, add: Callable[[Record], None]) -> None:
    """Call `add` with the JSON object on every line."""
    each_line(file, bad, lambda line, text: add(parse_object(line, text)))


def parse_object(line: int, text: str) -> Record:
    """The JSON object that begins on a line."""
    try:
        value = json.loads(text)
    except RecursionError:
        raise InputError("its JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        place = f"column {error.colno}" if error.lineno == 1 else f"line {error.lineno}, column {error.colno}"
        raise InputError(f"it is not valid JSON ({error.msg} at {place})") from None
    except ValueError:
        raise InputError("it has an integer of more digits than Python reads") from None
    return Record(line, value)


def parse_document(file: TraceFile) -> Record:
    """The one JSON object that a file holds."""
    try:
        return parse_object(1, file.data.decode())
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{file.name}, line {line}: byte {file.data[error.start]:#04x} is not UTF-8") from None
    except InputError as error:
        raise InputError(f"{file.name}: {error}") from None

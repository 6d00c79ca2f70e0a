"""Going through a trace line by line: a broken line is named by file and number, or passed over and counted."""

from collections.abc import Callable, Iterable

from simcore.errors import InputError
from simcore.workload.traces.files import TraceFile


class BadLines:
    """What becomes of broken lines: the first one ends the reading, or all are passed over and counted."""

    def __init__(self, skip: bool) -> None:
        self.count = 0
        self.first = ""
        self._skip = skip

    def add(self, message: str) -> None:
        """Take note of a broken line."""
        if not self._skip:
            raise InputError(message)
        self.count += 1
        self.first = self.first or message


def each_line(
    file: TraceFile, bad: BadLines, parse: Callable[[int, str], None], lines: Iterable[tuple[int, bytes]] | None = None
) -> None:
    """Call `parse` with number and text of every line, or of some `lines` of the file."""
    for line, raw in file.lines() if lines is None else lines:
        try:
            parse(line, text_of(raw))
        except RecursionError:
            bad.add(f"{file.name}, line {line}: it is nested too deeply")
        except InputError as error:
            bad.add(f"{file.name}, line {line}: {error}")


def text_of(raw: bytes) -> str:
    """The text of one or some lines, without the end of the last one."""
    try:
        return raw.decode().replace("\r\n", "\n").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {raw[error.start]:#04x} at place {error.start + 1} is not UTF-8") from None

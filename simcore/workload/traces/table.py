"""CSV: columns found by name, read column by column, or row by row where a line is broken."""

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import islice, repeat
from typing import Any

from simcore.errors import InputError
from simcore.workload.traces.files import TraceFile
from simcore.workload.traces.lines import BadLines, each_line, text_of
from simcore.workload.traces.values import listing

Parse = Callable[[str, Sequence[str]], list[Any]]
"""From the name of a column and the texts in it to values; what is not right is an InputError."""

_BATCH = 4096


def fields_of(text: str) -> list[str]:
    """The fields of a CSV line."""
    if '"' not in text:
        return text.split(",")
    try:
        return next(csv.reader([text], strict=True))
    except csv.Error as error:
        raise InputError(f"it is not valid CSV ({error})") from None


def header(file: TraceFile) -> tuple[int, list[str]]:
    """The number of the first line that is not blank, and the columns that it names."""
    line, raw = next(file.lines())
    try:
        return line, [name.strip() for name in fields_of(text_of(raw))]
    except InputError:
        raise InputError(f"{file.name}, line {line}: it is not a line of column names") from None


def each_column(file: TraceFile, bad: BadLines, columns: Mapping[str, Parse], add: Callable[..., None]) -> None:
    """Call `add` with the values in some columns, one list each, batch by batch of rows."""
    top, found = header(file)
    for column in columns:
        if found.count(column) != 1:
            state = "missing" if column not in found else "there more than once"
            names = listing(found)
            raise InputError(f"{file.name}, line {top}: column {column!r} is {state}, the columns are {names}")
    wanted = [(found.index(column), column, parse) for column, parse in columns.items()]

    def parse_rows(text: str) -> None:
        lines = text.split("\n")
        rows = list(map(fields_of, lines) if '"' in text else map(str.split, lines, repeat(",")))
        for width in set(map(len, rows)) - {len(found)}:
            raise InputError(f"it has {width} fields where the header has {len(found)}")
        texts = list(zip(*rows, strict=True))
        add(*(parse(column, texts[place]) for place, column, parse in wanted))

    lines = islice(file.lines(), 1, None)
    while batch := list(islice(lines, _BATCH)):
        try:
            parse_rows(text_of(b"".join(raw for _, raw in batch)))
        except InputError:
            each_line(file, bad, lambda _line, text: parse_rows(text), batch)

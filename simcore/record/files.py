"""Columns of numbers in files, one a column: one process appends rows, and others map what is there."""

import mmap
import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ColumnFiles:
    """A table that need not fit into memory. Files are called TABLE.COLUMN.

    It can be pickled: whoever gets it reads the same files. What has been opened can be read after the files are gone.
    """

    def __init__(self, folder: Path, table: str, types: Mapping[str, type], *, write: bool = False) -> None:
        """With `write`, the files begin empty. Raises OSError."""
        self._folder, self._table, self._write = folder, table, write
        self._types = {name: np.dtype(kind) for name, kind in types.items()}
        self._length = 0
        self._open()

    def _open(self) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND if self._write else os.O_RDONLY
        flags |= getattr(os, "O_BINARY", 0)
        self._files: dict[str, int] = {}
        self._maps: dict[str, NDArray[Any]] = {}
        for name in self._types:
            file = os.open(self._folder / f"{self._table}.{name}", flags, 0o600)
            self._files[name] = file
            weakref.finalize(self, os.close, file)

    def __getstate__(self) -> dict[str, Any]:
        kept = ("_folder", "_table", "_types", "_length")
        return {name: getattr(self, name) for name in kept} | {"_write": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._types)

    def __getitem__(self, name: str) -> NDArray[Any]:
        """[rows] a column. It is mapped, not copied, and cannot be written to."""
        column = self._maps.get(name)
        if column is None or len(column) < self._length:
            kind = self._types[name]
            if not self._length:
                return np.empty(0, kind)
            memory = mmap.mmap(self._files[name], self._length * kind.itemsize, access=mmap.ACCESS_READ)
            column = self._maps[name] = np.frombuffer(memory, kind)
        return column[: self._length]

    def append(self, columns: Mapping[str, NDArray[Any]]) -> None:
        """Add rows. Raises OSError, for want of room on the disk above all."""
        for name, kind in self._types.items():
            column = columns[name]
            content = memoryview(column.astype(kind).tobytes())
            while content:
                content = content[os.write(self._files[name], content) :]
        self._length += len(column)

    def follow(self, rows: int) -> None:
        """The files have so many rows by now, which somebody else has written."""
        self._length = rows

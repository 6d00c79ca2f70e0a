"""A table of whole numbers that grows a row at a time, quickly and in little memory."""

from struct import Struct, error

import numpy as np
from numpy.typing import NDArray

from simcore.record.files import ColumnFiles


class Rows:
    """Rows of 64-bit integers, 8 bytes each."""

    def __init__(self, width: int) -> None:
        self._pack = Struct(f"{width}q").pack
        self._cells = bytearray()
        self._width = width
        self._files: ColumnFiles | None = None
        self._names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return self._flushed + len(self._cells) // (8 * self._width)

    @property
    def _flushed(self) -> int:
        return 0 if self._files is None else len(self._files)

    def append(self, *values: int) -> None:
        """Add a row. Raises OverflowError for a number beyond 64 bits."""
        try:
            self._cells += self._pack(*values)
        except error as problem:
            raise OverflowError(str(problem)) from None

    def keep_in(self, files: ColumnFiles, names: tuple[str, ...]) -> None:
        """From now on `flush` moves the rows from memory to files, as columns that are called so."""
        self._files, self._names = files, names

    def flush(self) -> None:
        """Move the rows that are in memory to the files. Raises OSError."""
        if self._files is not None and self._cells:
            cells, self._cells = self._cells, bytearray()
            self._files.append(dict(zip(self._names, self._there(cells).T, strict=True)))

    def _there(self, cells: bytearray) -> NDArray[np.int64]:
        return np.frombuffer(cells, np.int64).reshape(-1, self._width)

    def table(self, first: int = 0) -> NDArray[np.int64]:
        """[rows, width] a copy of the rows from `first` on."""
        if self._files is None or first >= self._flushed:
            return self._there(self._cells)[first - self._flushed :].copy()
        self.flush()
        return np.stack([self._files[name][first:] for name in self._names], axis=1).astype(np.int64, copy=False)

    def columns(self, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """The rows as columns, which are given names: copies, or views of the files."""
        if self._files is None:
            return {name: column.copy() for name, column in zip(names, self._there(self._cells).T, strict=True)}
        self.flush()
        files = self._files
        return {name: files[own].astype(np.int64, copy=False) for name, own in zip(names, self._names, strict=True)}

    def take(self, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """The same, and no row is left: a large table is not held twice."""
        columns = self.columns(names)
        self._cells, self._files = bytearray(), None
        return columns

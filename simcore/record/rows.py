"""A table of whole numbers that grows a row at a time, quickly and in little memory."""

from struct import Struct, error

import numpy as np
from numpy.typing import NDArray


class Rows:
    """Rows of 64-bit integers, 8 bytes each."""

    def __init__(self, width: int) -> None:
        self._pack = Struct(f"{width}q").pack
        self._cells = bytearray()
        self._width = width

    def __len__(self) -> int:
        return len(self._cells) // (8 * self._width)

    def append(self, *values: int) -> None:
        """Add a row. Raises OverflowError for a number beyond 64 bits."""
        try:
            self._cells += self._pack(*values)
        except error as problem:
            raise OverflowError(str(problem)) from None

    def table(self, first: int = 0) -> NDArray[np.int64]:
        """[rows, width] a copy of the rows from `first` on."""
        return np.frombuffer(self._cells, np.int64)[first * self._width :].reshape(-1, self._width).copy()

    def columns(self, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """A copy of the rows as columns, which are given names."""
        cells = np.frombuffer(self._cells, np.int64).reshape(-1, self._width)
        return {name: column.copy() for name, column in zip(names, cells.T, strict=True)}

    def take(self, names: tuple[str, ...]) -> dict[str, NDArray[np.int64]]:
        """The same, and no row is left: a large table is not held twice."""
        columns, self._cells = self.columns(names), bytearray()
        return columns

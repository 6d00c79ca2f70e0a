"""A table that grows a row at a time."""

import pytest

from simcore.record.rows import Rows


def test_rows_come_out_as_they_went_in() -> None:
    rows = Rows(2)
    assert rows.table().shape == (0, 2)
    for row in ((1, -1), (2**63 - 1, -(2**63)), (3, 0)):
        rows.append(*row)
    assert len(rows) == 3
    assert rows.table().tolist() == [[1, -1], [2**63 - 1, -(2**63)], [3, 0]]
    assert rows.table(first=2).tolist() == [[3, 0]]
    assert {name: column.tolist() for name, column in rows.columns(("a", "b")).items()} == {
        "a": [1, 2**63 - 1, 3],
        "b": [-1, -(2**63), 0],
    }


def test_a_copy_is_not_the_table() -> None:
    rows = Rows(1)
    rows.append(7)
    rows.columns(("a",))["a"][0] = 8
    rows.append(9)  # what was handed out does not keep it from growing
    assert rows.take(("a",))["a"].tolist() == [7, 9]
    assert len(rows) == 0
    assert rows.columns(("a",))["a"].tolist() == []


def test_a_number_beyond_64_bits_is_no_row() -> None:
    rows = Rows(2)
    with pytest.raises(OverflowError):
        rows.append(1, 2**63)
    assert len(rows) == 0

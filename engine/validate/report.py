"""What a validation says: a row a check, with its verdict, and one for all."""

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Kind = Literal["equal", "answers", "time"]


@dataclass(frozen=True, slots=True)
class Row:
    """One check."""

    check: str
    kind: Kind
    """equal: to the last byte, token and block; answers: what the model says; time: a prediction"""
    predicted: float
    measured: float
    unit: str
    error: float
    """equal: the largest difference in any step; answers: the largest of all; time: relative to what was measured"""
    bound: float
    """the largest `error` that is good"""

    @property
    def ok(self) -> bool:
        """Whether the error is within its bound; NaN never is."""
        return bool(self.error <= self.bound)


@dataclass(slots=True)
class Report:
    """All rows, and how the run came about."""

    rows: list[Row]
    notes: list[str]
    """what was changed of the scenario so that both sides could run it, and what measured what"""
    steps: dict[str, NDArray[Any]] = field(default_factory=dict)
    """columns of [steps]: theory and reality over time"""

    def ok(self, *, strict_time: bool = False) -> bool:
        """The verdict. Time decides only if it is asked to: a busy machine is no wrong simulator."""
        return all(row.ok for row in self.rows if row.kind != "time" or strict_time)

    def to_json(self, *, strict_time: bool = False) -> dict[str, Any]:
        """`{verdict, rows, notes}`; numbers that are none become null."""
        rows = [asdict(row) | {"ok": row.ok} for row in self.rows]
        for row in rows:
            for name in ("predicted", "measured", "error"):
                row[name] = row[name] if np.isfinite(row[name]) else None
        return {"verdict": "ok" if self.ok(strict_time=strict_time) else "failed", "rows": rows, "notes": self.notes}


def equal(check: str, predicted: Any, measured: Any, unit: str) -> Row:
    """A row for two numbers, or columns of [steps], that have to be the same everywhere; of columns the sums show."""
    theory, reality = np.atleast_1d(np.asarray(predicted)), np.atleast_1d(np.asarray(measured))
    if theory.shape == reality.shape:
        error = float(np.abs(theory.astype(float) - reality.astype(float)).max(initial=0))
    else:
        error = float("inf")
    return Row(check, "equal", float(theory.sum()), float(reality.sum()), unit, error, 0.0)


def off(predicted: float, measured: float) -> float:
    """The relative error of a prediction, without its sign."""
    if predicted == measured:
        return 0.0
    return abs(predicted - measured) / abs(measured) if measured else float("inf")

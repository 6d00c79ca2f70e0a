"""What a published table is compared in."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Row:
    """A published number beside ours."""

    name: str
    published: float
    ours: float
    bound: float | None
    """the largest difference that is accepted, in the same unit; None: the number is shown, and decides nothing"""
    unit: str
    relative: bool = False
    """whether difference and bound are better told as shares of the published number"""
    published_to: float | None = None
    """the other end of a range that was published; `published` is its low end"""
    interval: float | None = None
    """half the 95 % interval of ours, over replications"""
    assumptions: tuple[str, ...] = ()
    moved: dict[str, float] = field(default_factory=dict)
    """ours over what it is where an assumption is 10 % larger, minus 1, by the key of the assumption"""

    @property
    def difference(self) -> float:
        """Ours minus the published number, or minus the nearer end of the range; 0 within it."""
        nearest = self.published
        if self.published_to is not None:
            nearest = min(max(self.ours, self.published), self.published_to)
        return self.ours - nearest

    @property
    def ok(self) -> bool | None:
        """Whether the difference is accepted; None: it decides nothing."""
        return None if self.bound is None else abs(self.difference) <= self.bound

    def to_json(self) -> dict[str, object]:
        """The row of `kvscope reproduce --json`."""
        row: dict[str, object] = {
            "name": self.name,
            "published": self.published,
            "ours": self.ours,
            "difference": self.difference,
            "bound": self.bound,
            "ok": self.ok,
            "assumptions": list(self.assumptions),
            "unit": self.unit,
        }
        if self.published_to is not None:
            row["published_to"] = self.published_to
        if self.interval is not None:
            row["interval"] = self.interval
        if self.moved:
            row["moved"] = self.moved
        return row

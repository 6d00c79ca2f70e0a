"""Who watches an experiment run."""

from typing import Protocol


class Watcher(Protocol):
    """Hears how the runs get on, in the process that asked for them."""

    def planned(self, total: int, kept: int) -> None:
        """`total` more runs are wanted, of which `kept` were found in the store."""
        ...

    def finished(self, worker: str, cpu_s: float) -> None:
        """A worker (its name on its machine) is through with a run that took so many CPU seconds."""
        ...

    def retried(self, runs: int) -> None:
        """A worker died, and so many runs are begun again."""
        ...

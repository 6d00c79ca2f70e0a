"""A comparison as a job: asked for in the words of the command line, told of while it runs, and its tables."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from simcore.experiment import Experiment, Watcher, default_store, factor_of
from simcore.experiment.asked import levels_of
from simcore.scenario import Scenario

if TYPE_CHECKING:
    import polars as pl

    from simcore.experiment import Comparison


@dataclass(frozen=True, slots=True)
class Asked:
    """What to compare; plain texts, which a process of its own can be told."""

    scenario: str
    """as TOML, paths absolute"""
    factors: tuple[str, ...]
    """each as `--vary` has it: KEY=VALUE,VALUE"""
    replications: int
    baseline: str = ""
    """as `--baseline` has it; empty: the first setting"""
    warmup: float | str | None = None
    """s, or "mser5"; None: the scenario's own"""
    confidence: float = 0.95
    jobs: int | None = None
    """processes; None: one for each core"""
    keep: bool = True
    """take finished runs from the store of runs, and keep them there"""

    @property
    def command(self) -> str:
        """The command that asks the same, of the scenario as it was saved with the report."""
        words = [f"--vary {quote(text)}" for text in self.factors] + [f"--replications {self.replications}"]
        words += [f"--baseline {quote(self.baseline)}"] if self.baseline else []
        words += [f"--warmup {self.warmup}"] if self.warmup is not None else []
        return " ".join(("kvscope compare scenario.toml", *words))

    def experiment(self) -> Experiment:
        """Raises InputError."""
        return Experiment(
            Scenario.from_toml(self.scenario, Path()),
            tuple(factor_of(text) for text in self.factors),
            self.replications,
            levels_of([self.baseline]) if self.baseline else None,
            self.warmup,
            self.confidence,
        )


@dataclass(frozen=True, slots=True)
class Planned:
    """So many runs are wanted, and so many of them were known."""

    total: int
    kept: int


@dataclass(frozen=True, slots=True)
class Finished:
    """A worker is through with a run."""

    worker: str
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Retried:
    """A worker died, and so many runs are begun again."""

    runs: int


@dataclass(frozen=True, slots=True)
class Tables:
    """What a comparison is made of, besides its experiment."""

    runs: "pl.DataFrame"
    samples: "pl.DataFrame"
    latencies: "pl.DataFrame"

    def of(self, experiment: Experiment) -> "Comparison":
        """The comparison; the experiment is that of the same question."""
        from simcore.experiment import Comparison

        return Comparison(experiment, self.runs, self.samples, self.latencies)


class _Teller(Watcher):
    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell

    def planned(self, total: int, kept: int) -> None:
        self._tell(Planned(total, kept))

    def finished(self, worker: str, cpu_s: float) -> None:
        self._tell(Finished(worker, cpu_s))

    def retried(self, runs: int) -> None:
        self._tell(Retried(runs))


def compare(tell: Callable[[object], None], asked: Asked) -> Tables:
    """Run it on this machine; `tell` is given Planned, Finished and Retried. Raises InputError."""
    from simcore.experiment.comparison import run

    store = default_store() if asked.keep else None
    found = run(asked.experiment(), jobs=asked.jobs, store=store, progress=_Teller(tell))
    return Tables(found.runs, found.samples, found.latencies)


def report(tell: Callable[[object], None], asked: Asked, tables: Tables, folder: Path) -> Path:
    """Write all that `kvscope compare --out` writes, and return where. Raises InputError."""
    from simcore.export.report import write

    tell("drawing charts")
    return write(tables.of(asked.experiment()), folder, command=asked.command)

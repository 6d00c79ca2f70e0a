"""A validation as a job: the engine's run, told of while it goes on, its verdict, and its folder of results.

torch is imported where it is used: the window that waits for this never loads it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.export.folder import OutputFolder, about_this_run, write_json, write_parquet
from simcore.scenario import Scenario

if TYPE_CHECKING:
    from engine.checkpoint import Checkpoint
    from engine.validate import Report
    from engine.validate.run import Moment, Prepared
    from simcore.scenario.calibration import Calibration

FILES = (
    "scenario.toml",
    "validation.json",
    "steps.parquet",
    "memory.png",
    "report.html",
    "calibration.toml",
    "run.json",
)
"""All that its folder may come to hold; run.json comes last."""
PACKAGES = ("kvscope", "torch", "numpy", "safetensors")
SHIPPED = ("small-gqa", "small-mha", "small-mqa")
"""The models that come along; the first is the one to take without a choice."""
EXTRA = {"torch", "safetensors", "tokenizers", "jinja2"}
"""What the extra `engine` brings."""
TELL_EVERY = 0.1
"""s between two messages."""
SPEAKERS, LAST_TOKENS = 5, 24
"""So many sequences show their latest tokens, so many of each."""
MISSING = "is not installed; pip install -e '.[engine]' in KVScope's folder brings all that models need"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to validate, and on what.

    On the CPU one thread runs it, and steps take what that thread works: the window beside it is at work too.
    """

    scenario: str
    """as TOML, paths absolute: a scenario's classes are made when policies are known, and cannot be pickled"""
    model: str = SHIPPED[0]
    """one that comes along, or a folder in Hugging Face's layout"""
    device: str = "cpu"
    dtype: str | None = None
    """as config.json says without one"""
    times: bool = True
    """measure a calibration first, and predict times with it"""
    keep: bool = False
    """write everything into a new folder, results/validate-NAME-1, -2, and so on"""


@dataclass(slots=True)
class Begun:
    """The run begins, and this is what it runs."""

    model: str
    requests: int
    block_bytes: int
    token_bytes: int
    pool_blocks: int


@dataclass(slots=True)
class Seen:
    """The steps since the last message, as columns of [steps], and what is being said."""

    columns: dict[str, NDArray[Any]]
    """step, t (s), seconds, predicted_blocks, predicted_tokens, blocks, tokens, pushed: see `engine.validate.run`"""
    said: list[tuple[str, str]]
    """of some running sequences, the request's id and the latest tokens as text"""


@dataclass(slots=True)
class Verdict:
    """The report without its objects: plain values, and the folder that holds all of it."""

    ok: bool
    rows: list[dict[str, Any]]
    """as in validation.json"""
    notes: list[str]
    steps: dict[str, NDArray[Any]] = field(default_factory=dict)
    folder: Path | None = None


def validate(tell: Callable[[object], None], wanted: Wanted) -> Verdict:
    """Run both sides and compare them; `tell` is given a sentence, then `Begun`, then `Seen` now and then.

    Raises InputError where the scenario or the model cannot be run, or torch is
    not installed.
    """
    try:
        return _validate(tell, wanted)
    except ModuleNotFoundError as error:
        if error.name not in EXTRA:
            raise
        raise InputError(f"{error.name} {MISSING}") from None


def _validate(tell: Callable[[object], None], wanted: Wanted) -> Verdict:
    tell("loading torch and the model")
    import torch

    from engine.checkpoint import find, load
    from engine.validate import validate as compare
    from engine.validate.calibrate import Clock, calibrate
    from engine.validate.run import prepare
    from simcore.geometry import block_bytes, token_bytes

    clock: Clock = "cpu" if wanted.device == "cpu" else "wall"
    if clock == "cpu":
        torch.set_num_threads(1)
    loaded = load(find(wanted.model), dtype=wanted.dtype, device=wanted.device)
    scenario = Scenario.from_toml(wanted.scenario, Path())
    prepared = prepare(scenario, loaded)
    known = None
    if wanted.times:
        tell("measuring steps, to predict their times")
        scheduler = prepared.scenario.scheduler
        known, _ = calibrate(
            loaded.model,
            name=loaded.folder.name,
            blocks=prepared.blocks,
            block_size=prepared.scenario.memory.block_size,
            max_rows=scheduler.max_num_seqs,
            max_tokens=scheduler.max_num_batched_tokens,
            max_model_len=prepared.scenario.max_model_len,
            clock=clock,
        )
    model = prepared.scenario.model.resolve()
    size = prepared.scenario.memory.block_size
    tell(
        Begun(
            loaded.folder.name,
            len(prepared.workload),
            block_bytes(model, size),
            token_bytes(model),
            prepared.blocks,
        )
    )
    teller = _Teller(tell, prepared, loaded)
    report = compare(prepared, loaded, known, clock=clock, watch=teller.watch)
    teller.send()
    folder = None
    if wanted.keep:
        with OutputFolder(None, f"validate-{scenario.name}", FILES) as target:
            title = f"{scenario.name} on {loaded.folder.name}, {wanted.device}"
            with target.filled() as place:
                write(place, report, prepared, known, title)
            folder = target.publish()
    document = report.to_json()
    return Verdict(report.ok(), document["rows"], report.notes, report.steps, folder)


def write(
    place: Path,
    report: "Report",
    prepared: "Prepared",
    calibration: "Calibration | None",
    title: str,
    *,
    strict_time: bool = False,
) -> None:
    """All files of a validation, into a folder that is there."""
    import polars as pl

    from engine.validate.charts import memory_chart, page

    chart = memory_chart(report) if report.steps else None  # none of a plan that nobody could carry out
    (place / "scenario.toml").write_text(prepared.scenario.to_toml(), encoding="utf-8", newline="\n")
    write_json(place / "validation.json", report.to_json(strict_time=strict_time))
    write_parquet(place / "steps.parquet", pl.DataFrame(report.steps))
    if chart is not None:
        (place / "memory.png").write_bytes(chart)
    text = page(report, title, chart, strict_time=strict_time)
    (place / "report.html").write_text(text, encoding="utf-8", newline="\n")
    if calibration is not None:
        (place / "calibration.toml").write_text(calibration.to_toml(), encoding="utf-8", newline="\n")
    write_json(place / "run.json", about_this_run(PACKAGES))


class _Teller:
    """Gathers steps, and tells of them a few times a second."""

    NAMES = ("step", "t", "seconds", "predicted_blocks", "predicted_tokens", "blocks", "tokens", "pushed")

    def __init__(self, tell: Callable[[object], None], prepared: "Prepared", loaded: "Checkpoint") -> None:
        self._tell, self._workload, self._tokenizer = tell, prepared.workload, loaded.tokenizer
        self._rows: list[tuple[float, ...]] = []
        self._said: list[tuple[str, str]] = []
        self._next = 0.0

    def watch(self, moment: "Moment") -> None:
        """One step of the engine."""
        self._rows.append(tuple(getattr(moment, name) for name in self.NAMES))
        if time.monotonic() >= self._next:
            self._said = self._sayings(moment)
            self.send()

    def send(self) -> None:
        """All that was gathered."""
        if self._rows:
            table = np.array(self._rows).T
            columns = {name: column.copy() for name, column in zip(self.NAMES, table, strict=True)}
            self._tell(Seen(columns, self._said))
        self._rows = []
        self._next = time.monotonic() + TELL_EVERY

    def _sayings(self, moment: "Moment") -> list[tuple[str, str]]:
        found = []
        for row, branch in moment.executor.sampled[:SPEAKERS]:
            drawn = moment.executor.texts[row, branch].drawn[-LAST_TOKENS:]
            text = self._tokenizer.decode(drawn) if self._tokenizer else " ".join(map(str, drawn))
            found.append((self._workload.id_of(row), text))
        return found

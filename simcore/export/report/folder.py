"""The report of a comparison as a folder, written whole or not at all."""

import csv
import io
import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from simcore.errors import InputError
from simcore.export.charts import picture
from simcore.export.folder import OutputFolder, about_this_run, write_json, write_parquet
from simcore.export.report.charts import Chart
from simcore.export.report.numbers import chance, signed, span
from simcore.export.report.overview import overview
from simcore.export.report.page import inline_svg
from simcore.export.report.stored import read_json
from simcore.export.report.tables import latex, markdown
from simcore.export.report.view import View, policy_files, policy_options

if TYPE_CHECKING:
    import polars as pl

    from simcore.experiment import Comparison

RUNS, SAMPLES, LATENCIES = "results.parquet", "samples.parquet", "latencies.parquet"
DESIGN, SCENARIO = "experiment.toml", "scenario.toml"
LAST = "run.json"
"""With it the folder is complete; it lists all files."""
PACKAGES = ("kvscope", "numpy", "polars", "scipy", "matplotlib", "pydantic", "simpy")
PICTURES = ("svg", "png", "pdf")


class ReportFolder(OutputFolder):
    """Where a comparison goes: checked before time is spent on runs, filled when they are done."""

    def __init__(self, out: Path | None, name: str, *, force: bool = False) -> None:
        """See `OutputFolder`; with `force`, the files of an earlier report there are replaced, and others stay."""
        super().__init__(out, name, (LAST,), force=force)

    def write(
        self,
        comparison: "Comparison",
        *,
        command: str | None = None,
        block_maps: bool = True,
        metrics: Sequence[str] = (),
        about: dict[str, Any] | None = None,
    ) -> Path:
        """Write all files and return the folder. `command` is what a person types to repeat it all; None: what does so
        from the folder itself.

        `metrics`: names of those to show; none: the usual ones. The tables of numbers have all in any case.
        `about`: run.json of results that are reported again; it keeps when, where and by what they were made. With
        `block_maps`, replication 0 of some settings is played again for the pictures of their pools. Raises InputError
        where it cannot be written.
        """
        with self.filled() as place:
            fill(comparison, place, _about(comparison, command, metrics, about), block_maps=block_maps)
            written = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
        earlier = _listed(self._out) if self._out is not None else []
        self._files = (*dict.fromkeys(name for name in (*earlier, *written) if name != LAST), LAST)
        return self.publish()


def write(
    comparison: "Comparison",
    directory: str | Path,
    *,
    force: bool = False,
    command: str | None = None,
    block_maps: bool = True,
    metrics: Sequence[str] = (),
    about: dict[str, Any] | None = None,
) -> Path:
    """Write a comparison's results, charts and report into a folder that is new or empty, and return it.

    The folder comes to be whole or not at all. `force` lets the files of an earlier report be replaced; files that are
    not of a report stay. See `ReportFolder.write` and docs/reports.md. Raises InputError.
    """
    with ReportFolder(Path(directory), comparison.experiment.scenario.name, force=force) as folder:
        return folder.write(comparison, command=command, block_maps=block_maps, metrics=metrics, about=about)


def _about(
    comparison: "Comparison", command: str | None, metrics: Sequence[str], earlier: dict[str, Any] | None
) -> dict[str, Any]:
    """The contents of run.json: of the runs, not of the report, where it is made again."""
    now = {**about_this_run(PACKAGES), "cores": os.cpu_count()}
    now["command"] = command or shlex.join(["kvscope", "sweep", DESIGN, *policy_options(comparison.experiment)])
    now["metrics"] = list(metrics)
    now["policies"] = policy_files(comparison.experiment)
    kept = {name: earlier[name] for name in now if isinstance(earlier.get(name), type(now[name]))} if earlier else {}
    return {"kind": "comparison", **now, **kept, "policies": now["policies"]}


def fill(comparison: "Comparison", place: Path, about: dict[str, Any], *, block_maps: bool) -> None:
    """Write all files of a report into a folder. Raises OSError."""
    view = View(comparison, [name for name in about["metrics"] if isinstance(name, str)])
    (place / "charts").mkdir()
    (place / "scenarios").mkdir()
    (place / DESIGN).write_text(_design(view), encoding="utf-8", newline="\n")
    (place / SCENARIO).write_text(comparison.experiment.scenario.to_toml(), encoding="utf-8", newline="\n")
    for setting, name in zip(comparison.experiment.settings, view.scenario_files, strict=True):
        (place / name).write_text(setting.scenario.to_toml(), encoding="utf-8", newline="\n")
    for path, name in zip(comparison.experiment.policies, policy_files(comparison.experiment), strict=True):
        (place / name).parent.mkdir(exist_ok=True)
        (place / name).write_bytes(path.read_bytes())
    write_parquet(place / RUNS, comparison.runs)
    write_parquet(place / SAMPLES, comparison.samples)
    write_parquet(place / LATENCIES, comparison.latencies)
    _write_frame(place / "results.csv", comparison.runs)
    write_csv(
        place / "metrics.csv",
        ("name", "unit", "better", "help"),
        [(metric.name, metric.unit, metric.better, metric.help) for metric in view.metrics],
    )
    for name, frames in (("intervals.csv", view.intervals), ("paired.csv", view.paired), ("pooled.csv", view.pooled)):
        _write_frame(place / name, _joined(view, frames))
    _write_tables(place, view)

    def draw(chart: Chart) -> str:
        write_csv(place / "charts" / f"{chart.name}.csv", chart.columns, chart.rows)
        svg = b""
        for kind in PICTURES:
            content = picture(chart.figure, kind, chart.name)
            (place / "charts" / f"{chart.name}.{kind}").write_bytes(content)
            svg = content if kind == "svg" else svg
        return inline_svg(svg, chart)

    html = overview(view, draw, about, block_maps=block_maps).html()
    (place / "report.html").write_text(html, encoding="utf-8", newline="\n")
    files = sorted(path.relative_to(place).as_posix() for path in place.rglob("*") if path.is_file())
    write_json(place / LAST, {**about, "files": [*files, LAST]})


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table as CSV; None is an empty cell. Raises OSError."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    path.write_text(buffer.getvalue(), encoding="utf-8", newline="\n")


def _design(view: View) -> str:
    """An experiment as TOML; its scenario is in a file of its own."""
    import tomli_w

    experiment = view.experiment
    design: dict[str, Any] = {
        "scenario": SCENARIO,
        "replications": experiment.replications,
        "confidence": experiment.confidence,
    }
    if experiment.warmup is not None:
        design["warmup"] = experiment.warmup
    if experiment.baseline:
        design["baseline"] = dict(experiment.baseline)
    if experiment.windows:
        design["windows"] = True
    design["factors"] = {factor.key: list(factor.values) for factor in experiment.factors}
    return tomli_w.dumps(design)


def _listed(out: Path) -> list[str]:
    """Files of an earlier report in a folder, as its run.json lists them; nothing that lies outside of it."""
    try:
        names = read_json(out / LAST).get("files", [])
    except InputError:
        return []
    if not isinstance(names, list):
        return []
    paths = [PurePosixPath(name) for name in names if isinstance(name, str)]
    return [str(path) for path in paths if not path.is_absolute() and ".." not in path.parts and str(path) != LAST]


def _joined(view: View, frames: "dict[str, pl.DataFrame]") -> "pl.DataFrame":
    """One table of all metrics, with the metric's name and unit in front."""
    import polars as pl

    parts = [
        frame.select(pl.lit(name).alias("metric"), pl.lit(view.by_name[name].unit).alias("unit"), pl.all())
        for name, frame in frames.items()
    ]
    return pl.concat(parts, how="vertical_relaxed") if parts else pl.DataFrame({"metric": [], "unit": []})


def _write_frame(path: Path, frame: "pl.DataFrame") -> None:
    path.write_bytes(frame.write_csv().encode("utf-8"))


def _write_tables(place: Path, view: View) -> None:
    experiment = view.experiment
    if not view.headline:
        for name in ("tables.md", "tables.tex"):
            (place / name).write_text("", encoding="utf-8")
        return
    columns, rows = view.headline_table()
    means = (
        f"Means of {experiment.replications} replications on {experiment.scenario.name}, with half the width of their "
        f"{experiment.confidence:.0%} intervals."
    )
    differences = f"Paired differences from the baseline, {experiment.confidence:.0%} intervals, Holm-adjusted p."
    heads = ["metric", "setting", "difference", "interval", "p", "verdict"]
    paired = [
        [metric.name, row["label"], signed(row["difference"], row["low"], row["high"]), span(row["low"], row["high"]),
         chance(row, "p_adjusted"), row["verdict"]]
        for metric in view.headline
        for row in view.paired[metric.name].iter_rows(named=True)
    ]  # fmt: skip
    text = markdown(means, columns, rows) + "\n" + markdown(differences, heads, paired)
    (place / "tables.md").write_text(text, encoding="utf-8", newline="\n")
    tex = (
        "% needs \\usepackage{booktabs}\n"
        + latex(means, "tab:means", columns, rows)
        + "\n"
        + latex(differences, "tab:paired", heads, paired)
    )
    (place / "tables.tex").write_text(tex, encoding="utf-8", newline="\n")

"""`kvscope overlay`: what a server was measured to do, laid over a simulation of the same requests."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.options import AsJson, Overrides
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from app.cli.simulate import load_scenario
from app.cli.tables import LATENCIES, print_differences
from simcore.export.charts import Line, chart_files, line_chart

if TYPE_CHECKING:
    from simcore.workload.columns import Floats

COLUMNS = ("metric", "q", "measured_s", "simulated_s")
QUANTILES = 200


def overlay(
    benchmark: Annotated[
        Path, typer.Argument(parser=path_of, metavar="BENCH.json", help="What vllm bench serve --save-detailed wrote.")
    ],
    scenario: Annotated[str, typer.Option(help="The scenario whose setting the server has, by file or name.")],
    metrics: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="SCRAPE", help="The text of the server's /metrics.")
    ] = None,
    overrides: Overrides = None,
    chart: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Draw the distributions: .svg or .png, and a .csv beside."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE.csv", help="Write the distributions as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate the requests of a server's benchmark, and compare what was measured."""
    import numpy as np

    from simcore.experiment.measured import METRICS, differences, read_benchmark, read_scrape, simulated_samples
    from simcore.record.recorder import FINISHED
    from simcore.scenario.calibration import Calibration
    from simcore.simulation import simulate

    loaded = load_scenario(scenario, list(overrides or ()))
    known = None if loaded.timing.calibration is None else Calibration.load(loaded.timing.calibration)
    delay = 0.0 if known is None else known.delay
    with chart_files(chart, out, [benchmark, *([metrics] if metrics else [])]) as files:
        measured = read_benchmark(benchmark)
        scrape = None if metrics is None else read_scrape(metrics)
        results = simulate(loaded, workload=measured.workload)
        finished = results.record.requests["status"] == FINISHED
        rows = differences(measured, results, scrape=scrape, delay=delay)
        server, here = measured.samples(finished), simulated_samples(results, finished, delay)
        shares = np.linspace(0, 1, QUANTILES + 1)
        curves = {
            name: (np.quantile(server[name], shares), np.quantile(here[name], shares))
            for name in METRICS
            if len(server[name]) and len(here[name])
        }
        table = ((name, q, *pair) for name, both in curves.items() for q, *pair in zip(shares, *both, strict=True))
        files.write(COLUMNS, ([row[0], *map(float, row[1:])] for row in table))
        if chart is not None:
            panels = {LATENCIES[name]: _lines(*both, shares) for name, both in curves.items()}
            files.draw(line_chart(panels, x="s", y="share of them that took no longer", title=loaded.name, steps=True))
    if as_json:
        print_json([row.as_json() for row in rows])
        return
    for note in measured.notes:
        mention(f"{measured.name}: {note}", err=True)
    if known is not None:
        mention(f"timing by {loaded.timing.calibration}: {known.software or known.device}")
    if delay:
        mention(f"{delay * 1000:.1f} ms between client and server are added to the simulated first tokens")
    if left := len(finished) - int(finished.sum()):
        mention(f"{left:,} requests were answered by the server and not in the simulation; they are left out", err=True)
    print_differences(f"{len(finished):,} requests of {measured.name}", rows)


def _lines(measured: "Floats", simulated: "Floats", shares: "Floats") -> list[Line]:
    """Distribution functions; the axis of times is logarithmic, so none is shown before a microsecond."""
    return [
        Line("measured", measured.clip(1e-6).tolist(), shares.tolist()),
        Line("simulated", simulated.clip(1e-6).tolist(), shares.tolist(), dashed=True),
    ]

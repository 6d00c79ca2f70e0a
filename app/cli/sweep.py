"""`kvscope sweep`: many settings, and the highest rate that keeps an objective."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.experiments import (
    CONFIDENCE,
    Baseline,
    Cluster,
    Confidence,
    Jobs,
    Metrics,
    NoStore,
    Out,
    Progress,
    StoreFolder,
    Warmup,
    Windows,
    carry_out,
    describe,
    experiment_of,
    metrics_of,
    scenario_of,
    store_of,
    warmup_of,
    with_bounds,
)
from app.cli.options import AsJson, Force, Overrides, PlayTrace
from app.cli.output import mention, print_json
from app.cli.policies import Policies
from app.cli.tables import print_whole
from simcore.errors import InputError

if TYPE_CHECKING:
    from simcore.experiment import Condition, Experiment, Goodput
    from simcore.scenario import Scenario


def sweep(
    scenario: Annotated[
        str, typer.Argument(help="An experiment's TOML file, a scenario's TOML file, or the name of a preset.")
    ] = "default",
    vary: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUES", help="Values V1,V2; a range FIRST:LAST:STEP; or log:FIRST:LAST:COUNT."),
    ] = None,
    until: Annotated[
        list[str] | None,
        typer.Option(metavar="CONDITION", help='Find the highest rate that keeps this: "ttft.p99<500ms, e2e.p99<2s".'),
    ] = None,
    replications: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Runs of each setting; without it 10, or as the file says.")
    ] = None,
    baseline: Baseline = None,
    overrides: Overrides = None,
    trace: PlayTrace = None,
    policies: Policies = None,
    warmup: Warmup = None,
    windows: Windows = False,
    metric: Metrics = None,
    confidence: Confidence = None,
    tolerance: Annotated[
        float, typer.Option(min=0.001, max=1.0, help="How narrowly a rate is searched, as a share of it.")
    ] = 0.02,
    jobs: Jobs = None,
    cluster: Cluster = None,
    store: StoreFolder = None,
    no_store: NoStore = False,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Run a grid of settings; with --until, find the highest rate of arrivals that each of them bears."""
    from dataclasses import replace

    from simcore.experiment import conditions_of, factor_of, highest_rates, read_experiment
    from simcore.experiment.asked import is_experiment, levels_of

    factors = tuple(factor_of(text) for text in vary or ())
    asked = metrics_of(metric)
    conditions = [condition for text in until or () for condition in conditions_of(text, "--until")]
    changes = list(overrides or ())
    if os.path.isfile(scenario) and is_experiment(Path(scenario)):

        def load(name: str, chosen: list[str]) -> "Scenario":
            return scenario_of(name, [*chosen, *changes], trace, policies, [factor.key for factor in factors])

        file = read_experiment(Path(scenario), load)
        varied = [factor.key for factor in factors]
        kept = tuple(factor for factor in file.experiment.factors if factor.key not in varied)
        asked = asked if asked is not None else list(file.metrics) or None
        conditions = conditions or list(file.until)
        given: dict[str, Any] = {
            "factors": kept + factors,
            "policies": tuple(policies or ()),
            "replications": replications,
            "baseline": levels_of(baseline) if baseline else None,
            "warmup": warmup_of(warmup),
            "confidence": confidence,
            "windows": windows or None,
        }
        experiment = replace(file.experiment, **{name: value for name, value in given.items() if value is not None})
    else:
        experiment = experiment_of(
            scenario,
            factors,
            changes,
            trace,
            policies,
            replications=replications or 10,
            baseline=baseline,
            warmup=warmup,
            confidence=confidence or CONFIDENCE,
            windows=windows,
        )
    if conditions and out is not None:
        raise InputError("--out writes a comparison, and --until finds a rate; leave one of them out")
    place = store_of(store, no_store)
    if conditions:
        progress = Progress(quiet=as_json, kept=place is not None)
        with progress.shown():
            found = highest_rates(
                experiment, conditions, tolerance=tolerance, jobs=jobs, cluster=cluster, store=place, progress=progress
            )
        if as_json:
            print_json(_rates_document(experiment, conditions, found))
        else:
            _print_rates(conditions, found)
            progress.mention_speed()
        return 0
    return carry_out(
        experiment,
        asked,
        paired=experiment.baseline is not None,
        jobs=jobs,
        cluster=cluster,
        store=place,
        out=out,
        force=force,
        as_json=as_json,
    )


def _rates_document(experiment: "Experiment", conditions: "list[Condition]", found: "list[Goodput]") -> dict[str, Any]:
    rates = [
        {
            "setting": each.setting.index,
            "label": each.setting.label,
            "rate": each.rate,
            "sure": each.sure,
            "broken": each.broken,
            "tried": each.tried.to_dicts(),
        }
        for each in found
    ]
    return {**describe(experiment), "until": [str(condition) for condition in conditions], "rates": rates}


def _print_rates(conditions: "list[Condition]", found: "list[Goodput]") -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    from simcore.experiment.goodput import HIGHEST, TRACE_KEY, rate_key

    names = list(dict.fromkeys(condition.metric for condition in conditions))
    for each in found:
        unit = "x the trace's speed" if rate_key(each.setting.scenario) == TRACE_KEY else "requests/s"
        numbers = ["rate", "runs", *(f"{metric.name} ({metric.unit})" for metric in names)]
        columns = (Column(name, justify="right", no_wrap=True) for name in numbers)
        table = Table(*columns, "verdict", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for row in each.tried.to_dicts():
            cells = [with_bounds(row[metric.name], row[f"{metric.name}.high"]) for metric in names]
            table.add_row(f"{row['rate']:g}", str(row["runs"]), *cells, row["verdict"])
        mention(each.setting.label)
        print_whole(table)
        if each.rate is None:
            mention(f"{each.setting.label}: no rate keeps {' and '.join(map(str, conditions))}")
            continue
        if each.rate >= HIGHEST:
            broken = f"breaks {' or '.join(map(str, conditions))}: the requests are too few to overload this server"
            mention(f"{each.setting.label}: no rate up to {HIGHEST:,.0f} {unit} {broken}")
            continue
        sure = f"surely kept up to {each.sure:g}" if each.sure else "surely kept at none that was tried"
        broken = f"surely broken from {each.broken:g} on" if each.broken else "surely broken at none that was tried"
        mention(f"{each.setting.label}: highest rate {each.rate:g} {unit} by the means; {sure}, {broken}")

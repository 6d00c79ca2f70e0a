"""`kvscope compare`: settings against a baseline, with replications."""

import os
from pathlib import Path
from typing import Annotated

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
    Replications,
    StoreFolder,
    Warmup,
    Windows,
    carry_out,
    experiment_of,
    metrics_of,
    store_of,
)
from app.cli.options import AsJson, Force, Overrides, PlayTrace
from app.cli.policies import Policies
from simcore.errors import InputError


def compare(
    scenario: Annotated[str, typer.Argument(help="A scenario's TOML file, or the name of a preset.")] = "default",
    vary: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=V1,V2",
            help="A key and the values that it takes; several: all combinations. Tables as TOML has them: "
            "'memory.eviction=lru,{ policy = \"s3-fifo\", small = 0.2 }'.",
        ),
    ] = None,
    replications: Replications = 10,
    baseline: Baseline = None,
    overrides: Overrides = None,
    trace: PlayTrace = None,
    policies: Policies = None,
    warmup: Warmup = None,
    windows: Windows = False,
    metric: Metrics = None,
    confidence: Confidence = None,
    jobs: Jobs = None,
    cluster: Cluster = None,
    store: StoreFolder = None,
    no_store: NoStore = False,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Run every setting several times on the same random numbers, and say which differences are real."""
    from simcore.experiment import factor_of
    from simcore.experiment.asked import is_experiment

    if os.path.isfile(scenario) and is_experiment(Path(scenario)):
        raise InputError(f"{scenario}: describes an experiment, which is run by kvscope sweep")
    factors = tuple(factor_of(text) for text in vary or ())
    asked = metrics_of(metric)
    experiment = experiment_of(
        scenario,
        factors,
        overrides,
        trace,
        policies,
        replications=replications,
        baseline=baseline,
        warmup=warmup,
        confidence=confidence or CONFIDENCE,
        windows=windows,
    )
    return carry_out(
        experiment,
        asked,
        paired=len(experiment.settings) > 1,
        jobs=jobs,
        cluster=cluster,
        store=store_of(store, no_store),
        out=out,
        force=force,
        as_json=as_json,
    )

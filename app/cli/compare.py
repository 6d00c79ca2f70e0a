"""`kvscope compare`: settings against a baseline, with replications."""

from typing import Annotated

import typer

from app.cli.experiments import (
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
    metrics_of,
    scenario_of,
    store_of,
    warmup_of,
)
from app.cli.options import AsJson, Force, Overrides, PlayTrace
from app.cli.policies import Policies


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
    confidence: Confidence = 0.95,
    jobs: Jobs = None,
    cluster: Cluster = None,
    store: StoreFolder = None,
    no_store: NoStore = False,
    out: Out = None,
    force: Force = False,
    as_json: AsJson = False,
) -> int:
    """Run every setting several times on the same random numbers, and say which differences are real."""
    from simcore.experiment import Experiment, factor_of
    from simcore.experiment.asked import levels_of

    factors = tuple(factor_of(text) for text in vary or ())
    asked = metrics_of(metric)
    experiment = Experiment(
        scenario_of(scenario, list(overrides or ()), trace, policies, [factor.key for factor in factors]),
        factors,
        replications,
        levels_of(baseline) if baseline else None,
        warmup_of(warmup),
        confidence,
        tuple(policies or ()),
        source="--vary",
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

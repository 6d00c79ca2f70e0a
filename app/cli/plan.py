"""`kvscope plan`: how much load a model on its hardware carries within limits on latency."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.experiments import Jobs
from app.cli.options import AsJson, Overrides
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from simcore.errors import InputError
from simcore.export.folder import replacing
from simcore.schema import shown

LONGEST_MEAN = 1_000_000
"""Tokens; of a distribution that ends at ten times as many."""
_LENGTHS = re.compile(r"(\d+)[:/](\d+)")


def plan(
    model: Annotated[str, typer.Option(help="A model's preset, or the path of a Hugging Face config.json.")],
    hardware: Annotated[str, typer.Option(help="A preset of hardware.")],
    workload: Annotated[
        str,
        typer.Option(help="A scenario (its workload), a trace, or mean lengths of prompt and output as in 600:200."),
    ],
    slo: Annotated[str, typer.Option(help="Limits, as in ttft.p99<0.5s,tpot.p99<50ms.")],
    count: Annotated[int, typer.Option(min=1, max=65_536, help="Devices that share the model.")] = 1,
    calibration: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE", help="What `kvscope calibrate` wrote.")
    ] = None,
    requests: Annotated[int, typer.Option(min=50, max=1_000_000, help="Requests of a run.")] = 2000,
    replications: Annotated[int, typer.Option(min=2, max=100, help="Runs with other draws, for the interval.")] = 3,
    fixed: Annotated[
        bool, typer.Option("--fixed", help="Keep the block size and the batch limits; do not look for better ones.")
    ] = False,
    overrides: Overrides = None,
    jobs: Jobs = None,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE.toml", help="Write the scenario that was found best.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find the highest rate within limits, the users held, the best setting, and what stands in the way."""
    import tomli_w

    from simcore.experiment.plan import limits_of, sentences
    from simcore.experiment.plan import plan as find
    from simcore.scenario import Scenario

    limits = limits_of(slo, "--slo")
    known = "config" if model.endswith(".json") else "preset"
    data: dict[str, Any] = {
        "name": "plan",
        "model": {known: model},
        "hardware": {"preset": hardware, "count": count},
        "workload": _workload(workload, requests),
    }
    if calibration is not None:
        data["timing"] = {"model": "calibrated", "calibration": str(calibration)}
    scenario = Scenario.from_toml(tomli_w.dumps(data), Path(), list(overrides or ()), source="plan")
    progress = (lambda _: None) if as_json else (lambda line: mention(line, err=True))
    with nullcontext() if out is None else replacing(out) as file:
        found = find(scenario, limits, replications=replications, improve=not fixed, jobs=jobs, progress=progress)
        if file is not None:
            file.write(found.scenario.to_toml())
    if as_json:
        print_json(found.as_json())
        return
    for sentence in sentences(found):
        typer.echo(sentence)
    if out is not None:
        typer.echo(f"scenario in {out}")


def _workload(text: str, requests: int) -> dict[str, Any]:
    """The section `[workload]` that is meant. Raises InputError."""
    path = path_of(text)
    if match := _LENGTHS.fullmatch(text):
        means = [int(mean) for mean in match.groups()]
        prompt, output = ({"distribution": "lognormal", "mean": mean, "cv": 1.0, "max": 10 * mean} for mean in means)
        if all(0 < mean <= LONGEST_MEAN for mean in means):
            return {"requests": requests, "prompt": prompt, "output": output}
    if match or (":" in text and not path.exists()):
        raise InputError(
            f"--workload is {shown(text)}, but mean lengths must be two whole numbers from 1 to {LONGEST_MEAN:,} "
            "(tokens), as in 600:200"
        )
    if path.suffix != ".toml" and (path.suffix or path.exists()):
        return {"trace": str(path), "limit": requests}
    from app.cli.simulate import load_scenario

    try:
        section = load_scenario(text, []).workload.model_dump(mode="json", exclude_none=True)
    except InputError as error:
        raise InputError(f"--workload: {error}") from None
    return section | ({"limit": requests} if "trace" in section else {"requests": requests})

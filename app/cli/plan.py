"""`kvscope plan`: how much load a model on its hardware carries within limits on latency."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.options import AsJson, Overrides
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from simcore.errors import InputError
from simcore.export.folder import replacing

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

    limits = limits_of(slo)
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
    if out is None:
        found = find(scenario, limits, replications=replications, improve=not fixed, progress=progress)
    else:
        with replacing(out) as file:
            found = find(scenario, limits, replications=replications, improve=not fixed, progress=progress)
            file.write(found.scenario.to_toml())
    if as_json:
        print_json(found.as_json())
        return
    for sentence in sentences(found):
        typer.echo(sentence)
    if out is not None:
        typer.echo(f"scenario in {out}")


def _workload(text: str, requests: int) -> dict[str, Any]:
    """The section `[workload]` that is meant."""
    if match := _LENGTHS.fullmatch(text):
        prompt, output = (
            {"distribution": "lognormal", "mean": float(mean), "cv": 1.0, "max": 10 * int(mean)}
            for mean in match.groups()
        )
        return {"requests": requests, "prompt": prompt, "output": output}
    path = path_of(text)
    if path.suffix != ".toml" and path.exists():
        return {"trace": str(path), "limit": requests}
    from app.cli.simulate import load_scenario

    try:
        section = load_scenario(text, []).workload.model_dump(mode="json", exclude_none=True)
    except InputError as error:
        raise InputError(f"--workload: {error}") from None
    return section | ({"limit": requests} if "trace" in section else {"requests": requests})

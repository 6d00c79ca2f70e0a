"""`kvscope calibrate`: measure how long a real engine's steps take, for the simulator to predict them."""

import json
from pathlib import Path
from typing import Annotated

import typer

from app.cli.engine import SHIPPED, CpuClock, Device, Dtype, Model, Threads, load_model, needs_engine
from app.cli.output import mention
from simcore.export.folder import replacing


@needs_engine()
def calibrate(
    out: Annotated[Path, typer.Option(help="The file to write, which `[timing] calibration` names.")] = Path(
        "calibration.toml"
    ),
    model: Model = SHIPPED,
    device: Device = "cpu",
    dtype: Dtype = None,
    blocks: Annotated[int, typer.Option(min=2, max=10_000_000, help="Blocks of the pool that steps read from.")] = 500,
    block_size: Annotated[int, typer.Option(min=1, max=65_536, help="Tokens that a block holds.")] = 16,
    max_num_seqs: Annotated[int, typer.Option(min=1, max=100_000, help="Rows of a step.")] = 128,
    max_num_batched_tokens: Annotated[int, typer.Option(min=1, max=1_000_000, help="Tokens of a step.")] = 2048,
    steps: Annotated[int, typer.Option(min=40, max=100_000, help="Steps to measure, each of them three times.")] = 240,
    seed: Annotated[int, typer.Option(min=0, help="Of the steps that are drawn.")] = 0,
    threads: Threads = 0,
    cpu_clock: CpuClock = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the coefficients as JSON and nothing else.")] = False,
) -> None:
    """Run random steps on a real model and fit a model of time to them."""
    import numpy as np

    from engine.validate.calibrate import calibrate as measure
    from engine.validate.run import expect_room

    loaded, clock = load_model(model, device, dtype, threads, cpu_clock)
    shape = loaded.shape
    expect_room(blocks * block_size * shape.token_bytes, loaded.model.embed.weight.device)
    with replacing(out) as file:  # where nothing can be written, no time is spent
        calibration, errors = measure(
            loaded.model,
            name=loaded.folder.name,
            blocks=blocks,
            block_size=block_size,
            max_rows=max_num_seqs,
            max_tokens=max_num_batched_tokens,
            max_model_len=shape.max_model_len,
            cases=steps,
            seed=seed,
            clock=clock,
        )
        file.write(calibration.to_toml())
    if as_json:
        typer.echo(json.dumps(calibration.model_dump(mode="json"), indent=2))
        return
    p50, p90 = np.quantile(errors, [0.5, 0.9]).tolist()
    mention(f"{calibration.model} on {calibration.device}, {calibration.software}")
    mention(f"errors of the fit on its own {steps} steps: mean {errors.mean():.1%}, p50 {p50:.1%}, p90 {p90:.1%}")
    typer.echo(f"calibration in {out}")

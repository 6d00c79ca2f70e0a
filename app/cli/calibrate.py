"""`kvscope calibrate`: how long a real engine's steps take, measured here or by a server's benchmark."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.engine import SHIPPED, CpuClock, Device, Dtype, Model, Threads, load_model, needs_engine
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from simcore.errors import InputError
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
    benchmarks: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            parser=path_of,
            metavar="BENCH.json",
            help="Fit to what vllm bench serve --save-detailed measured, in place of running a model; several are one.",
        ),
    ] = None,
    scenario: Annotated[
        str | None, typer.Option(help="With --from: the scenario whose model, hardware and scheduler the server has.")
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="SCRAPE", help="With --from: the text of the server's /metrics."),
    ] = None,
    hold_out: Annotated[
        list[Path] | None,
        typer.Option(
            parser=path_of, metavar="BENCH.json", help="With --from: test on this benchmark, and fit to all of --from."
        ),
    ] = None,
    share: Annotated[
        float, typer.Option(min=0.1, max=0.95, help="With --from: fit to this share of the requests, the first ones.")
    ] = 0.7,
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="With --from: override a scenario's key.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the coefficients as JSON and nothing else.")] = False,
) -> None:
    """Fit a model of time to random steps of a real model, or to what a vLLM server was measured to do."""
    if benchmarks:
        _calibrate_to(benchmarks, scenario, metrics, hold_out or [], share, overrides or [], out, as_json)
        return
    if scenario is not None or metrics is not None or hold_out:
        raise InputError("--scenario, --metrics and --hold-out go with --from, which names a server's benchmark")
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
        print_json(calibration.model_dump(mode="json"))
        return
    p50, p90 = np.quantile(errors, [0.5, 0.9]).tolist()
    mention(f"{calibration.model} on {calibration.device}, {calibration.software}")
    mention(f"errors of the fit on its own {steps} steps: mean {errors.mean():.1%}, p50 {p50:.1%}, p90 {p90:.1%}")
    typer.echo(f"calibration in {out}")


def _calibrate_to(
    benchmarks: list[Path],
    name: str | None,
    metrics: Path | None,
    hold_out: list[Path],
    share: float,
    overrides: list[str],
    out: Path,
    as_json: bool,
) -> None:
    from app.cli.simulate import load_scenario
    from app.cli.tables import print_differences
    from simcore.experiment.fit import fit
    from simcore.experiment.measured import read_benchmark, read_scrape

    if name is None:
        raise InputError("--from needs --scenario: the model, hardware and scheduler that the server was started with")
    if out.resolve() in {path.resolve() for path in (*benchmarks, *hold_out, *([metrics] if metrics else []))}:
        raise InputError(f"{out}: would be overwritten, and it is what is read; choose another name")
    fitted = {path.resolve() for path in benchmarks}
    if again := next((path for path in hold_out if path.resolve() in fitted), None):
        raise InputError(f"--hold-out is {again}, but that is what is fitted; it must be another benchmark")
    scenario = load_scenario(name, overrides)
    measured, tested = [read_benchmark(path) for path in benchmarks], [read_benchmark(path) for path in hold_out]
    for note in (f"{each.name}: {note}" for each in (*measured, *tested) for note in each.notes):
        mention(note, err=True)
    scrape = None if metrics is None else read_scrape(metrics)
    if scrape is not None and (scrape.hit_share or 0) > 0.01:
        mention(
            f"warning: the server hit {scrape.hit_share:.1%} of the tokens it looked up, and the benchmark does not "
            "say which; prompts are simulated as if only preempted requests found their own tokens again",
            err=True,
        )
    with replacing(out) as file:
        found = fit(
            scenario,
            measured,
            scrape=scrape,
            hold_out=tested,
            share=share,
            source="fitted to " + ", ".join(path.name for path in benchmarks),
        )
        file.write(found.calibration.to_toml())
    calibration = found.calibration
    if as_json:
        document = {
            "calibration": calibration.model_dump(mode="json"),
            "pool": found.pool,
            "error": found.error,
            "held_out_error": found.held_out_error,
            "held_out": {
                name: [each.as_json() for each in rows] for name, rows in zip(found.names, found.held_out, strict=True)
            },
        }
        print_json(document)
        return
    mention(f"{calibration.model} on {calibration.device}; pool of {calibration.blocks:,} blocks, {found.pool}")
    mention(f"{calibration.delay * 1000:.1f} ms between client and server, which no simulation has")
    mention(f"error of first tokens and of decoding, a request: {found.error:.1%} on the part that was fitted")
    mention(f"on load held out: {found.held_out_error:.1%}")
    for name, rows in zip(found.names, found.held_out, strict=True):
        print_differences(name, rows)
    typer.echo(f"calibration in {out}")

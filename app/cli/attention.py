"""`kvscope attention`: what attention takes in its forms, where memory ends, and what helps."""

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from app.cli.engine import Device, needs_engine
from app.cli.labs import print_table, shown
from app.cli.options import AsJson
from app.cli.output import mention, print_json
from app.cli.paths import path_of
from simcore.errors import InputError
from simcore.export.charts import chart_files
from simcore.geometry import GIB, KIB, MIB, as_binary

if TYPE_CHECKING:
    from engine.labs.attention import Row, Size
    from engine.labs.compare import Comparison
    from engine.labs.pruning import Pruned
    from engine.labs.remedies import Answers, Remedy
    from engine.meter import Clock, Times

CpuClock = Annotated[
    bool, typer.Option("--cpu-clock", help="Time by what the process worked: for a CPU that others use too.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the random numbers that are attended to.")]
app = typer.Typer(no_args_is_help=True)


@app.callback()
def _attention() -> None:
    """What attention takes in its forms, where memory ends, and what helps."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; two threads spin otherwise
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # or torch's profiler tells of its beginning and its end


@app.command()
def compare(
    tokens: Annotated[int, typer.Option(min=2, max=1 << 16, help="Of the sequence.")] = 128,
    dim: Annotated[int, typer.Option(min=1, max=4096, help="Elements of a query, key or value.")] = 64,
    block: Annotated[
        str, typer.Option(metavar="TOKENS|auto", help="Tokens of a block; auto: as many as --memory-limit allows.")
    ] = "32",
    memory_limit: Annotated[
        float | None, typer.Option(min=0, help="MiB for what paged and block-local attention take, with --block auto.")
    ] = None,
    backend: Annotated[
        Literal["numpy", "torch"], typer.Option(help="Which library computes: in float64, or in float32.")
    ] = "numpy",
    device: Device = "cpu",
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Times that each form is timed.")] = 30,
    seed: Seed = 0,
    chart: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Draw four plots: .svg or .png, and a .csv beside."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE.csv", help="Write what the plots show as CSV.")
    ] = None,
    cpu_clock: CpuClock = False,
    as_json: AsJson = False,
) -> None:
    """Standard, paged and block-local attention of one head: time, peak memory, memory per block, difference."""
    clock = _clock(cpu_clock, device)
    if block != "auto" and not (block.isascii() and block.isdecimal()):
        raise InputError(f'--block must be a whole number of tokens, or auto, not "{block}"')
    if memory_limit is not None and block != "auto":
        raise InputError("--memory-limit chooses a block, and --block gives one; leave one of them out")
    limit = None if memory_limit is None else _bytes(memory_limit, MIB)
    with needs_engine(), chart_files(chart, out) as files:
        from engine.labs import compare as lab
        from engine.labs.charts import COLUMNS, comparison_chart, comparison_rows

        chosen = None if block == "auto" else int(block)
        with shown("measured") as progress:
            found = lab.compare(
                tokens, dim, chosen, backend=backend, device=device, memory=limit, repeats=repeats, seed=seed,
                progress=progress,
            )  # fmt: skip
        files.write(COLUMNS, comparison_rows(found))
        if chart is not None:
            files.draw(comparison_chart(found))
    if as_json:
        print_json(_comparison(found))
        return
    if limit is not None:
        foreseen = lab.block_peak(tokens, dim, found.block, backend=backend)
        mention(f"the largest block that fits into {as_binary(limit)}: {as_binary(foreseen)} at most, by prediction")
    _print_comparison(found, clock)


def _comparison(found: "Comparison") -> dict[str, Any]:
    return {
        "tokens": found.tokens,
        "dim": found.dim,
        "block": found.block,
        "dtype": found.dtype,
        "machine": found.machine,
        "memory_tool": found.memory_tool,
        "forms": {
            form: {
                "seconds": _times(measured.timing.wall),
                "cpu_seconds": _times(measured.timing.cpu),
                "clock": measured.timing.tool,
                "peak_bytes": measured.peak,
                "saved": round(found.saved(form), 4),
                "block_bytes": measured.blocks,
                "difference": measured.difference,
            }
            for form, measured in found.forms.items()
        },
        "overlaps": [asdict(overlap) for overlap in found.overlaps],
        "pattern": found.pattern.tolist(),
    }


def _print_comparison(found: "Comparison", clock: "Clock") -> None:
    from engine.labs.compare import REPORTED_PEAKS, REPORTED_SAVED

    rows = []
    for form, measured in found.forms.items():
        times = measured.timing.by(clock)
        low, high = times.spread
        rows.append(
            (
                form,
                f"{times.median * 1e3:.3f}",
                f"{low * 1e3:.3f}-{high * 1e3:.3f}",
                f"{measured.peak / KIB:,.1f}",
                "" if form == "standard" else f"{-found.saved(form):.1%}",
                f"{max(measured.blocks) / KIB:,.1f}",
                f"{measured.difference:.1e}",
            )
        )
    mention(f"{found.tokens:,} tokens of {found.dim} elements, blocks of {found.block}, {found.dtype}, {found.machine}")
    print_table(("", "ms", "quartiles", "peak KiB", "", "a block's", "difference"), rows)
    mention(f"peak memory by {found.memory_tool}, besides q, k and v; the greatest difference from standard attention")
    if (found.tokens, found.dim, found.block, found.dtype) == (128, 64, 32, "float64"):
        mention(
            f"a report with these forms has {REPORTED_PEAKS[0]} and {REPORTED_PEAKS[1]} MB, {REPORTED_SAVED:.1%} less, "
            "for standard and for block-local attention, which it calls paged"
        )
    mention("\nBlock-local attention that looks beyond its block, on either side:")
    overlaps = [
        (f"{each.tokens:,}", f"{each.error:.3f}", f"{each.difference:.1e}", f"{each.peak / KIB:,.1f}")
        for each in found.overlaps
    ]
    print_table(("overlap", "relative error", "difference", "peak KiB"), overlaps)


@app.command()
def benchmark(
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Sequences.")] = 8,
    dims: Annotated[str, typer.Option(help="Elements of a query, key or value.")] = "16,32,64,128",
    lengths: Annotated[str, typer.Option(help="Tokens of a sequence.")] = "256,1024,4096,8192,16384",
    backward: Annotated[bool, typer.Option("--backward/--forward", help="With gradients, or without.")] = True,
    device: Device = "cpu",
    memory_limit: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="GiB that a row may take by prediction, or that the GPU of --predict has. Without it all that a GPU "
            "has, and on a CPU 4, or half of what is free.",
        ),
    ] = None,
    predict: Annotated[
        str | None, typer.Option(metavar="GPU", help="Measure nothing, and tell what this hardware preset would do.")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Passes that are timed at most.")] = 100,
    seconds: Annotated[float, typer.Option(min=0, help="After which a row is timed no more.")] = 3.0,
    cpu_clock: CpuClock = False,
    as_json: AsJson = False,
) -> None:
    """Standard attention forward and backward: times, memory before backward, and where memory ends."""
    clock = _clock(cpu_clock, device)
    limit = None if memory_limit is None else _bytes(memory_limit, GIB)
    with needs_engine():
        from engine.labs import attention as lab

        sizes = [
            lab.Size(batch, length, dim)
            for dim in _numbers("--dims", dims, 4096)
            for length in _numbers("--lengths", lengths, lab.MOST_TOKENS)
        ]
        reported = batch == lab.BATCH and predict is not None
        most: dict[int, int] = {}
        if predict is not None:
            like = _is_reported(predict)
            rows = lab.predict(predict, sizes, backward=backward, memory=limit, like_report=like)
            most = {
                dim: lab.longest(predict, batch, dim, backward=backward, memory=limit, like_report=like)
                for dim in dict.fromkeys(size.dim for size in sizes)
            }
            reported = reported and like
        else:
            with shown("measured") as progress:
                rows = list(
                    lab.benchmark(
                        sizes, device=device, backward=backward, limit=limit, repeats=repeats, seconds=seconds,
                        clock=clock, progress=progress,
                    )
                )  # fmt: skip
        if as_json:
            print_json([_row(row, reported, most.get(row.size.dim)) for row in rows])
        else:
            _print_rows(rows, backward, reported, most)


def _is_reported(name: str) -> bool:
    from engine.labs.attention import REPORTED_ON
    from simcore.scenario.presets import read_preset

    return bool(read_preset("hardware", name)["name"] == REPORTED_ON)


def _numbers(option: str, text: str, most: int) -> list[int]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdecimal() and 1 <= int(part) <= most for part in parts):
        raise InputError(f'{option} must be whole numbers from 1 to {most:,} with commas between them, not "{text}"')
    return [int(part) for part in parts]


def _row(row: "Row", reported: bool, most: int | None) -> dict[str, Any]:
    from engine.labs.attention import REPORTED, forward_terms

    size = row.size
    found = asdict(size) | {
        "status": row.status,
        "forward_seconds": _times(row.forward),
        "backward_seconds": _times(row.backward),
        "held_bytes": row.held or None,
        "peak_bytes": row.peak or None,
        "forward_terms": forward_terms(size),
        "note": row.note,
    }
    if most is not None:
        found["longest"] = most
    if reported:
        there = REPORTED.get((size.dim, size.length))
        found["reported"] = None if there is None else asdict(there)
    return found


def _print_rows(rows: "Sequence[Row]", backward: bool, reported: bool, most: dict[int, int]) -> None:
    from engine.labs.attention import REPORTED, backward_over_forward

    lines = []
    for row in rows:
        there = REPORTED.get((row.size.dim, row.size.length)) if reported else None
        line = [str(row.size.dim), f"{row.size.length:,}"]
        if not most:
            line += [_milliseconds(row.forward), *([_milliseconds(row.backward)] if backward else [])]
        line += [f"{row.held / MIB:,.1f}" if row.held else "-", f"{row.peak / MIB:,.1f}" if row.peak else "-"]
        if reported:
            line.append(f"{there.held:,.1f}" if there else "out of memory")
        lines.append((*line, row.status))
    names = ["dim", "length"]
    if not most:
        names += ["forward ms", *(["backward ms"] if backward else [])]
    names += ["MiB kept", "MiB at most", *(["the report"] if reported else []), ""]
    print_table(names, lines, (len(names) - 1,))
    mention("kept: before backward" if backward else "kept: after forward")
    for row in rows:
        if row.note:
            mention(f"{row.size.length:,} tokens of {row.size.dim}: {row.note}")
    timed = [(row.forward.median, row.backward.median) for row in rows if row.forward and row.backward]
    if timed:
        low, high = backward_over_forward(timed)
        mention(f"backward takes {low:.1f} to {high:.1f} times as long as forward")
    _print_growth(rows)
    if reported:
        _print_factors()
    if most:
        lengths = ", ".join(f"{length:,} at dim {dim}" for dim, length in most.items())
        mention(f"tokens of the longest sequences that fit: {lengths}")
    failed = next((row for row in rows if row.status != "fits"), None)
    if failed is not None:
        _print_account(failed.size)


def _print_growth(rows: "Sequence[Row]") -> None:
    """How memory grows where a sequence is four times as long."""
    held = {(row.size.dim, row.size.length): row.held for row in rows if row.held}
    for dim in dict.fromkeys(dim for dim, _ in held):
        steps = [
            f"{held[dim, 4 * length] / amount:.1f} from {length:,} to {4 * length:,}"
            for (other, length), amount in held.items()
            if other == dim and (dim, 4 * length) in held
        ]
        if steps:
            mention(f"memory at dim {dim} grows {', '.join(steps)}")


def _print_factors() -> None:
    """Where the report's growth "per 4x" comes from."""
    from engine.labs.attention import REPORTED_FACTORS, growth

    for dim, factor in REPORTED_FACTORS.items():
        (first, second), mean = growth(dim)
        mention(
            f"the report's {factor:.2f} per 4x at dim {dim}: the mean of its {first:.2f} and {second:.2f}, over 4 "
            f"again: {mean:.2f}"
        )


def _print_account(size: "Size") -> None:
    """The first row that does not fit, term by term."""
    from engine.labs.attention import HELD, PEAK, forward_terms

    forward = forward_terms(size)
    mention(f"\nMemory of [{size.batch}, {size.length:,}, {size.dim}], term by term:")
    lines = [(name, f"{amount / MIB:,.1f}", "", "") for name, amount in forward.items()]
    lines.append(("forward at least", f"{sum(forward.values()) / MIB:,.1f}", "", ""))
    held, peak = HELD.terms(size), PEAK.terms(size)
    lines += [(name, "", f"{held[name] / MIB:,.1f}", f"{peak[name] / MIB:,.1f}") for name in held if held[name]]
    lines.append(("all", "", f"{HELD.bytes(size) / MIB:,.1f}", f"{PEAK.bytes(size) / MIB:,.1f}"))
    print_table(("", "MiB", "before backward", "at most"), lines)


@app.command()
def remedies(
    batch: Annotated[int, typer.Option(min=1, max=4096, help="Sequences.")] = 2,
    length: Annotated[int, typer.Option(min=2, max=1 << 20, help="Tokens of a sequence.")] = 1024,
    dim: Annotated[int, typer.Option(min=1, max=4096, help="Elements of a query, key or value.")] = 64,
    layers: Annotated[int, typer.Option(min=1, max=1024, help="Attention, one after the other.")] = 4,
    block: Annotated[int, typer.Option(min=1, max=4096, help="Tokens of a block of sparse attention.")] = 64,
    chosen: Annotated[int, typer.Option(min=1, max=4096, help="Blocks that a block looks at.")] = 4,
    processes: Annotated[
        int, typer.Option(min=2, max=64, help="Of sequence parallelism: GPUs over NCCL, else processes over gloo.")
    ] = 2,
    model: Annotated[str, typer.Option(metavar="DIR", help="Who is asked with sparse attention.")] = "small-gqa",
    device: Device = "cpu",
    repeats: Annotated[int, typer.Option(min=1, max=10_000, help="Times that each remedy is timed.")] = 5,
    cpu_clock: CpuClock = False,
    as_json: AsJson = False,
) -> None:
    """Flash attention, checkpointing, sequence parallelism and sparse patterns: what each saves, and what it costs."""
    clock = _clock(cpu_clock, device)
    with needs_engine():
        from engine.checkpoint import find, load
        from engine.labs import remedies as lab

        loaded = load(find(model), device=device)
        work = lab.Work(batch, length, dim, layers, block, chosen, processes)
        with shown("measured") as progress:
            found = list(
                lab.remedies(
                    work, device=device, repeats=repeats, clock=clock, progress=progress,
                    note=lambda sentence: mention(sentence, err=True),
                )
            )  # fmt: skip
        with shown("asked") as progress:
            asked = list(lab.answers(loaded, progress=progress))
        if as_json:
            rows = [asdict(each) | {"forward": _times(each.forward), "both": _times(each.both)} for each in found]
            print_json({"remedies": rows, "answers": [asdict(each) for each in asked]})
        else:
            _print_remedies(found, asked)


def _print_remedies(found: "Sequence[Remedy]", asked: "Sequence[Answers]") -> None:
    lines = [
        (
            each.name,
            f"{each.held / MIB:,.1f}",
            f"{each.peak / MIB:,.1f}",
            _milliseconds(each.forward),
            _milliseconds(each.both),
            f"{each.error:.0e}" if each.error else "0",
            f"{each.gradient_error:.0e}" if each.gradient_error else "0",
        )
        for each in found
    ]
    print_table(("", "MiB kept", "at most", "ms forward", "+ backward", "error", "gradient"), lines)
    tools = ", ".join(dict.fromkeys(each.memory_tool for each in found))
    mention(f"kept: for backward, by storage tracking; at most: by {tools}")
    for where in dict.fromkeys(each.where for each in found):
        mention(f"{', '.join(each.name for each in found if each.where == where)}: {where}")
    mention("\nRight answers of a small model that was trained with attention to all tokens:")
    tasks = list(asked[0].right)
    print_table(("", *tasks), [(each.name, *(f"{each.right[task]:.1%}" for task in tasks)) for each in asked])


@app.command()
def prune(
    model: Annotated[str, typer.Option(metavar="DIR", help="Whose cache is pruned.")] = "small-gqa",
    keep: Annotated[str, typer.Option(help="Shares of a prompt's tokens that stay.")] = "0.75,0.5,0.25",
    block_sizes: Annotated[str, typer.Option(help="Tokens of a page.")] = "1,8,16,32",
    documents: Annotated[int, typer.Option(min=1, max=1000, help="Documents of each task.")] = 8,
    chart: Annotated[
        Path | None,
        typer.Option(parser=path_of, metavar="FILE", help="Draw what stays: .svg or .png, and a .csv beside."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(parser=path_of, metavar="FILE.csv", help="Write what is freed as CSV.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Drop tokens from a small model's cache: how many pages that frees, and how many answers it costs."""
    keeps, blocks = _shares("--keep", keep), _numbers("--block-sizes", block_sizes, 4096)
    with needs_engine(), chart_files(chart, out) as files:
        from engine.checkpoint import find, load
        from engine.labs import pruning as lab
        from engine.labs.charts import PRUNED_COLUMNS, pruned_chart, pruned_rows

        with shown("asked") as progress:
            found = list(
                lab.prune(load(find(model)), keeps=keeps, blocks=blocks, documents=documents, progress=progress)
            )
        files.write(PRUNED_COLUMNS, pruned_rows(found))
        if chart is not None:
            files.draw(pruned_chart(found))
    if as_json:
        print_json(
            [
                {
                    "way": each.way,
                    "keep": each.keep,
                    "freed": {str(block): asdict(freed) for block, freed in each.freed.items()},
                    "right": each.right,
                    "divergence": each.divergence,
                }
                for each in found
            ]
        )
    else:
        _print_pruned(found, blocks)


def _print_pruned(found: "Sequence[Pruned]", blocks: Sequence[int]) -> None:
    def lines(cells: "Callable[[Pruned], list[str]]") -> list[list[str]]:
        """A way's name stands in its first line only."""
        ways = ["", *(each.way for each in found)]
        named = ["" if each.way == before else each.way for each, before in zip(found, ways, strict=False)]
        return [[name, f"{each.keep:.0%}", *cells(each)] for name, each in zip(named, found, strict=True)]

    sizes = [str(block) for block in blocks]
    mention("Pages that are free, by their tokens: with one block table for all heads, and with one for each head")
    print_table(
        ("", "stay", f"one: {sizes[0]}", *sizes[1:], f"each: {sizes[0]}", *sizes[1:]),
        lines(lambda each: [f"{getattr(each.freed[b], table):.0%}" for table in ("one", "head") for b in blocks]),
    )
    mention("with what stays moved together, about as many as were dropped\n")
    mention("Right answers to questions that come after pruning, and how far the next token's probabilities move:")
    print_table(
        ("", "stay", *found[0].right, "nats"),
        lines(lambda each: [*(f"{share:.1%}" for share in each.right.values()), f"{each.divergence:.2f}"]),
    )


def _shares(option: str, text: str) -> list[float]:
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if not shares or not all(0 < share <= 1 for share in shares):
        raise InputError(f'{option} must be shares above 0 and up to 1 with commas between them, not "{text}"')
    return shares


def _bytes(limit: float, unit: int) -> int:
    if limit * unit >= 1 << 62:
        raise InputError(f"--memory-limit is {limit}, which is no amount of memory")
    return round(limit * unit)


def _clock(cpu: bool, device: str) -> "Clock":
    if cpu and device != "cpu":
        raise InputError(f"--cpu-clock times work on the CPU, and device is {device}")
    return "cpu" if cpu else "wall"


def _times(times: "Times | None") -> dict[str, Any] | None:
    if times is None:
        return None
    low, high = times.spread
    return {"median": times.median, "first_quartile": low, "third_quartile": high, "runs": len(times.all)}


def _milliseconds(times: "Times | None") -> str:
    return "-" if times is None else f"{times.median * 1e3:,.2f}"

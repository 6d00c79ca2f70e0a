"""`kvscope memory`: what requests keep of a model, reserved in one piece or paged, and how many users a GPU holds."""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.output import print_json
from simcore.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

_LENGTHS = re.compile(r"\s*(?:(\d{1,6})x)?(\d{1,9})\s*")
_MOST_REQUESTS = 100_000
_SIDE_BY_SIDE = 3
"""Models that have a column each; more have a line each."""
_SHOWN = 20
"""Requests of a mixed batch that the table lists; JSON has all."""


def memory(
    model: Annotated[
        str, typer.Option(help="Models by name or alias, or config.json files, with commas between them.")
    ] = "tinyllama-1.1b",
    tokens: Annotated[int | None, typer.Option(min=1, max=10**9, help="Tokens of each request; 128.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, max=_MOST_REQUESTS, help="Requests; 1.")] = None,
    requests: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|LIST",
            help="A mixed batch in place of --tokens and --batch: lengths in tokens as in 128,4x2048, or a trace, of "
            "whose requests prompt and output count.",
        ),
    ] = None,
    max_tokens: Annotated[
        int, typer.Option(min=1, max=10**9, help="Tokens that are reserved for each request without pages.")
    ] = 2048,
    block_size: Annotated[
        int, typer.Option(min=1, max=65_536, help="Tokens of a block; more where a state needs it.")
    ] = 16,
    blocks: Annotated[
        int | None,
        typer.Option(min=1, max=10**9, help="Blocks of the pool; as many as the hardware has room for, else 1,024."),
    ] = None,
    kv_dtype: Annotated[
        str | None,
        typer.Option(help="Format of the cache: float32, float16, bfloat16, float8, int4; the model's own without it."),
    ] = None,
    hardware: Annotated[
        str | None, typer.Option(help="A GPU by name, to see what fits on it and how many users.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=65_536, help="GPUs that share the model (tensor parallel).")] = 1,
    utilization: Annotated[float, typer.Option(min=0.01, max=1, help="Share of the GPU's memory to be filled.")] = 0.9,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON and nothing else: an object; of several models a list.")
    ] = False,
) -> None:
    """Compare the memory of a KV cache that is reserved for the longest sequences with that of a paged one.

    Sizes are in MiB, 2^20 bytes. What every field means: docs/calculator.md.
    """
    from simcore.calculator import Question, calculate, hardware_of, model_of

    if requests is not None and (tokens, batch) != (None, None):
        raise InputError("--requests says how long each request is; leave --tokens and --batch out")
    lengths = (tokens or 128,) * (batch or 1) if requests is None else lengths_of(requests)
    if count > 1 and hardware is None:
        raise InputError(f"--count is {count}, but --hardware does not say what is shared")
    question = Question(
        lengths=lengths,
        max_tokens=max_tokens,
        block_size=block_size,
        blocks=blocks,
        hardware=None if hardware is None else hardware_of(hardware, count),
        utilization=utilization,
    )
    rows = [calculate(model_of(name.strip(), kv_dtype=kv_dtype), question) for name in model.split(",")]
    if as_json:
        print_json(rows if len(rows) > 1 else rows[0])
    else:
        _print(rows)


def lengths_of(text: str) -> tuple[int, ...]:
    """The lengths of a list as in 128,4x2048, or of the requests of a trace; a file `128` is ./128."""
    if not text.strip():
        raise InputError("--requests is empty: give lengths in tokens, as in 128,4x2048, or a trace")
    if not re.fullmatch(r"[\dx,\s]+", text):
        from simcore.workload.traces import read_trace

        workload = read_trace(Path(text))
        return tuple((workload.prompt_len + workload.output_len).tolist())
    lengths: list[int] = []
    for part in text.split(","):
        found = _LENGTHS.fullmatch(part)
        if found is None or not int(found[2]):
            raise InputError(f'--requests has "{part.strip()}", but must hold lengths in tokens, as in 128,4x2048')
        if len(lengths) + int(found[1] or 1) > _MOST_REQUESTS:
            raise InputError(f"--requests has more than {_MOST_REQUESTS:,} requests")
        lengths += [int(found[2])] * int(found[1] or 1)
    return tuple(lengths)


def _print(rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console

    console = Console()
    console.print(_comparison(rows) if len(rows) <= _SIDE_BY_SIDE else _brief(rows))
    for row in rows:
        if row["hardware"] and not row["hardware"]["fits"]:
            console.print(f"{row['model']} is not served: {row['hardware']['reason']}", markup=False, highlight=False)
    if len(rows) > 1:
        return
    (row,) = rows
    console.print(_layers(row))
    if len(row["requests"]) > 1:
        console.print(_requests(row))
    if row["attention_variants"]:
        console.print(_variants(row, "attention_variants"), _variants(row, "formats"))
    if row["tensor_parallel"]:
        console.print(_parallel(row))


def _brief(rows: Sequence[dict[str, Any]]) -> "Table":
    """A line a model, where there are too many for a column each."""
    fits = rows[0]["hardware"] is not None
    table = _table(
        "MiB, 2^20 bytes",
        "a token\n(KiB)",
        "traditional",
        "paged",
        "saved",
        *(["users,\ntrad.", "users,\npaged"] * fits),
    )
    for row in rows:
        users = [_number(row["hardware"][key]) for key in ("users_traditional", "users")] if fits else []
        table.add_row(
            row["model"],
            f"{row['token_bytes'] / 1024:,.2f}",
            _mb(row["traditional_memory_mb"]),
            _mb(row["paged_memory_mb"]),
            f"{row['memory_saved_percent']:.2f} %",
            *users,
        )
    return table


def _table(*columns: str, title: str = "") -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Column, Table

    first, *others = columns
    numbers = [Column(name, justify="right") for name in others]
    return Table(Column(first), *numbers, box=SIMPLE_HEAD, padding=(0, 1, 0, 0), title=title, title_justify="left")


def _comparison(rows: Sequence[dict[str, Any]]) -> "Table":
    table = _table("MiB, 2^20 bytes", *(row["model"] for row in rows))

    def line(label: str, cells: Iterable[str]) -> None:
        table.add_row(label, *cells)

    line("attention", (_attention(row) for row in rows))
    line("layers", (f"{row['layers']:,}" for row in rows))
    line("a token (KiB)", (f"{row['token_bytes'] / 1024:,.2f}" for row in rows))
    if any(row["state_bytes"] for row in rows):
        line("states of a request", (_mb(row["state_bytes"] / 2**20) for row in rows))
    line("requests, tokens", (f"{row['batch']:,} x {_lengths(row)}" for row in rows))
    line("traditional cache", (_mb(row["traditional_memory_mb"]) for row in rows))
    line("paged cache", (_mb(row["paged_memory_mb"]) for row in rows))
    line("saved", (f"{_mb(row['memory_saved_mb'])} ({row['memory_saved_percent']:.2f} %)" for row in rows))
    line("blocks used", (f"{row['blocks_used']:,} x {row['block_size']} tokens" for row in rows))
    line("blocks free", (f"{row['blocks_free']:,} of {row['num_blocks']:,}" for row in rows))
    line("utilization", (f"{row['utilization_percent']:.2f} %" for row in rows))
    line("wasted, traditional", (_mb(row["traditional_waste_mb"]) for row in rows))
    line("wasted, paged", (_mb(row["paged_waste_mb"]) for row in rows))
    line("weights", (_mb(row["weights_mb"]) for row in rows))
    line("activations", (_mb(row["activations_mb"]) for row in rows))
    if rows[0]["hardware"]:
        fits = [row["hardware"] for row in rows]
        where = f"{fits[0]['count']} x {fits[0]['hardware']}"
        line(f"left for the cache of {where}", (_mb(fit["pool_mb"]) if fit["fits"] else "nothing" for fit in fits))
        line("users, traditional", (_number(fit["users_traditional"]) for fit in fits))
        line("users, paged", (_number(fit["users"]) for fit in fits))
    return table


def _layers(row: dict[str, Any]) -> "Table":
    from simcore.calculator import describe_layers

    table = _table("a layer keeps", "layers", "a token (B)", "a state (B)", "of the batch", title="By layer")
    for group in row["per_layer"]:
        table.add_row(
            describe_layers(group),
            f"{group['layers']:,}",
            f"{group['token_bytes']:,}",
            f"{group['state_bytes']:,}",
            _mb(group["memory_mb"], 4),
        )
    return table


def _requests(row: dict[str, Any]) -> "Table":
    columns = ("request", "tokens", "blocks", "MiB", "empty tokens", "wasted", "wasted,\ntraditional")
    table = _table(*columns, title="By request")
    for number, each in enumerate(row["requests"][:_SHOWN], 1):
        table.add_row(
            f"{number:,}",
            f"{each['tokens']:,}",
            f"{each['blocks']:,}",
            _mb(each["memory_mb"]),
            f"{each['wasted_tokens']:,}",
            f"{each['wasted_percent']:.2f} %",
            f"{each['traditional_wasted_percent']:.2f} %",
        )
    if len(row["requests"]) > _SHOWN:
        table.add_row(f"and {len(row['requests']) - _SHOWN:,} more")
    return table


def _variants(row: dict[str, Any], which: str) -> "Table":
    """The same model with other KV heads, or with another format of the cache."""
    first, title = ("attention", "The same with other KV heads") if which == "attention_variants" else ("format", "")
    table = _table(first, "a token (KiB)", "paged cache", "less than\nthe first", "users", title=title)
    most = row[which][0]["token_bytes"]
    for each in row[which]:
        name = each.get("kv_dtype") or f"{each['attention']} {each['kv_heads'] or ''}".strip()
        table.add_row(
            name + (" (its own)" if each.get("own") else ""),
            f"{each['token_bytes'] / 1024:,.2f}",
            _mb(each["paged_memory_mb"]),
            f"{most / each['token_bytes']:.2f} x",
            _number(each["users"]),
        )
    return table


def _parallel(row: dict[str, Any]) -> "Table":
    columns = ("GPUs", "weights", "activations", "runtime", "for the cache", "blocks", "users")
    table = _table(*columns, title=f"Tensor parallel, MiB on each {row['hardware']['hardware']}")
    for each in row["tensor_parallel"]:
        if each["fits"]:
            sizes = (each[f"{part}_mb"] for part in ("weights", "activations", "runtime", "pool"))
            table.add_row(f"{each['count']}", *map(_mb, sizes), f"{each['blocks']:,}", f"{each['users']:,}")
        else:
            table.add_row(
                f"{each['count']}", "does not fit" if "leaves no room" in each["reason"] else "cannot be split"
            )
    return table


def _attention(row: dict[str, Any]) -> str:
    name = str(row["attention"])
    if name == "MLA" or not row["kv_heads"]:
        return name
    return f"{name} {row['query_heads']}/{row['kv_heads']} x {row['head_dim']}"


def _lengths(row: dict[str, Any]) -> str:
    shortest = min(each["tokens"] for each in row["requests"])
    longest = row["sequence_length"]
    return f"{longest:,}" if shortest == longest else f"{shortest:,} to {longest:,}"


def _mb(amount: float | None, digits: int = 2) -> str:
    return "-" if amount is None else f"{amount:,.{digits}f}"


def _number(amount: int | None) -> str:
    return "-" if amount is None else f"{amount:,}"

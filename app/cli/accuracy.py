"""`kvscope accuracy`: how often a model answers right, next to what its cache costs."""

from typing import Annotated, Any

import typer

from app.cli.engine import needs_engine
from app.cli.output import print_json, printable
from app.cli.policies import named
from simcore.errors import InputError
from simcore.schema import shown


@needs_engine()
def accuracy(
    model: Annotated[
        str | None,
        typer.Option(help="A model that comes with the product, or a folder; without it all that come with it."),
    ] = None,
    documents: Annotated[int, typer.Option(min=1, max=10_000, help="Documents of each task.")] = 16,
    longest: Annotated[
        int | None, typer.Option(min=24, help="Tokens of the longest document; as many as the model takes without it.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Another one has other documents.")] = 0,
    pruning: Annotated[
        str | None,
        typer.Option(
            help="Serve each document from pages, pruned when its context has been read: snap-kv,h2o; all; "
            "my_policy.py; parameters as in snap-kv:window=16."
        ),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Tokens of the context that each head keeps, with --pruning.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else: an object, or a list.")] = False,
) -> None:
    """Ask a model for keys, copies and facts of stories whose answers are known, and count what is exactly right."""
    from engine.checkpoint import SHIPPED
    from engine.labs.small import VARIANTS

    names = [f"{SHIPPED}{variant}" for variant in VARIANTS] if model is None else [model]
    prunings = _prunings(pruning, budget)
    rows = [_row(name, documents, longest, seed, pruning) for name in names for pruning in prunings]
    if as_json:
        print_json(rows if len(rows) > 1 or model is None else rows[0])
    else:
        _print(rows)


def _prunings(asked: str | None, budget: int | None) -> list[dict[str, Any]]:
    """What the scoring is told of pruning, once for each policy; once nothing, if none is asked for."""
    from simcore.policies.pruning import PRUNING
    from simcore.study import choose

    if asked is None and budget is None:
        return [{}]
    if asked is None:
        raise InputError(f"--budget is {budget:,}, but nothing is pruned without --pruning; give a policy too")
    if budget is None:
        raise InputError(f"--pruning is {shown(asked)}, but not how many tokens stay; give --budget too")
    return [{"pruning": policy, "budget": budget} for policy in choose(PRUNING, named("pruning.policy", asked))]


def _row(name: str, number: int, longest: int | None, seed: int, pruned: dict[str, Any]) -> dict[str, Any]:
    from engine import checkpoint
    from engine.labs import accuracy as labs
    from engine.labs.forgetting import forgetting
    from simcore.study import label

    loaded = checkpoint.load(checkpoint.find(name))
    shape = loaded.shape
    if loaded.tokenizer is None:
        raise InputError(f"{loaded.folder}: has no {checkpoint.TOKENIZER}, so that nothing can be asked")
    questions = labs.exam(number, longest or min(shape.max_model_len, labs.LONGEST), labs.SEED + seed)
    read = forgetting(loaded.model, loaded.tokenizer, **pruned) if pruned else None
    scores = labs.accuracy(loaded.model, loaded.tokenizer, questions, read=read)
    return {
        "model": name,
        "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
        "kv_heads": shape.kv_heads,
        "kv_bytes_per_token": shape.token_bytes,
        "dtype": str(shape.dtype).removeprefix("torch."),
        "pruning": {"policy": label(pruned["pruning"]), "budget": pruned["budget"]} if pruned else None,
        "accuracy": {task: round(score.share, 4) for task, score in scores.items()},
        "asked": {task: score.asked for task, score in scores.items()},
    }


def _print(rows: list[dict[str, Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Column, Table

    tasks, budget = list(rows[0]["accuracy"]), (rows[0]["pruning"] or {}).get("budget")
    first = ("model", "pruning") if budget else ("model",)
    sizes = () if budget else ("parameters", "KV bytes per token")
    columns = [Column(name) for name in first] + [Column(name, justify="right") for name in (*sizes, *tasks)]
    table = Table(*columns, box=SIMPLE_HEAD, padding=(0, 2, 0, 0))
    for row in rows:
        cells = [escape(printable(row["model"]))]
        if budget:
            cells.append(escape(row["pruning"]["policy"]))
        else:
            cells += [f"{row['parameters']:,}", f"{row['kv_bytes_per_token']:,}"]
        table.add_row(*cells, *(f"{row['accuracy'][task]:.1%}" for task in tasks))
    asked = ", ".join(f"{rows[0]['asked'][task]:,} in {task}" for task in tasks)
    console = Console()
    console.print(table)
    console.print(f"exactly right answers to {asked}; keys and values in {rows[0]['dtype']}", soft_wrap=True)
    if budget:
        console.print(f"each head keeps {budget:,} tokens of a context at most, and all that follows", soft_wrap=True)

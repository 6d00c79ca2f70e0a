"""`kvscope generate`: let a real model answer, and watch its pages fill."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.engine import SHIPPED, Device, Dtype, Model, needs_engine
from app.cli.options import AsJson
from app.cli.output import print_json, printable

if TYPE_CHECKING:
    from rich.console import Console

    from engine.generate import Generation, Step


@needs_engine()
def generate(
    prompt: Annotated[str, typer.Option(help="The text that the model goes on from.")],
    model: Model = SHIPPED,
    max_tokens: Annotated[
        int | None, typer.Option(help="Tokens of an answer at most; without it 64, or what the model has room for.")
    ] = None,
    temperature: Annotated[float, typer.Option(help="0 takes the best token always; more draws others too.")] = 0.0,
    top_k: Annotated[int, typer.Option(help="Draw from so many of the best tokens; 0: from all.")] = 0,
    top_p: Annotated[float, typer.Option(help="Draw from the best tokens that together have this probability.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of what is drawn: the same again for the same.")] = 0,
    samples: Annotated[int, typer.Option(min=1, max=256, help="Answers; they share the prompt's pages.")] = 1,
    device: Device = "cpu",
    dtype: Dtype = None,
    block_size: Annotated[int, typer.Option(min=1, max=4096, help="Tokens that a page holds.")] = 16,
    pages: Annotated[
        bool, typer.Option("--pages", help="Show which page each token goes to, and which pages are looked at.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer a prompt with a real model, whose keys and values lie in pages."""
    from engine.checkpoint import find, load
    from engine.generate import Generation
    from engine.sampling import Sampling

    sampling = Sampling(temperature, top_k, top_p, seed)
    generation = Generation(
        load(find(model), dtype=dtype, device=device),
        prompt,
        sampling=sampling,
        samples=samples,
        max_tokens=max_tokens,
        block_size=block_size,
        watch=pages,
    )
    if as_json:
        steps = list(generation)
        print_json(_document(generation, steps if pages else None))
        return
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    if pages:
        from app.cli.walk import walk

        walk(generation, console)
    elif samples > 1:
        _answers(generation, console)
    else:
        _answer(generation, console)


def _document(generation: "Generation", steps: "Iterable[Step] | None") -> dict[str, Any]:
    """All there is to know, for a program."""
    document = {
        "model": str(generation.loaded.folder),
        "prompt_token_ids": generation.prompt,
        "samples": [
            {
                "text": generation.text(number),
                "token_ids": sample.answer,
                "ended": sample.ended,
                "block_table": sample.table,
            }
            for number, sample in enumerate(generation.samples)
        ],
        "memory": {
            "block_size": generation.block_size,
            "block_bytes": generation.block_bytes,
            "pages": generation.pages,
            "tokens": generation.tokens,
            "bytes": generation.pages * generation.block_bytes,
            "contiguous_bytes": generation.contiguous_bytes,
        },
    }
    if steps is not None:
        document["steps"] = [asdict(step) for step in steps]
    return document


def _answer(generation: "Generation", console: "Console") -> None:
    """The only answer, as it comes."""
    for step in generation:
        for drawn in step.drawn:
            console.out(printable(drawn.text), end="", highlight=False)
    console.out()


def _answers(generation: "Generation", console: "Console") -> None:
    """Several answers, each when it has ended."""
    for step in generation:
        for drawn in step.drawn:
            if drawn.ended:
                console.out(f"sample {drawn.sample + 1}: {printable(generation.text(drawn.sample))}", highlight=False)

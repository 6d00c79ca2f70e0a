"""An answer as a walk through pages: where every token goes, and which pages it looks at."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.markup import escape

from app.cli.output import printable
from simcore.geometry import as_binary
from simcore.schema import shown

if TYPE_CHECKING:
    from engine.generate import Drawn, Generation, Pushed, Step

BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "12345678"
"""Where there is only ASCII."""
WIDEST = 32
"""Bars in a line; where there are more pages, several share one."""
LONGEST = 160
"""Letters of a page that are shown."""


def walk(generation: "Generation", console: Console) -> None:
    """Generate, and tell of each token as it goes: first those of the prompt, page by page, then one by one."""
    shape = generation.loaded.shape
    console.print(
        f"[bold]{escape(generation.loaded.folder.name)}[/]: {shape.layers} layers, {shape.kv_heads} KV heads of "
        f"{shape.head_dim} elements; a page holds {generation.block_size} tokens in "
        f"{as_binary(generation.block_bytes)}"
    )
    steps = iter(generation)
    prompt: list[Pushed] = []
    for step in steps:
        prompt += step.pushed
        if step.drawn:
            break
    _show_prompt(generation, prompt, console)
    console.print(
        f"\n[bold]The answer[/], and the pages that the last layer looks at, its {shape.heads} heads averaged\n"
        + _line("sample", "token", "page", "block", "slot", "", "next token", "attention")
    )
    _show_prompts_end(generation, step, console)
    for step in steps:
        _show_step(generation, step, console)
    _show_end(generation, console)


def _show_prompt(generation: "Generation", prompt: Sequence["Pushed"], console: Console) -> None:
    console.print(
        f"\n[bold]The prompt[/], {_count(len(prompt), 'token')}\n{'page':>6}{'block':>7}{'filled':>10}  tokens"
    )
    for page, tokens in groupby(prompt, attrgetter("page")):
        held = list(tokens)
        filled = f"{len(held)}/{generation.block_size}"
        pieces = "|".join(shown(_text(generation, token.id))[1:-1] for token in held)
        pieces = pieces if len(pieces) <= LONGEST else f"{pieces[: LONGEST - 4]} ..."
        console.print(f"{page:>6}{held[0].block:>7}{filled:>10}  {escape(pieces)}")


def _show_prompts_end(generation: "Generation", step: "Step", console: Console) -> None:
    """The prompt's last token looks back, and all samples go on from it."""
    token = step.pushed[-1]
    following = ", ".join(_following(generation, drawn) for drawn in step.drawn)
    console.print(_place(generation, token, "", step.attention[0], following, console))


def _show_step(generation: "Generation", step: "Step", console: Console) -> None:
    for token, shares, drawn in zip(step.pushed, step.attention, step.drawn, strict=True):
        note = "new page" if token.opened else f"copy of {token.copied}" if token.copied else ""
        console.print(_place(generation, token, note, shares, _following(generation, drawn), console))


def _place(
    generation: "Generation", token: "Pushed", note: str, shares: Sequence[float], following: str, console: Console
) -> str:
    most = max(range(len(shares)), key=shares.__getitem__)
    bars = _bars(shares, PLAIN_BARS if console.options.ascii_only else BARS)
    return _line(
        str(token.sample + 1),
        shown(_text(generation, token.id)),
        str(token.page),
        str(token.block),
        str(token.offset),
        note,
        following,
        f"{bars}  page {most}: {shares[most]:.0%}",
    )


def _line(sample: str, token: str, page: str, block: str, slot: str, note: str, following: str, attention: str) -> str:
    """One line of the walk, as markup."""
    place = f"{sample:>6}  {set_cell_size(token, 16)}{page:>6}{block:>7}{slot:>6}  "
    marked = f"[green]{note:<13}[/]" if note else " " * 13
    return f"{escape(place)}{marked}{escape(set_cell_size(following, max(16, cell_len(following) + 2)))}{attention}"


def _bars(shares: Sequence[float], bars: str) -> str:
    """How high each page stands beside the highest, or each group of neighbors if there are many."""
    size = -(-len(shares) // WIDEST)
    sums = [sum(shares[first : first + size]) for first in range(0, len(shares), size)]
    return "".join(bars[round(share / max(sums) * (len(bars) - 1))] for share in sums)


def _show_end(generation: "Generation", console: Console) -> None:
    for number, sample in enumerate(generation.samples, 1):
        name = f"Sample {number}" if len(generation.samples) > 1 else "The whole answer"
        console.print(f"\n[bold]{name}[/], {_count(len(sample.answer), 'token')} until {sample.ended}")
        console.out(printable(generation.text(number - 1)), highlight=False)
        console.print(f"block table: {' '.join(map(str, sample.table))}")
    console.print()
    for label, text in _facts(generation):
        console.print(f"[bold]{label:<12}[/]{text}")


def _facts(generation: "Generation") -> Iterator[tuple[str, str]]:
    size, pages, samples = generation.block_size, generation.pages, generation.samples
    used, reserved, stored = pages * generation.block_bytes, generation.contiguous_bytes, generation.tokens
    filled = f"{_count(stored, 'token')} stored, {_count(pages * size - stored, 'slot')} empty"
    yield "pages", f"{_count(pages, 'page')} of {size} tokens, {as_binary(used)}: {filled}"
    prompt, answers = len(generation.prompt), [len(sample.answer) for sample in samples]
    pushed = prompt + sum(count - 1 for count in answers)
    anew = sum(sum(range(prompt, prompt + count)) for count in answers)
    yield "computed", f"{_count(pushed, 'token')}, each once; {anew:,} if nothing were stored"
    yield "read", "all pages before a token, for each token: pages bound what is reserved, not what is looked at"
    if len(samples) > 1:
        holders = Counter(block for sample in samples for block in sample.table)
        shared = [count for count in holders.values() if count > 1]
        saved = _count(sum(shared) - len(shared), "page")
        yield "shared", f"{_count(len(shared), 'page')} among samples; pages of their own would be {saved} more"
    longest = f"{generation.loaded.shape.max_model_len:,} tokens"
    each = "" if len(samples) == 1 else f" for each of {len(samples)} samples"
    times = f"{reserved / used:,.1f} times as much"
    yield "contiguous", f"{as_binary(reserved)} if {longest} were reserved{each}: {times}"


def _following(generation: "Generation", drawn: "Drawn") -> str:
    return drawn.ended if drawn.ended == "end of sequence" else shown(_text(generation, drawn.id))


def _text(generation: "Generation", token: int) -> str:
    """A token by itself."""
    return str(generation.tokenizer.decode([token], skip_special_tokens=False))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

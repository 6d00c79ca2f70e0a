"""The attention lab's pictures: four plots of its forms, and what pruning frees."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np

from engine.labs.compare import Comparison
from engine.labs.pruning import WAYS, Pruned
from simcore.export.charts import OKABE_ITO

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("plot", "form", "x", "y", "value")
COLORS = {"standard": "#D55E00", "paged": "#0072B2", "block-local": "#009E73"}
KIB = 1 << 10


def comparison_rows(found: Comparison) -> Iterator[tuple[Any, ...]]:
    """What the plots show, and the errors of overlaps, as rows of a table; bytes and seconds."""
    for query, line in enumerate(found.pattern):
        for key, weight in enumerate(line):
            yield "pattern", "standard", query, key, float(weight)
    for form, measured in found.forms.items():
        yield "peak", form, None, None, measured.peak
        low, high = measured.timing.wall.spread
        for name, value in (("first quartile", low), ("median", measured.timing.wall.median), ("third quartile", high)):
            yield "seconds", form, name, None, value
        yield "difference", form, None, None, measured.difference
        for block, amount in enumerate(measured.blocks):
            yield "block", form, block, None, amount
    for overlap in found.overlaps:
        yield "overlap error", "block-local", overlap.tokens, None, overlap.error


def comparison_chart(found: Comparison) -> "Figure":
    """The picture."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(11, 8), layout="constrained")
    (pattern, memory), (time, blocks) = figure.subplots(2, 2)
    brightest = float(np.quantile(found.pattern, 0.995))  # one outlier would darken all others
    image = pattern.imshow(found.pattern, cmap="viridis", vmin=0, vmax=brightest)
    for place in range(found.block, len(found.pattern), found.block):
        pattern.axhline(place - 0.5, color="white", linewidth=0.8)
        pattern.axvline(place - 0.5, color="white", linewidth=0.8)
    pattern.set(title=f"Attention of the first {len(found.pattern)} tokens", xlabel="key", ylabel="query")
    for axis in (pattern.xaxis, pattern.yaxis, blocks.xaxis):
        axis.set_major_locator(MaxNLocator(integer=True))
    figure.colorbar(image, ax=pattern, label="weight")
    forms = list(found.forms)
    colors = [COLORS[form] for form in forms]
    bars = memory.bar(forms, [found.forms[form].peak / KIB for form in forms], color=colors)
    memory.bar_label(bars, fmt="%.0f")
    memory.margins(y=0.1)
    memory.set(title=f"Peak memory ({found.memory_tool})", ylabel="KiB")
    times = [found.forms[form].timing.wall for form in forms]
    medians = [each.median * 1e3 for each in times]
    spread = [
        [median - each.spread[0] * 1e3 for median, each in zip(medians, times, strict=True)],
        [each.spread[1] * 1e3 - median for median, each in zip(medians, times, strict=True)],
    ]
    time.bar(forms, medians, color=colors, yerr=spread, capsize=4)
    time.set(title="Time: median and quartiles", ylabel="ms")
    for form in forms[1:]:
        amounts = [amount / KIB for amount in found.forms[form].blocks]
        blocks.plot(range(len(amounts)), amounts, marker="o", color=COLORS[form], label=form)
    blocks.margins(y=0.25)
    blocks.set(title=f"Memory per block of {found.block} tokens", xlabel="block", ylabel="KiB")
    blocks.set_ylim(0)
    blocks.legend(frameon=False)
    figure.suptitle(f"{found.tokens:,} tokens of {found.dim} elements, {found.dtype}, {found.machine}")
    return figure


PRUNED_COLUMNS = ("way", "keep", "block", "table", "freed", "right", "divergence")
PICTURED_BLOCK = 16
"""Tokens of the pages that are drawn."""


def pruned_rows(found: Sequence[Pruned]) -> Iterator[tuple[Any, ...]]:
    """What each way frees by tokens of a block and by who shares a table (shares), and what it costs (share, nats)."""
    for each in found:
        right = mean(each.right.values())
        for block, freed in each.freed.items():
            for table, share in asdict(freed).items():
                yield each.way, each.keep, block, table, share, right, each.divergence


def pruned_chart(found: Sequence[Pruned]) -> "Figure":
    """Which tokens stay, at the share nearest to a half; what that frees by block size; what it costs."""
    from matplotlib.figure import Figure

    ways = list(dict.fromkeys(each.way for each in found if each.way in WAYS))
    keeps = sorted({each.keep for each in found if each.way in WAYS}, key=lambda keep: abs(keep - 0.5))
    shown = {each.way: each for each in found if each.keep == keeps[0] and each.way in WAYS}
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(6, 5))[0]
    maps = left.subplots(len(ways), 1)
    for axes, way, color in zip(maps, ways, OKABE_ITO, strict=False):
        kept = shown[way].example
        tokens = kept.shape[-1]
        axes.imshow(kept.reshape(-1, tokens), cmap=_two(color), aspect="auto", interpolation="nearest", vmin=0, vmax=1)
        starts = range(0, tokens, PICTURED_BLOCK)
        for start in starts:
            axes.axvline(start - 0.5, color="#888888", linewidth=0.5)
        used = np.logical_or.reduceat(kept.any((0, 1)), list(starts))
        axes.set_title(f"{way}: {int((~used).sum())} of {len(used)} pages free in one table", loc="left", fontsize=10)
        axes.set(yticks=[], ylabel="heads")
        axes.set_xlim(-0.5, tokens - 0.5)
        axes.tick_params(labelbottom=way == ways[-1])
    maps[-1].set_xlabel(f"token; lines are pages of {PICTURED_BLOCK}, what is coloured stays")
    left.suptitle(f"{keeps[0]:.0%} of a prompt stay, in every layer and head")
    pages, answers = right.subplots(2, 1)
    blocks = sorted(next(iter(shown.values())).freed)
    for way, color in zip(ways, OKABE_ITO, strict=False):
        freed = [shown[way].freed[block] for block in blocks]
        pages.plot(range(len(blocks)), [100 * each.one for each in freed], "o-", color=color, label=way)
        pages.plot(range(len(blocks)), [100 * each.head for each in freed], "o:", color=color, markersize=3)
    pages.set_xticks(range(len(blocks)), [str(block) for block in blocks])
    pages.set(
        title=f"What is freed when {keeps[0]:.0%} stay",
        xlabel="tokens of a page",
        ylabel="% of the pages",
        ylim=(-4, 104),
    )
    pages.legend(frameon=False, fontsize=8, title="one table (dotted: one a head)", title_fontsize=8)
    block = PICTURED_BLOCK if PICTURED_BLOCK in blocks else blocks[-1]
    for way, color in zip(ways, OKABE_ITO, strict=False):
        line = [each for each in found if each.way == way]
        task = next(iter(line[0].right))
        answers.plot(
            [100 * each.freed[block].one for each in line],
            [100 * each.right[task] for each in line],
            "o-",
            color=color,
            label=way,
        )
        answers.set(title=f"What it costs, pages of {block}", ylabel=f"% right in {task}")
    answers.set(xlabel="% of the pages that are free in one table", ylim=(-4, 104))
    return figure


def _two(color: str) -> Any:
    from matplotlib.colors import ListedColormap

    return ListedColormap(["#eeeeee", color])

"""The attention lab's four plots in one picture: pattern, memory, time, and memory block by block."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from engine.labs.compare import Comparison

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
    image = pattern.imshow(found.pattern, cmap="viridis")
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

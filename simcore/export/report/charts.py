"""The charts of a report: each a figure, the rows that it shows, and the words for those who do not see it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from simcore.export.charts import MARKERS, OKABE_ITO, canvas, logarithmic
from simcore.export.report.numbers import share, short, signed, within

if TYPE_CHECKING:
    import polars as pl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from simcore.experiment import Metric

INK, GRID, PAPER, IDLE = "#2b2f33", "#d4d8dc", "#ffffff", "#e4e7ea"
DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
WASTE = {
    "stored": ("holds tokens", OKABE_ITO[0], ""),
    "internal": ("lost inside blocks", OKABE_ITO[1], "///"),
    "reserved": ("reserved for tokens to come", OKABE_ITO[4], "..."),
    "external": ("free, but in pieces too small", OKABE_ITO[3], "xxx"),
    "free": ("free or only cached", IDLE, ""),
}
LEVELS = ("free", "cached, held by nobody", "held by one sequence", "shared by several")
"""States of a block, 0 to 3."""
VIRIDIS = ("#414487", "#21918c", "#fde725")
"""Of the last three: from matplotlib's viridis, which is told apart with any eyes, and in gray."""
BRIEF = (0.05, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
"""Quantiles of a distribution in a short table."""
MOST_LEGEND = 24
"""With more settings a chart has no room for their names; the table beside it has them."""


@dataclass(frozen=True)
class Chart:
    """A figure and what belongs to it."""

    name: str
    """of its files, without the ending"""
    title: str
    alt: str
    """what it shows, in words"""
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    """the numbers in it, for the CSV file beside it"""
    figure: "Figure"
    source: str = ""
    """the file of the results that the numbers are from"""
    note: str = ""
    """how to read it"""
    brief: tuple[Sequence[str], Sequence[Sequence[Any]]] | None = None
    """columns and rows in few, where there are too many to read"""


def named(metric: "Metric") -> str:
    """A metric's name and unit, as on an axis."""
    return metric.name if metric.unit in ("", "1") else f"{metric.name} ({metric.unit})"


def file_name(text: str) -> str:
    """A text as part of a file's name."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in text).strip("-") or "x"


def color_of(index: int) -> str:
    """Of a setting; the same in all charts."""
    return OKABE_ITO[index % len(OKABE_ITO)]


def bars(metric: "Metric", intervals: "pl.DataFrame", baseline: int | None, confidence: float) -> Chart:
    """A bar a setting from 0 to its mean, with the interval of the mean."""
    rows = list(intervals.iter_rows(named=True))
    known = [row for row in rows if row["mean"] is not None]
    with canvas(5.6, _height(len(rows))) as figure:
        axes = figure.subplots()
        ends = [0.0]
        for place, row in enumerate(rows):
            if row["mean"] is None:
                axes.annotate("none", (0, place), (4, 0), textcoords="offset points", va="center", fontsize=8)
                continue
            own = row["setting"] == baseline
            axes.barh(
                place, row["mean"], height=0.66, color=color_of(row["setting"]), edgecolor=PAPER if own else "none",
                hatch="///" if own else "", linewidth=0,
            )  # fmt: skip
            end = row["mean"] if row["high"] is None else row["high"]
            if row["low"] is not None and row["low"] < row["high"]:
                whiskers = [[row["mean"] - row["low"]], [row["high"] - row["mean"]]]
                axes.errorbar(row["mean"], place, xerr=whiskers, fmt="none", color=INK, elinewidth=1.3, capsize=3.5)
            ends.append(end)
            text = within(row["mean"], row["low"], row["high"])
            axes.annotate(text, (max(end, 0), place), (5, 0), textcoords="offset points", va="center", fontsize=8)
        _name_rows(axes, [row["label"] for row in rows])
        axes.set_xlim(0, max(ends) * 1.34 or 1)  # no metric is below 0, though an interval may reach there
        axes.set_xlabel(named(metric))
        axes.grid(axis="x")
    said = ", ".join(f"{row['label']} {within(row['mean'], row['low'], row['high'])}" for row in known[:12])
    return Chart(
        f"bars-{file_name(metric.name)}",
        f"{metric.name}: means",
        f"Bars of {metric.name} in {_unit(metric)}: {said}.",
        ("label", "n", "mean", "low", "high", "unit"),
        [(row["label"], row["n"], row["mean"], row["low"], row["high"], metric.unit) for row in rows],
        figure,
        "intervals.csv",
        f"Mean of the replications and its {confidence:.0%} interval" + _hatched(rows, baseline) + ".",
    )


def forest(metric: "Metric", paired: "pl.DataFrame", confidence: float, base: float | None) -> Chart:
    """The difference of each setting from the baseline, replication by replication, with its interval."""
    rows = list(paired.iter_rows(named=True))
    baselines = {row["baseline_label"] for row in rows}
    baseline = baselines.pop() if len(baselines) == 1 else "its baseline"
    with canvas(5.6, _height(len(rows)) + 0.15) as figure:
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=0.9)
        for place, row in enumerate(rows):
            told = row["verdict"] in ("lower", "higher")
            color = color_of(row["setting"]) if told else "#8a9198"
            if row["difference"] is None:
                continue
            if row["low"] is not None and row["low"] < row["high"]:
                axes.plot([row["low"], row["high"]], [place, place], color=color, linewidth=2, solid_capstyle="butt")
            axes.plot(
                row["difference"], place, marker=MARKERS[row["setting"] % len(MARKERS)], markersize=6.5, color=color,
                markerfacecolor=color if told else PAPER, markeredgewidth=1.4,
            )  # fmt: skip
            words = f"{signed(row['difference'], row['low'], row['high'])}"
            if base:
                words += f"  ({share(row['difference'] / base)})"
            axes.annotate(
                words, (1.02, place), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8,
            )  # fmt: skip
        _name_rows(axes, [row["label"] for row in rows])
        axes.margins(x=0.08)
        axes.locator_params(axis="x", nbins=5)
        better = {"lower": "\n← better", "higher": "\nbetter →"}.get(metric.better or "", "")
        axes.set_xlabel(f"{named(metric)}: difference from {baseline}{better}")
        axes.grid(axis="x")
    said = "; ".join(
        f"{row['label']} {signed(row['difference'], row['low'], row['high'])}, {row['verdict']}" for row in rows[:12]
    )
    return Chart(
        f"paired-{file_name(metric.name)}",
        f"{metric.name}: paired differences",
        f"Differences of {metric.name} from {baseline} in {_unit(metric)}: {said}.",
        ("label", "baseline_label", "n", "difference", "low", "high", "p", "p_adjusted", "verdict", "needed", "unit"),
        [
            (*(row[name] for name in ("label", "baseline_label", "n", "difference", "low", "high", "p", "p_adjusted")),
             row["verdict"], row["needed"], metric.unit)
            for row in rows
        ],
        figure,
        "paired.csv",
        f"Mean of the differences within replications and its {confidence:.0%} interval. Filled: told apart from "
        f"{baseline}; hollow: not.",
    )  # fmt: skip


def pareto(x: "Metric", y: "Metric", points: "pl.DataFrame") -> Chart:
    """Settings by memory and latency, and the front of those that no other beats in both.

    `points` has setting, label, and mean, low and high of both: x, x_low, x_high, y, y_low, y_high.
    """
    rows = [row for row in points.iter_rows(named=True) if row["x"] is not None and row["y"] is not None]
    front = _front([(row["x"], row["y"]) for row in rows])
    with canvas(6.4, 4.2) as figure:
        axes = figure.subplots()
        order = sorted(front, key=lambda place: rows[place]["x"])
        if len(order) > 1:
            axes.plot(
                [rows[place]["x"] for place in order], [rows[place]["y"] for place in order],
                drawstyle="steps-post", color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label="Pareto front", zorder=1,
            )  # fmt: skip
        for place, row in enumerate(rows):
            color = color_of(row["setting"])
            lengths: dict[str, Any] = {}
            for axis in "xy":
                if row[f"{axis}_low"] is not None and row[f"{axis}_high"] is not None:
                    lengths[f"{axis}err"] = [[row[axis] - row[f"{axis}_low"]], [row[f"{axis}_high"] - row[axis]]]
            axes.errorbar(
                row["x"], row["y"], **lengths, color=color, ecolor=f"{color}80",
                marker=MARKERS[row["setting"] % len(MARKERS)], markersize=7.5, linestyle="none",
                markerfacecolor=color if place in front else PAPER, elinewidth=1, label=row["label"],
            )  # fmt: skip
        axes.set(xlabel=named(x), ylabel=named(y))
        axes.grid()
        _legend(figure, axes)
    best = ", ".join(rows[place]["label"] for place in order)
    return Chart(
        "pareto",
        f"{x.name} against {y.name}",
        f"{len(rows)} settings by {x.name} and {y.name}; on the Pareto front: {best}.",
        ("label", x.name, f"{x.name}.low", f"{x.name}.high", y.name, f"{y.name}.low", f"{y.name}.high", "on_front"),
        [
            (*(row[name] for name in ("label", "x", "x_low", "x_high", "y", "y_low", "y_high")), place in front)
            for place, row in enumerate(rows)
        ],
        figure,
        "intervals.csv",
        f"Means with their intervals. Filled: on the front, where no setting has both less {x.name} and less {y.name}, "
        "by the means; overlapping intervals say that it may be another.",
    )


def curves(metric: "Metric", factor: str, lines: "dict[str, pl.DataFrame]", name: str) -> Chart:
    """A metric over the levels of a factor that is a number, a line for each combination of the others.

    Each of `lines` has level, mean, low and high, in the order of the levels.
    """
    with canvas(6.4, 3.8) as figure:
        axes = figure.subplots()
        for index, (label, line) in enumerate(lines.items()):
            level, mean = line["level"].to_list(), line["mean"].to_list()
            axes.plot(
                level, mean, color=color_of(index), marker=MARKERS[index % len(MARKERS)], markersize=6, linewidth=1.7,
                linestyle=DASHES[index // len(OKABE_ITO) % len(DASHES)], label=label,
            )  # fmt: skip
            low, high = line["low"].to_list(), line["high"].to_list()
            if None not in low and None not in high:
                axes.fill_between(level, low, high, color=color_of(index), alpha=0.18, linewidth=0)
        axes.set(xlabel=factor, ylabel=named(metric))
        levels = sorted({level for line in lines.values() for level in line["level"].to_list()})
        if levels[0] > 0 and levels[-1] / levels[0] > 30:
            logarithmic(axes, levels[-1] / levels[0])
        axes.set_ylim(0)
        axes.grid()
        if len(lines) > 1:
            _legend(figure, axes)
    ends = "; ".join(
        f"{label or metric.name} {short(line['mean'][0])} at {short(line['level'][0])}, {short(line['mean'][-1])} at "
        f"{short(line['level'][-1])}"
        for label, line in list(lines.items())[:8]
    )
    return Chart(
        name,
        f"{metric.name} over {factor}",
        f"Curves of {metric.name} in {_unit(metric)} over {factor}: {ends}.",
        ("line", factor, metric.name, "low", "high"),
        [(label, *row) for label, line in lines.items() for row in line.iter_rows()],
        figure,
        "intervals.csv",
        "Means, and the band of their intervals.",
    )


def cdf(what: str, samples: "dict[int, tuple[str, pl.DataFrame]]", help: str, source: str) -> Chart:
    """Shares of requests below each value. `samples`: a label, and quantiles as q and value, by setting."""
    with canvas(6.4, 3.8) as figure:
        axes = figure.subplots()
        values = [value for _, frame in samples.values() for value in frame["value"].to_list()]
        for index, (label, frame) in samples.items():
            axes.plot(
                frame["value"].to_list(), frame["q"].to_list(), color=color_of(index), linewidth=1.6, label=label,
                linestyle=DASHES[index % len(DASHES)], marker=MARKERS[index % len(MARKERS)], markersize=4.5,
                markevery=(4 + 3 * index % 17, 20),
            )  # fmt: skip
        axes.set(xlabel=f"{what} (s)", ylabel="share of requests", ylim=(0, 1.02))
        above = [value for value in values if value > 0]
        if above and max(above) > 10 * sorted(above)[len(above) // 20]:
            logarithmic(axes, max(above) / sorted(above)[len(above) // 50])
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid()
        if len(samples) > 1:
            _legend(figure, axes)
    middles = ", ".join(f"{label} {short(_at(frame, 0.5))} s" for label, frame in list(samples.values())[:12])
    tails = ", ".join(f"{label} {short(_at(frame, 0.99))} s" for label, frame in list(samples.values())[:12])
    return Chart(
        f"cdf-{file_name(what)}",
        f"{what}: distribution",
        f"Distribution of {what}. Medians: {middles}. 99th percentiles: {tails}.",
        ("label", "q", "value_s"),
        [(label, *row) for label, frame in samples.values() for row in frame.select("q", "value").iter_rows()],
        figure,
        source,
        help,
        brief=(
            ("label", *(f"p{q * 100:.0f} (s)" for q in BRIEF)),
            [(label, *(_at(frame, q) for q in BRIEF)) for label, frame in samples.values()],
        ),
    )


def waste(shares: "list[tuple[str, dict[str, float]]]", source: str) -> Chart:
    """What the slots of the pool were used for, a stacked bar a setting; `shares` are the parts of WASTE."""
    with canvas(8.4, _height(len(shares)) + 0.35) as figure:
        axes = figure.subplots()
        for kind, (words, color, hatch) in WASTE.items():
            parts = [own[kind] for _, own in shares]
            if kind == "external" and not any(parts):
                continue
            begins = [sum(own[before] for before in list(WASTE)[: list(WASTE).index(kind)]) for _, own in shares]
            axes.barh(
                range(len(shares)), parts, left=begins, height=0.66, color=color, hatch=hatch, label=words,
                edgecolor=PAPER, linewidth=0,
            )  # fmt: skip
            for place, (begin, part) in enumerate(zip(begins, parts, strict=True)):
                if part >= 0.05 and not hatch:
                    ink = INK if color == IDLE else PAPER
                    axes.text(begin + part / 2, place, f"{part:.1%}", ha="center", va="center", color=ink, fontsize=8)
        _name_rows(axes, [label for label, _ in shares])
        axes.set(xlim=(0, 1), xlabel="share of the pool's slots for tokens, mean over time")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=5, handlelength=1.4)
    said = "; ".join(
        f"{label}: " + ", ".join(f"{WASTE[kind][0]} {part:.1%}" for kind, part in own.items() if part >= 0.0005)
        for label, own in shares[:12]
    )
    return Chart(
        "waste",
        "What the memory was used for",
        f"Shares of the pool. {said}.",
        ("label", *WASTE),
        [(label, *(own[kind] for kind in WASTE)) for label, own in shares],
        figure,
        source,
        "Shared blocks count once. Cached blocks that nobody holds count as free: they are given up once they are "
        "needed.",
    )


@dataclass(frozen=True)
class BlockMap:
    """What each block of a pool was at some instants."""

    label: str
    times: Sequence[float]
    """[instants] seconds, evenly spaced"""
    blocks: Sequence[int]
    """[rows] the numbers of the blocks shown"""
    states: Any
    """[rows, instants] places in LEVELS"""
    whole: bool
    """whether the run was over by the last instant"""


def heatmap(maps: Sequence[BlockMap]) -> Chart:
    """Blocks by time, a panel a run: free, cached, held, shared."""
    across = min(len(maps), 2)
    down = -(-len(maps) // across)
    with canvas(1 + 4.4 * across if across > 1 else 8.4, 0.7 + 2.5 * down) as figure:
        panels = figure.subplots(down, across, squeeze=False, sharex=True).ravel()
        for axes, each in zip(panels, maps, strict=False):
            step = each.times[1] - each.times[0] if len(each.times) > 1 else 1
            axes.set_facecolor(IDLE)
            axes.imshow(
                _painted(each.states), aspect="auto", interpolation="nearest", origin="lower", 
                extent=(each.times[0], each.times[-1] + step, each.blocks[0], each.blocks[-1] + 1),
            )  # fmt: skip
            axes.set_title(each.label)
        for axes in panels[len(maps) :]:
            axes.remove()
        for axes in panels[max(0, len(maps) - across) : len(maps)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("time (s)", fontsize=9)
        figure.supylabel("block", fontsize=9)
        handles = [
            panels[0].plot([], [], "s", color=color, markersize=9, label=words)[0]
            for color, words in zip((IDLE, *VIRIDIS), LEVELS, strict=True)
        ]
        figure.legend(handles=handles, loc="outside upper center", ncols=4, handlelength=1.2)
    means = "; ".join(
        f"{each.label}: " + ", ".join(
            f"{words} {part:.0%}" for words, part in zip(LEVELS, _parts(each.states), strict=True)
        )
        for each in maps
    )  # fmt: skip
    first = next((each for each in maps if not each.whole), None)
    begin = "" if first is None else " Long runs are shown from their beginning on, up to a limit of steps."
    left_out = " Not all blocks have a row; those shown are evenly spaced." if maps[0].blocks[1:2] != [2] else ""
    return Chart(
        "blocks",
        "The pool, block by block",
        f"State of each block over time. {means}.",
        ("label", "block", *(f"{time:.6g}" for time in maps[0].times)) if len(maps) == 1 else ("label", "block", "t0_s",
         "dt_s", *(str(i) for i in range(len(maps[0].times)))),
        [
            (each.label, block, *(() if len(maps) == 1 else (each.times[0], each.times[1] - each.times[0])), *row)
            for each in maps
            for block, row in zip(each.blocks, each.states.tolist(), strict=True)
        ],
        figure,
        "",
        f"A row is a block, a column an instant; 0 {LEVELS[0]}, 1 {LEVELS[1]}, 2 {LEVELS[2]}, 3 {LEVELS[3]}."
        f"{begin}{left_out}",
        brief=(
            ("label", *(f"{words}, share" for words in LEVELS)), [(each.label, *_parts(each.states)) for each in maps]
        ),
    )  # fmt: skip


def timeline(
    times: Sequence[float], parts: dict[str, Sequence[float]], total: float, waiting: Sequence[float]
) -> Chart:
    """The pool of one run over time, in blocks, stacked; and below it how many wait."""
    looks = {
        "tokens": ("tokens of running requests", OKABE_ITO[0], ""),
        "unused": ("slots of held blocks without a token", OKABE_ITO[1], "///"),
        "cached": ("cached, held by nobody", OKABE_ITO[5], "..."),
        "free": ("free", IDLE, ""),
    }
    with canvas(8.4, 4.4) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        upper.stackplot(
            times, *(parts[kind] for kind in looks), step="post", labels=[words for words, _, _ in looks.values()],
            colors=[color for _, color, _ in looks.values()], hatch=[hatch for _, _, hatch in looks.values()],
            edgecolor=PAPER, linewidth=0,
        )  # fmt: skip
        upper.set(ylabel="blocks", ylim=(0, total), xlim=(times[0], times[-1]))
        lower.fill_between(times, waiting, step="post", color=OKABE_ITO[1], linewidth=0)
        lower.set(ylabel="waiting", xlabel="time (s)", ylim=(0, max(1, max(waiting) * 1.05)))
        lower.grid()
        figure.legend(*upper.get_legend_handles_labels(), loc="outside upper center", ncols=4, handlelength=1.4)
    peak = max(range(len(times)), key=lambda place: parts["tokens"][place] + parts["unused"][place])
    return Chart(
        "timeline",
        "The pool over time",
        f"Blocks of the pool over {short(times[-1])} s, {short(total)} in all; most are held at "
        f"{short(times[peak])} s, {short(parts['tokens'][peak] + parts['unused'][peak])}. "
        f"At most {short(max(waiting))} sequences wait.",
        ("t_s", *parts, "waiting"),
        list(zip(times, *parts.values(), waiting, strict=True)),
        figure,
        "timeline.parquet",
        "Each point is a mean over its share of the time. Blocks that are partly filled are counted by the parts.",
        brief=(
            ("t_s", *parts, "waiting"),
            [
                (times[place], *(column[place] for column in parts.values()), waiting[place])
                for place in range(0, len(times), max(1, len(times) // 20))
            ],
        ),
    )


def _front(points: Sequence[tuple[float, float]]) -> set[int]:
    """Places of the points than which no other is as small in both and smaller in one."""
    return {
        place
        for place, (x, y) in enumerate(points)
        if not any(u <= x and v <= y and (u < x or v < y) for u, v in points)
    }


def _name_rows(axes: "Axes", labels: Sequence[str]) -> None:
    axes.set_yticks(range(len(labels)), [text if len(text) <= 40 else f"{text[:38]}…" for text in labels])
    if len(labels) > 30:
        axes.tick_params(axis="y", labelsize=6)
    axes.set_ylim(len(labels) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)


def _legend(figure: "Figure", axes: "Axes") -> None:
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= MOST_LEGEND:
        figure.legend(handles, labels, loc="outside right center")


def _height(rows: int) -> float:
    return 0.75 + (0.34 if rows <= 30 else 0.16) * max(rows, 2)


def _unit(metric: "Metric") -> str:
    return "numbers" if metric.unit in ("", "1") else metric.unit


def _hatched(rows: Sequence[dict[str, Any]], baseline: int | None) -> str:
    own = [row["label"] for row in rows if row["setting"] == baseline]
    return f"; hatched: the baseline, {own[0]}" if own else ""


def _at(frame: "pl.DataFrame", q: float) -> float | None:
    below = [pair for pair in pairwise(frame.select("q", "value").iter_rows()) if pair[0][0] <= q + 1e-9 <= pair[1][0]]
    return below[0][0][1] if below else None


def _painted(states: Any) -> Any:
    """[rows, instants, 4] colors; where nothing is, the ground shows through."""
    import numpy as np

    hexes = [f"{color}ff" for color in VIRIDIS]
    colors = [[0, 0, 0, 0], *([int(text[place : place + 2], 16) for place in (1, 3, 5, 7)] for text in hexes)]
    return np.array(colors, np.uint8)[states]


def _parts(states: Any) -> list[float]:
    import numpy as np

    return [float(part) for part in np.bincount(states.ravel(), minlength=len(LEVELS)) / states.size]

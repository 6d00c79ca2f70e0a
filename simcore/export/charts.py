"""Charts that need no screen: SVG, PNG and PDF, each beside the CSV of what it shows."""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from simcore.errors import InputError
from simcore.export.folder import replacing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colors that can be told apart with any eyes (Okabe and Ito, 2008, https://jfly.uni-koeln.de/color/), but for yellow,
which is too light for a line."""
MARKERS = "os^Dv<>PX*ph"
"""Other than the colors in number, so that a pair is not repeated soon."""
SUFFIXES = (".svg", ".png")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    dashed: bool = False
    key: str = ""
    """lines with one key have one color and marker; empty: the label"""


def line_chart(panels: dict[str, list[Line]], *, x: str, y: str, title: str = "", steps: bool = False) -> "Figure":
    """Panels side by side that share the y axis, from 0 on, with x in powers of ten; x and y name axes and units.

    `steps`: y keeps its value up to the next x, and single points are not marked.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(1.5 + 4.5 * len(panels), 4.5), layout="constrained")
    all_axes = figure.subplots(1, len(panels), sharex=True, sharey=True, squeeze=False)[0]
    keys = dict.fromkeys(line.key or line.label for lines in panels.values() for line in lines)
    styles = dict(zip(keys, zip(cycle(OKABE_ITO), cycle(MARKERS), strict=False), strict=False))
    for axes, (name, lines) in zip(all_axes, panels.items(), strict=True):
        for line in lines:
            color, marker = styles[line.key or line.label]
            axes.plot(
                line.x, line.y, color=color, label=line.label, linestyle="--" if line.dashed else "-", linewidth=1.6,
                marker=None if steps else marker, markersize=5, drawstyle="steps-post" if steps else "default",
            )  # fmt: skip
        axes.set(xscale="log", xlabel=x, title=name)
        axes.grid(alpha=0.25)
    all_axes[0].set_ylabel(y)
    all_axes[0].set_ylim(0)
    figure.suptitle(title)
    shown = {line.label: handle for axes, lines in zip(all_axes, panels.values(), strict=True)
             for line, handle in zip(lines, axes.get_lines(), strict=True)}  # fmt: skip
    figure.legend(shown.values(), shown.keys(), loc="outside right center", frameon=False)
    return figure


STYLE: dict[Any, Any] = {
    "axes.edgecolor": "#2b2f33", "axes.labelcolor": "#2b2f33", "text.color": "#2b2f33", "xtick.color": "#2b2f33",
    "ytick.color": "#2b2f33", "grid.color": "#d4d8dc", "hatch.color": "#ffffff", "hatch.linewidth": 0.6,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.linewidth": 0.8,
    "axes.titlesize": 10, "axes.titleweight": "bold", "axes.labelsize": 9, "font.size": 9, "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5, "legend.fontsize": 8.5, "legend.frameon": False, "pdf.fonttype": 42, "svg.fonttype": "none",
}  # fmt: skip
"""Of the charts in a report: text that stays text, and a few colors that a page can trade for those of its theme."""


@contextmanager
def canvas(width: float, height: float) -> "Iterator[Figure]":
    """An empty figure of so many inches, in the style of the reports while the block lasts."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def logarithmic(axes: "Axes", ratio: float) -> None:
    """A logarithmic x axis with plain numbers; within three decades at 2 and 5 too."""
    from matplotlib.ticker import LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if ratio < 1000 else (1,)))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def picture(figure: "Figure", kind: str, salt: str = "kvscope") -> bytes:
    """A figure as "svg", "png" or "pdf"; the same bytes for the same figure. `salt` makes the names in an SVG its own.

    The figure is laid out when it is first drawn, and stays so.
    """
    from matplotlib import rc_context

    buffer = BytesIO()
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with rc_context({**STYLE, "svg.hashsalt": salt}):
        figure.savefig(buffer, format=kind, dpi=200, metadata=metadata)
    if figure.get_layout_engine() is not None:
        figure.set_layout_engine("none")
    return buffer.getvalue()


@contextmanager
def chart_files(chart: Path | None, table: Path | None, spare: Iterable[Path] = ()) -> "Iterator[Outputs]":
    """Where a chart and a table go; with a chart alone the table lies beside it, as .csv.

    Opened before the work, so that no time is spent where nothing can be written, and put in place after it, whole or
    not at all. `spare`: files that are read, and must not be written. Raises InputError.
    """
    if chart is not None and chart.suffix.lower() not in SUFFIXES:
        raise InputError(f"{chart}: a chart's name must end in {' or '.join(SUFFIXES)}")
    beside = None if chart is None else chart.with_suffix(".csv")
    tables = {path.resolve(): path for path in (table, beside) if path is not None}
    for path in (*tables.values(), *(() if chart is None else (chart,))):
        if path.resolve() in {each.resolve() for each in spare}:
            raise InputError(f"{path}: would be overwritten, and it is what is read; choose another name")
    with ExitStack() as stack:
        yield Outputs(
            chart,
            None if chart is None else stack.enter_context(replacing(chart)),
            [stack.enter_context(replacing(path)) for path in tables.values()],
        )


@dataclass(frozen=True, slots=True)
class Outputs:
    """Files that are open."""

    chart: Path | None
    picture: "IO[str] | None"
    tables: "list[Any]"

    def draw(self, figure: "Figure") -> None:
        """Write a chart, the same bytes for the same figure."""
        from matplotlib import rc_context

        assert self.chart is not None
        assert self.picture is not None
        buffer = BytesIO()
        kind = self.chart.suffix.lower()[1:]
        with rc_context({"svg.hashsalt": "kvscope"}):
            figure.savefig(buffer, format=kind, dpi=150, metadata={"Date": None} if kind == "svg" else None)
        self.picture.buffer.write(buffer.getvalue())  # type: ignore[attr-defined]

    def write(self, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write the tables."""
        lines = [",".join(columns), *(",".join("" if cell is None else _cell(cell) for cell in row) for row in rows)]
        for file in self.tables:
            file.write("\n".join(lines) + "\n")


def _cell(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if "," in text else text

"""One self-contained page: text, tables and charts, for a browser without a network."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from simcore.export.report.charts import Chart
from simcore.export.report.numbers import NONE, short
from simcore.export.report.theme import COLORS, EARLY, SCRIPT, STYLE

MOST_ROWS = 120
"""Of a table behind a chart; where there are more, the file beside the chart has them."""
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


@dataclass(frozen=True)
class Cell:
    """Of a table: what is read, and what it is sorted by."""

    text: str
    value: float | None = None
    kind: str = ""
    """a class of the style sheet"""
    code: bool = False
    note: str = ""
    """below it, in small"""
    number: bool = False


def number(value: float | None, text: str | None = None, kind: str = "") -> Cell:
    """A cell with a number, or a dash for None."""
    return Cell(short(value) if text is None else text, value, kind, number=True)


@dataclass
class Page:
    """Sections one after the other; figures and tables count themselves."""

    title: str
    lead: str = ""
    """HTML"""
    meta: str = ""
    _parts: list[str] = field(default_factory=list)
    _links: list[tuple[str, str]] = field(default_factory=list)
    _figures: int = 0

    def section(self, id: str, title: str, link: str = "") -> None:
        """Begin a section, named so in the bar at the top."""
        self._links.append((id, link or title))
        self._parts.append(f'<h2 id="{id}">{escape(title)}</h2>')

    def add(self, html: str) -> None:
        """Put HTML there."""
        self._parts.append(html)

    def text(self, text: str) -> None:
        """A paragraph; what stands between backticks is code."""
        self._parts.append(f"<p>{prose(text)}</p>")

    def figure(self, chart: Chart, svg: str, *, files: str = "charts/") -> str:
        """A chart with its caption, its files and the table behind it, as HTML."""
        self._figures += 1
        columns, rows = chart.brief or (chart.columns, chart.rows)
        shown = rows[:MOST_ROWS]
        left = f"The first {len(shown):,} of {len(rows):,} rows." if len(rows) > len(shown) else ""
        behind = table(columns, [[_cell(value) for value in row] for row in shown], caption=left)
        links = ""
        if files:
            names = [f"{files}{chart.name}.{ending}" for ending in ("csv", "svg", "png", "pdf")]
            links = " ".join(f'<a href="{escape(name)}">{escape(name.rpartition(".")[2])}</a>' for name in names)
            links = f" Numbers: <code>{escape(names[0])}</code> ({links})"
        source = f" {'from' if links else 'From'} <code>{escape(chart.source)}</code>" if chart.source else ""
        links = f'<span class="files">{links}{source}.</span>' if links or source else ""
        return (
            f'<figure id="{escape(chart.name)}">{svg}<figcaption><b>Figure {self._figures}. {escape(chart.title)}.</b> '
            f"{prose(chart.note)}{links}</figcaption><details><summary>Table of figure {self._figures}</summary>"
            f"{behind}</details></figure>"
        )

    def html(self) -> str:
        """The whole document."""
        links = "".join(f'<a href="#{id}">{escape(name)}</a>' for id, name in self._links)
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta name="viewport" content="width=device-width,initial-scale=1">\n'
            f'<meta name="generator" content="KVScope">\n<title>{escape(self.title)}</title>\n'
            f"<style>{STYLE}</style>\n<script>{EARLY}</script>\n</head>\n<body>\n"
            f'<a class="skip" href="#main">Skip to the results</a>\n'
            f'<header><div><h1>{escape(self.title)}</h1>{self.lead}<p class="meta">{self.meta}</p></div></header>\n'
            f'<nav aria-label="Sections"><div>{links}<button id="theme" type="button" hidden>Dark</button></div></nav>'
            f"\n"
            f'<main id="main">\n' + "\n".join(self._parts) + f"\n</main>\n<footer>{self.meta}</footer>\n"
            f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
        )


def prose(text: str) -> str:
    """A text as HTML; what stands between backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def command(line: str) -> str:
    """A command to copy."""
    return f'<div class="cmd"><code>{escape(line)}</code></div>'


def cards(items: Iterable[tuple[str, str]]) -> str:
    """Numbers at a glance: what, and how much."""
    inner = "".join(f'<div class="card"><b>{escape(text)}</b><span>{escape(what)}</span></div>' for what, text in items)
    return f'<div class="cards">{inner}</div>'


def facts(items: Iterable[tuple[str, str]]) -> str:
    """A list of names and what they are."""
    return "<dl>" + "".join(f"<dt>{escape(name)}</dt><dd>{prose(text)}</dd>" for name, text in items) + "</dl>"


def table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, caption: str = "", sortable: bool = True) -> str:
    """A table whose rows can be sorted by each of its columns."""
    numeric = [bool(rows) and any(row[place].number for row in rows) for place in range(len(columns))]
    head = "".join(
        f'<th scope="col"{" class=n" if right else ""}>{escape(name)}</th>'
        for name, right in zip(columns, numeric, strict=True)
    )
    body = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
    told = f'<p class="muted">{prose(caption)}</p>' if caption else ""
    kind = ' class="sortable"' if sortable and len(rows) > 1 else ""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="table"><table{kind}><thead><tr>{head}</tr>'
        f"</thead><tbody>{body}</tbody></table></div>{told}"
    )


def inline_svg(svg: bytes, chart: Chart) -> str:
    """A chart for the midst of a page: in the colors of the page's theme, and with names of its own."""
    text = svg.decode("utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    size = re.search(r'<svg[^>]*? width="([\d.]+)pt"', text)
    wide = f' style="--wide:{float(size[1]) * 1.55:.0f}px"' if size else ""
    text = re.sub(
        r"<svg[^>]*? viewBox=(\"[^\"]*\")[^>]*>",
        rf'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox=\1 role="img" '
        rf'aria-label="{escape(chart.alt)}"{wide}>'.replace("\\", "\\\\").replace("\\\\1", "\\1"),
        text,
        count=1,
    )
    text = re.sub(r'\bid="', f'id="{chart.name}-', text)
    text = re.sub(r"url\(#", f"url(#{chart.name}-", text)
    text = re.sub(r'xlink:href="#', f'xlink:href="#{chart.name}-', text)
    for color, (name, _) in COLORS.items():
        text = text.replace(color, f"var(--{name})")
    text = re.sub(r"font: ([^;\"]*?)'DejaVu Sans'[^;\"]*", rf"font: \1{FONTS}", text)
    return re.sub(r">\s+<", "><", text)


def _cell(value: Any) -> Cell:
    if value is None or isinstance(value, str):
        return Cell(value or NONE)
    if isinstance(value, bool):
        return Cell("yes" if value else "no")
    return number(float(value))


def _td(cell: Cell) -> str:
    kinds = " ".join(kind for kind in ("n" if cell.number else "", cell.kind) if kind)
    attributes = f' class="{kinds}"' if kinds else ""
    if cell.number:
        attributes += f' data-v="{"" if cell.value is None else format(cell.value, ".10g")}"'
    text = escape(cell.text)
    note = f'<div class="muted">{escape(cell.note)}</div>' if cell.note else ""
    return f"<td{attributes}>{f'<code>{text}</code>' if cell.code else text}{note}</td>"

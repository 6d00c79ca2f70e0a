"""The tables of a paper: Markdown, and LaTeX with booktabs."""

from collections.abc import Sequence

from simcore.export.report.numbers import MINUS, NONE

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", MINUS: r"$-$", NONE: "--", "<": r"$<$",
    ">": r"$>$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "…": r"\ldots{}",
}  # fmt: skip


WORDS = ("metric", "setting", "verdict")
"""Columns of words, which are aligned to the left; all others to the right."""


def markdown(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    rule = "|" + "".join("---|" if name in WORDS else "---:|" for name in columns)
    lines = [_row(columns), rule, *map(_row, rows)]
    return f"{caption}\n\n" + "\n".join(lines) + "\n"


def latex(caption: str, label: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table in LaTeX, for \usepackage{booktabs}."""
    kinds = "".join("l" if name in WORDS else "r" for name in columns)
    body = "\n".join(" & ".join(map(tex, row)) + r" \\" for row in rows)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{tex(caption)}}}\n  \\label{{{label}}}\n"
        f"  \\begin{{tabular}}{{{kinds}}}\n    \\toprule\n"
        f"{' & '.join(map(tex, columns))} \\\\\n    \\midrule\n{body}\n    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def tex(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return "".join(TEX.get(c, c) for c in text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

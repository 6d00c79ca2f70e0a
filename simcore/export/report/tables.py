"""The tables of a paper: Markdown, and LaTeX with booktabs."""

from collections.abc import Sequence

from simcore.export.report.numbers import MINUS, NONE

TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", MINUS: r"$-$", NONE: "--", "<": r"$<$",
    ">": r"$>$", "↓": r"$\downarrow$", "↑": r"$\uparrow$", "…": r"\ldots{}",
}  # fmt: skip


def markdown(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; all columns but the first are aligned to the right."""
    lines = [_row(columns), "|---|" + "---:|" * (len(columns) - 1), *map(_row, rows)]
    return f"{caption}\n\n" + "\n".join(lines) + "\n"


def latex(caption: str, label: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    r"""A table in LaTeX, for \usepackage{booktabs}; all columns but the first are aligned to the right."""
    body = "\n".join(" & ".join(map(tex, row)) + r" \\" for row in rows)
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{tex(caption)}}}\n  \\label{{{label}}}\n"
        f"  \\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}\n    \\toprule\n"
        f"{' & '.join(map(tex, columns))} \\\\\n    \\midrule\n{body}\n    \\bottomrule\n"
        "  \\end{tabular}\n\\end{table}\n"
    )


def tex(text: str) -> str:
    """A text that LaTeX prints as it is."""
    return "".join(TEX.get(c, c) for c in text)


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

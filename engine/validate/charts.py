"""Theory against reality over time, as a picture and as a page."""

import base64
from html import escape
from io import BytesIO

from matplotlib.figure import Figure

from engine.validate.report import Report
from simcore.geometry import MIB

THEORY, ALLOCATED, STORED, WASTED = "#111827", "#a855f7", "#22c55e", "#dc2626"
POINTS = 1500
"""More than can be told apart across a page."""


def memory_chart(report: Report) -> bytes:
    """PNG: bytes allocated, stored and wasted in each step; what the engine held in color, the simulator's in black."""
    steps = report.steps
    every = max(len(steps["step"]) // POINTS, 1)
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, color in (("allocated", ALLOCATED), ("stored", STORED), ("wasted", WASTED)):
        real, predicted = (steps[f"{side}_{name}"][::every] / MIB for side in ("reality", "theory"))
        axes.step(
            steps["t"][::every], real, where="post", color=color, linewidth=2.5, alpha=0.6, label=f"{name}: engine"
        )
        axes.step(
            steps["t"][::every], predicted, where="post", color=THEORY, linewidth=0.7, linestyle="--",
            label="simulator" if name == "allocated" else None,
        )  # fmt: skip
    axes.set(xlabel="time (s)", ylabel="MiB of the KV cache", title="KV cache: predicted and measured", ylim=(0, None))
    axes.margins(x=0)
    axes.grid(alpha=0.25)
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def page(report: Report, title: str, chart: bytes | None, *, strict_time: bool) -> str:
    """One HTML file with the picture in it and every row."""
    verdict = "everything agrees" if report.ok(strict_time=strict_time) else "something disagrees"
    rows = "\n".join(
        f'<tr class="{"ok" if row.ok else "bad"}"><td>{"✓" if row.ok else "✗"}</td><td>{escape(row.check)}</td>'
        f"<td>{row.kind}</td><td>{number(row.predicted)}</td><td>{number(row.measured)}</td><td>{escape(row.unit)}</td>"
        f"<td>{number(row.error)}</td><td>{number(row.bound)}</td></tr>"
        for row in report.rows
    )
    notes = "\n".join(f"<li>{escape(note)}</li>" for note in report.notes)
    return _PAGE.format(
        title=escape(title),
        verdict=verdict,
        rows=rows,
        notes=notes,
        chart="" if chart is None else _PICTURE.format(base64.b64encode(chart).decode()),
    )


def number(value: float) -> str:
    """As a table shows it."""
    if value != value or value in (float("inf"), float("-inf")):
        return "-"
    if float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.1f}"


_PICTURE = '<img alt="Bytes of the KV cache over time, predicted and measured" src="data:image/png;base64,{}">'

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>KVScope: {title}</title><style>
body {{ font: 15px/1.45 system-ui, sans-serif; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; color: #111827 }}
img {{ width: 100% }} table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums }}
td, th {{ padding: .25rem .6rem; border-bottom: 1px solid #e5e7eb; text-align: left }}
td:nth-child(n+4):not(:nth-child(6)) {{ text-align: right }}
.ok td:first-child {{ color: #15803d }} .bad {{ background: #fef2f2 }} .bad td:first-child {{ color: #b91c1c }}
</style></head><body>
<h1>Simulator and engine: {verdict}</h1><p>{title}</p>
{chart}
<table><tr><th></th><th>check</th><th>kind</th><th>predicted</th><th>measured</th><th>unit</th><th>error</th>
<th>bound</th></tr>
{rows}
</table><h2>Notes</h2><ul>
{notes}
</ul></body></html>
"""

"""What a comparison says, in sentences."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from simcore.export.report.numbers import places_of, share, short, within

if TYPE_CHECKING:
    import polars as pl

    from simcore.experiment import Metric

MOST_NEEDED = 1000
"""Replications, beyond which nobody would want to know exactly how many it takes."""
MOST_NAMED = 6
"""So many settings are named in one sentence; the tables have the others."""


def verdict(metric: "Metric", intervals: "pl.DataFrame", paired: "pl.DataFrame") -> str:
    """HTML: which setting is best by a metric, and which are told apart from the baseline."""
    labels = {row["label"]: row["mean"] for row in intervals.iter_rows(named=True)}
    rows = list(paired.iter_rows(named=True))
    first = _best(metric, intervals)
    groups: dict[str, list[dict[str, Any]]] = {"good": [], "bad": [], "other": [], "unsure": [], "same": [], "none": []}
    for row in rows:
        groups[kind_of(metric, row["verdict"]) if row["n"] else "none"].append(row)
    baselines = {row["baseline_label"] for row in rows}
    against = next(iter(baselines)) if len(baselines) == 1 else "its baseline"
    parts = []
    for kind, tag in (("good", "better"), ("bad", "worse"), ("other", "different")):
        if found := groups[kind]:
            named = _several(
                f"<b>{escape(row['label'])}</b> by {_by(row, metric, labels.get(row['baseline_label']))}"
                for row in _largest_first(found)
            )
            parts.append(_line(kind, tag, f"{'from' if kind == 'other' else 'than'} {escape(against)}", named))
    if found := groups["unsure"]:
        named = _several(f"{escape(row['label'])}{_needed(row['needed'])}" for row in found)
        parts.append(_line("unsure", "too few replications to tell", f"from {escape(against)}", named))
    if found := groups["same"]:
        named = _several(escape(row["label"]) for row in found)
        parts.append(_line("unsure", "the same", f"as {escape(against)} in every replication", named))
    said = f"<code>{escape(metric.name)}</code> {escape(metric.help.rstrip('.'))}."
    if found := groups["none"]:
        named = _several(escape(row["label"]) for row in found)
        parts.append(_line("unsure", "no runs to compare", f"with {escape(against)}", named))
    return f"<li><p>{said} {first}</p>{''.join(parts)}</li>"


def in_all(metrics: "Sequence[Metric]", paired: "dict[str, pl.DataFrame]") -> str:
    """HTML: for each setting, in how many metrics it is better or worse than what it is compared with."""
    found: dict[str, dict[str, list[str]]] = {}
    for metric in metrics:
        for row in paired[metric.name].iter_rows(named=True):
            if not row["n"]:
                continue
            kinds = found.setdefault(row["label"], {"good": [], "bad": []})
            if (kind := kind_of(metric, row["verdict"])) in kinds:
                kinds[kind].append(metric.name)
    sentences, alike = [], []
    for label, kinds in found.items():
        parts = [
            f'<span class="{kind}">{word} in {len(names)}</span>'
            for kind, word in (("good", "better"), ("bad", "worse"))
            if (names := kinds[kind])
        ]
        if parts:
            sentences.append(f"<b>{escape(label)}</b> {' and '.join(parts)}")
        else:
            alike.append(f"<b>{escape(label)}</b>")
    if alike:
        sentences.append(f"{_several(alike)} not told apart in any")
    return "; ".join(sentences)


def kind_of(metric: "Metric", verdict: str) -> str:
    """Of a verdict: good, bad, other (told apart, but neither is better), unsure or same."""
    if verdict not in ("lower", "higher"):
        return "same" if verdict == "same" else "unsure"
    if metric.better is None:
        return "other"
    return "good" if verdict == metric.better else "bad"


def best_of(metric: "Metric", intervals: "pl.DataFrame") -> set[int]:
    """The settings with the best mean: more than one if they are equal, none if nothing is better or all are equal."""
    known = [(row["setting"], row["mean"]) for row in intervals.iter_rows(named=True) if row["mean"] is not None]
    if metric.better is None or len({mean for _, mean in known}) < 2:
        return set()
    best = (min if metric.better == "lower" else max)(mean for _, mean in known)
    return {setting for setting, mean in known if mean == best}


def _best(metric: "Metric", intervals: "pl.DataFrame") -> str:
    best = best_of(metric, intervals)
    rows = [row for row in intervals.iter_rows(named=True) if row["setting"] in best]
    if not rows:
        return ""
    which = "Lowest" if metric.better == "lower" else "Highest"
    amount = f"{within(rows[0]['mean'], rows[0]['low'], rows[0]['high'])}{unit_of(metric)}"
    named = _several(f"<b>{escape(row['label'])}</b>" for row in rows)
    return f"{which} on average: {named}, {amount}."


def unit_of(metric: "Metric") -> str:
    """Its unit after a number: " s", or nothing."""
    return "" if metric.unit in ("", "1") else f" {metric.unit}"


def _by(row: dict[str, Any], metric: "Metric", base: float | None) -> str:
    size = abs(row["difference"])
    amount = short(size)
    if row["low"] is not None and row["high"] is not None and row["high"] > row["low"]:
        half = (row["high"] - row["low"]) / 2
        places = places_of(half)
        amount = f"{size:,.{places}f} ± {half:,.{places}f}"
    part = f" ({share(row['difference'] / base)})" if base else ""
    return f"{amount}{escape(unit_of(metric))}{part}"


def _line(kind: str, tag: str, rest: str, named: str) -> str:
    return f'<p><span class="tag {kind}">{tag}</span> {rest}: {named}.</p>'


def _needed(replications: int | None) -> str:
    """Only the order of magnitude of it can be known."""
    if not replications:
        return ""
    if replications > MOST_NEEDED:
        return f" (more than {MOST_NEEDED:,} would be needed)"
    rounded = round(replications, 1 - math.floor(math.log10(replications)))
    return f" (about {max(rounded, 2):,} would do)"


def _largest_first(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: -abs(row["difference"]))


def _several(texts: Iterable[str], most: int = MOST_NAMED) -> str:
    found: Sequence[str] = list(texts)
    comma = "; " if any(", " in text for text in found) else ", "
    if len(found) > most:
        return comma.join(found[:most]) + f" and {len(found) - most} more"
    return comma.join(found[:-1]) + (" and " if len(found) > 1 else "") + found[-1]

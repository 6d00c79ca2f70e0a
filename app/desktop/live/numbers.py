"""Numbers that tell how the memory does, a card each."""

import numpy as np
from PySide6.QtWidgets import (
    QHBoxLayout,
    QWidget,
)

from app.desktop.figure import Figure
from app.desktop.session import LiveSession

MEASURED = (
    "running",
    "waiting",
    "scheduled_tokens",
    "blocks_used",
    "blocks_cached",
    "blocks_free",
    "tokens_stored",
    "tokens_reserved",
    "tokens_internal",
)
"""Columns of the steps that the cards tell of."""


class Numbers(QWidget):
    """The cards of the run that is shown; below the number, that of the run beside it."""

    def __init__(self) -> None:
        super().__init__()
        self.cards = {
            "use": Figure("Blocks in use", "Blocks that somebody holds, of those of the pool."),
            "stored": Figure("KV utilisation", "Share of the slots of used blocks that hold a token."),
            "waste": Figure(
                "Wasted slots", "Slots of used blocks that hold no token: reserved for later, or never used."
            ),
            "load": Figure("Running / waiting", "Requests in the batch, and in the queue."),
            "hits": Figure("Prefix hits", "Share of the tokens looked up that the prefix cache had, so far."),
            "lost": Figure(
                "Evictions / preemptions", "Cached blocks that made room, and requests that had to give way."
            ),
            "ttft": Figure("Time to first token", "Median and 99th percentile of the requests so far."),
        }
        cards = QHBoxLayout(self)
        cards.setContentsMargins(0, 0, 0, 0)
        cards.setSpacing(8)
        for card in self.cards.values():
            cards.addWidget(card)

    def fill(self, session: LiveSession, chosen: tuple[int, int] | None) -> None:
        """Of the step that is shown, or means over the steps of a range that is `chosen`."""
        history = session.history
        if history is None or session.shown < 0:
            return
        step = session.shown
        first, last = chosen or (step, step)
        part = slice(first, last + 1)
        mean = {name: float(history.steps[name][part].mean()) for name in MEASURED}
        size, pool = history.facts.block_size, history.facts.blocks - 1
        used, stored = mean["blocks_used"], mean["tokens_stored"]
        slots = used * size
        beside = _beside(session) if chosen is None else {}
        cards = self.cards
        cards["use"].tell(f"{used:,.0f}", beside.get("use", f"of {pool:,}; {mean['blocks_cached']:,.0f} more cached"))
        cards["stored"].tell(
            f"{stored / slots:.1%}" if slots else "-", beside.get("stored", f"{stored:,.0f} of {slots:,.0f} slots")
        )
        waste = mean["tokens_reserved"] + mean["tokens_internal"]
        cards["waste"].tell(
            f"{waste / slots:.1%}" if slots else "-",
            beside.get("waste", f"{mean['tokens_reserved']:,.0f} reserved, {mean['tokens_internal']:,.0f} internal"),
        )
        cards["load"].tell(
            f"{mean['running']:,.0f} / {mean['waiting']:,.0f}",
            beside.get("load", f"{mean['scheduled_tokens']:,.0f} tokens in the step"),
        )
        begin = first if chosen else 0
        part = slice(begin, last + 1)
        asked, found = (int(history.steps[name][part].sum()) for name in ("query_tokens", "hit_tokens"))
        cards["hits"].tell(f"{found / asked:.1%}" if asked else "-", f"{found:,} of {asked:,} tokens")
        before = int(history.steps["evictions"][begin - 1]) if begin else 0
        evicted = int(history.steps["evictions"][last]) - before
        preempted = int(history.steps["preemptions"][part].sum())
        lost = f"{_figures(evicted)} / {_figures(preempted)}"
        cards["lost"].tell(lost, "in the range" if chosen else "so far")
        known = history.latencies(last, "ttft")
        if chosen:
            known = known[known[:, 0] >= history.seconds(first)]
        if len(known):
            median, late = np.percentile(known[:, 1], (50, 99))
            cards["ttft"].tell(_seconds(median), f"p99 {_seconds(late)}, {len(known):,} requests")
        else:
            cards["ttft"].tell("-", "no token yet")


def _beside(session: LiveSession) -> dict[str, str]:
    """The same numbers of the run beside it."""
    if len(session.histories) < 2:
        return {}
    step = session.step_of(1)
    if step < 0:
        return {}
    other = session.histories[1]
    row = {name: int(other.steps[name][step]) for name in MEASURED}
    slots = row["blocks_used"] * other.facts.block_size
    return {
        "use": f"beside: {row['blocks_used']:,} of {other.facts.blocks - 1:,}",
        "stored": f"beside: {row['tokens_stored'] / slots:.1%}" if slots else "beside: -",
        "waste": f"beside: {row['tokens_reserved'] + row['tokens_internal']:,}",
        "load": f"beside: {row['running']:,} / {row['waiting']:,}",
    }


def _figures(number: int) -> str:
    """A card has room for five figures, two of these side by side."""
    return f"{number:,}" if number < 10_000 else f"{number / 1000:,.1f}k"


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s"

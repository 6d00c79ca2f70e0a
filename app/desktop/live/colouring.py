"""What a block is painted like: a colour and, beside it, a sign, by what one wants to see of it."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QColor

from app.desktop import theme
from app.jobs.history import History
from app.jobs.told import State
from simcore.record.journal import NOBODY

Numbers = NDArray[Any]

PLAIN, HATCH, DOT, HOLLOW, CROSS, BARS = range(6)
"""Signs, the second thing beside the colour that tells states apart."""

MODES = {
    "state": "State",
    "request": "Request",
    "fill": "Fill",
    "references": "References",
    "age": "Age",
    "tier": "Tier",
}
"""What blocks can be coloured by."""
HUES = 24
"""Colours of requests, which are taken in turn."""
_VIRIDIS = ("#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725")


@dataclass(frozen=True)
class Painting:
    """How all blocks are painted: columns of [blocks], and what their numbers mean."""

    code: Numbers
    """which colour of the palette, uint8"""
    sign: Numbers
    """which sign, uint8"""
    level: Numbers
    """how full it is drawn, from 0 to 255, uint8"""
    palette: Numbers
    """0xAARRGGBB of each code, uint32"""
    legend: tuple[tuple[str, str, int], ...]
    """name, colour and sign of what can be seen"""


FREE, CACHED, RESERVED, PARTLY, FULL, SHARED, NEVER = range(7)


def paint(mode: str, history: History, state: State) -> Painting:
    """By `state`, `request`, `fill`, `references`, `age` or `tier`."""
    facts, shown = history.facts, theme.current()
    held, cached = state.refs > 0, (state.refs == 0) & (state.key != 0)
    size = facts.block_size
    level = np.minimum(state.filled * 255 // size, 255).astype(np.uint8)
    level[~held] = 255
    sign = np.zeros(len(held), np.uint8)
    sign[state.refs > 1] = DOT
    sign[cached] = HATCH
    free, idle = shown.free, shown.cached
    code = np.zeros(len(held), np.uint8)
    colours: tuple[str, ...]
    if mode == "state":
        code[cached] = CACHED
        code[held] = np.where(state.filled[held] >= size, FULL, np.where(state.filled[held] > 0, PARTLY, RESERVED))
        code[state.refs > 1] = SHARED
        rows = history.rows[np.maximum(state.owner, 0)]
        beyond = state.place * size >= history.ends[np.maximum(rows, 0)] - 1
        # pages are taken when they are needed: those beyond the end are for what pruning leaves
        code[(code == RESERVED) & beyond & (facts.allocator != "paged")] = NEVER
        sign[code == RESERVED], sign[code == NEVER] = HOLLOW, CROSS
        level[(code == RESERVED) | (code == NEVER)] = 255
        colours = (free, idle, shown.reserved, shown.stored, shown.stored, shown.shared, shown.internal)
        legend = [("full", shown.stored, PLAIN), ("partly", shown.stored, BARS), ("shared", shown.shared, DOT)]
        if (code == RESERVED).any():
            legend.append(("reserved", shown.reserved, HOLLOW))
        if (code == NEVER).any():
            legend.append(("never used", shown.internal, CROSS))
        legend += [("cached", idle, HATCH), ("free", free, PLAIN)]
    elif mode == "request":
        code[cached] = 1
        idle = "#4a5563" if shown.dark else "#b4bdc9"  # no request's colour
        rows = history.rows[np.maximum(state.owner, 0)]
        code[held] = 2 + rows[held] % HUES
        colours = (free, idle, *request_hues(shown.dark))
        legend = [
            ("one colour a request", colours[2 + 14], PLAIN),
            ("shared", colours[2 + 5], DOT),
            ("cached", idle, HATCH),
            ("free", free, PLAIN),
        ]
    elif mode == "fill":
        share = np.minimum(state.filled * 8 // size, 8)
        code[held | cached] = 1 + share[held | cached]
        level[:] = 255
        colours = (free, *_VIRIDIS)
        legend = [("empty", _VIRIDIS[0], PLAIN), ("half", _VIRIDIS[4], PLAIN), ("full", _VIRIDIS[8], PLAIN)]
        legend += [("cached", _VIRIDIS[8], HATCH), ("free", free, PLAIN)]
    elif mode == "references":
        code[cached] = 1
        steps = np.minimum(np.log2(np.maximum(state.refs, 1)).astype(np.int64), 4)
        code[held] = 2 + steps[held]
        hues = _VIRIDIS[::2]
        colours = (free, idle, *hues)
        counts = ("1", "2-3", "4-7", "8-15", "16 or more")
        legend = [
            (name, hue, DOT if place else PLAIN) for place, (name, hue) in enumerate(zip(counts, hues, strict=True))
        ]
        legend += [("cached", idle, HATCH), ("free", free, PLAIN)]
        level[:] = 255
    elif mode == "age":
        age = np.maximum(state.step - state.touched, 0)
        bucket = np.minimum(np.log2(age + 1) * 8 / 14, 8).astype(np.int64)
        seen = held | cached
        code[seen] = 9 - bucket[seen]
        colours = (free, *_VIRIDIS)
        level[:] = 255
        legend = [
            ("this step", _VIRIDIS[8], PLAIN),
            ("some 100 steps", _VIRIDIS[4], PLAIN),
            ("16,000 and more", _VIRIDIS[0], PLAIN),
            ("cached", _VIRIDIS[4], HATCH),
            ("free", free, PLAIN),
        ]
    else:
        code[held | cached] = 1 + np.minimum(state.origin[held | cached], len(shown.series) - 1)
        origins = (shown.stored, *shown.series[1:])
        colours = (free, *origins)
        tiers = ("computed here", *(f"fetched from {name}" for name in facts.tiers or ("the host",)))
        legend = [(name, hue, PLAIN) for name, hue in zip(tiers, origins, strict=False)]
        legend += [("cached", shown.stored, HATCH), ("free", free, PLAIN)]
    palette = np.array([_argb(each) for each in colours], np.uint32)
    return Painting(code, sign, level, palette, tuple(legend))


@lru_cache(maxsize=4)
def request_hues(dark: bool) -> tuple[str, ...]:
    """Hues a golden angle apart, in two lightnesses, so that neighbours in time look different."""
    hues = []
    for place in range(HUES):
        colour = QColor.fromHslF(
            (place * 0.381966) % 1.0, 0.62, (0.62, 0.50)[place % 2] if dark else (0.45, 0.6)[place % 2]
        )
        hues.append(colour.name())
    return tuple(hues)


def hue_of(row: int) -> str:
    """The colour of a request."""
    return request_hues(theme.current().dark)[row % HUES] if row != NOBODY else theme.current().free


@lru_cache(maxsize=256)
def _argb(name: str) -> int:
    return 0xFF000000 | int(name[1:], 16)

"""`kvscope complexity`: how memory, arithmetic, time and calls grow, measured beside the symbols."""

import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.engine import Device, needs_engine
from app.cli.labs import print_table, shown
from app.cli.options import AsJson
from app.cli.output import mention, print_json

if TYPE_CHECKING:
    from engine.labs.complexity import Complexity, Fit

NAMES = {
    "memory": "memory",
    "flops": "FLOPs",
    "attention": "attention",
    "seconds": "seconds",
    "calls": "calls",
}


def complexity(
    device: Device = "cpu",
    repeats: Annotated[int, typer.Option(min=1, max=100, help="Times that each run is timed.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Exponents of tokens (N) and layers (L) in training and generation, measured beside a lecture's symbols."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is imported; two threads spin otherwise
    with needs_engine():
        from engine.labs import complexity as lab

        with shown("measured") as progress:
            found = lab.complexity(device=device, repeats=repeats, progress=progress)
        if as_json:
            print_json(_document(found))
        else:
            _print(found)


def _document(found: "Complexity") -> dict[str, Any]:
    from engine.labs.complexity import DEPTHS, UNITS

    return {
        "machine": found.machine,
        "clock": found.clock,
        "units": UNITS,
        "cells": [asdict(cell) for cell in found.cells],
        "depths": {
            "tokens": DEPTHS[0],
            "bytes": {
                str(layers): dict(zip(("paged", "checkpointing"), pair, strict=True))
                for layers, pair in found.depths.items()
            },
        },
        "checkpointing_over_training": {name: found.ratio(name) for name in UNITS},
        "points": {
            way: {axis: [asdict(point) for point in points] for axis, points in axes.items()}
            for way, axes in found.points.items()
        },
    }


def _print(found: "Complexity") -> None:
    lines = []
    notes = list(dict.fromkeys(sentence for cell in found.cells for sentence in cell.why))
    way = ""
    for cell in found.cells:
        exponents = [text for fit in cell.fits.values() for text in _exponent(fit)]
        marks = " ".join(str(notes.index(sentence) + 1) for sentence in cell.why)
        lines.append(("" if cell.way == way else cell.way, NAMES[cell.quantity], cell.symbol.text, *exponents, marks))
        way = cell.way
    mention("Exponents of N (tokens) and of L (layers): of all points with the error of the fit, and of the last two")
    print_table(("", "", "symbol", "N", "last", "L", "last", ""), lines, words=(0, 1, 2, 7))
    for number, note in enumerate(notes, 1):
        mention(f"{number}: {note}")
    mention(f"memory: peak besides weights and their gradients, by storage tracking; seconds: {found.clock}")
    mention("attention: its part of the FLOPs; calls: runs of each layer")
    mention(found.machine)


def _exponent(fit: "Fit") -> tuple[str, str]:
    exponent, last = (0.0 if abs(number) < 0.005 else number for number in (fit.exponent, fit.last))  # no -0.00
    return f"{exponent:.2f}±{fit.error:.2f}", f"{last:.2f}"

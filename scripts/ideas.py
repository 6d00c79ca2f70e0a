"""Draw the pictures of docs/ideas: `python scripts/ideas.py [FOLDER] [--only NAME]`.

Each is computed here, by the simulator or the calculator. Pruning's is of `kvscope attention prune --chart`.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from simcore import Scenario, simulate
from simcore.calculator import Question, calculate, compare, model_of
from simcore.export.charts import OKABE_ITO, canvas, picture
from simcore.geometry import fitting_block_size
from simcore.workload import make_workload

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FREE, RESERVED = "#e6e9ed", "#c9ced6"
ALLOCATORS = {
    "contiguous, the longest reserved": '{policy="contiguous", reserve="max"}',
    "contiguous, the next power of two": '{policy="contiguous", reserve="pow2"}',
    "contiguous, length known by an oracle": '{policy="contiguous", reserve="exact"}',
    "paged": '"paged"',
}
MODELS = {
    "llama-2-7b": "Llama 2 7B (MHA)", "llama-3-8b": "Llama 3 8B (GQA)", "gemma-3-27b": "Gemma 3 27B (windows)",
    "jamba": "Jamba (4 of 32 attend)", "mamba2": "Mamba-2 2.7B", "mamba": "Mamba 2.8B",
}  # fmt: skip
LENGTHS = [2**power for power in range(7, 19)]


def paging() -> "Figure":
    """One pool of 1,024 blocks, and the first requests of the default scenario: reserved for, and in pages."""
    blocks, size, longest, across = 1024, 16, 2048, 64
    scenario = Scenario.preset("default")
    requests = make_workload(scenario.workload, scenario.seed)
    held = -(-(requests.prompt_len + requests.output_len - 1) // size)
    each = longest // size
    reserved, paged = np.full(blocks, -2), np.full(blocks, -2)
    for request in range(blocks // each):
        reserved[request * each : (request + 1) * each] = -1
        reserved[request * each :][: held[request]] = request
    room = int(np.searchsorted(np.cumsum(held), blocks, side="right"))
    paged[: held[:room].sum()] = np.repeat(np.arange(room), held[:room])
    with canvas(9, 3.2) as figure:
        panels = figure.subplots(1, 2)
        for axes, pool, count, way in (
            (panels[0], reserved, blocks // each, "2,048 tokens reserved for each"),
            (panels[1], paged, room, "Pages of 16 tokens"),
        ):
            axes.imshow(_colored(pool).reshape(-1, across, 3), interpolation="nearest", aspect="auto")
            for place in range(blocks // across):
                axes.axhline(place - 0.5, color="white", linewidth=0.6)
            for place in range(across):
                axes.axvline(place - 0.5, color="white", linewidth=0.6)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{way}: {count} requests, {(pool >= 0).mean():.0%} used")
        figure.supxlabel(
            "1,024 blocks of 16 tokens; a color is a request at its full length, dark gray is reserved and empty",
            fontsize=9,
        )
    return figure


def _colored(pool: Any) -> Any:
    """[blocks] -> [blocks, 3]"""
    from matplotlib.colors import to_rgb

    hues = np.array([to_rgb(hue) for hue in (*OKABE_ITO[:6], FREE, RESERVED)])
    return hues[np.where(pool >= 0, pool % 6, np.where(pool == -2, 6, 7))]


def fragmentation() -> "Figure":
    """What the slots of a pool are used for, while somebody waits: the load of the vLLM paper."""
    kinds = {"stored": OKABE_ITO[0], "reserved": OKABE_ITO[4], "internal": OKABE_ITO[1], "external": OKABE_ITO[3]}
    load = ['workload.arrivals={process="all-at-once"}', "workload.requests=1500", "memory.prefix_caching=false"]
    with canvas(9, 2.6) as figure:
        axes = figure.subplots()
        for row, allocator in enumerate(ALLOCATORS.values()):
            scenario = Scenario.preset("orca", [*load, f"memory.allocator={allocator}"])
            steps = simulate(scenario).record.steps
            crowded = steps["waiting"] > 0
            crowded[: crowded.sum() // 10] = False  # until lengths have mixed
            lasted = (steps["dt"] * crowded).astype(np.float64)
            left = 0.0
            for kind, hue in kinds.items():
                share = (
                    100 * float(lasted @ steps[f"tokens_{kind}"]) / lasted.sum() / ((scenario.memory.blocks or 0) - 1)
                )
                axes.barh(row, share, left=left, color=hue, label=kind if row == 0 else None)
                if share >= 4:
                    axes.text(left + share / 2, row, f"{share:.1f} %", ha="center", va="center", color="white")
                left += share
            axes.barh(row, 100 - left, left=left, color=FREE, label="free" if row == 0 else None)
        axes.set_yticks(range(len(ALLOCATORS)), list(ALLOCATORS))
        axes.invert_yaxis()
        axes.set(xlabel="% of the pool", xlim=(0, 100))
        figure.legend(loc="outside upper right", ncols=5)
    return figure


def prefix_sharing() -> "Figure":
    """How long assistants wait for their first token, with the prefix cache and without."""
    with canvas(7, 3.2) as figure:
        axes = figure.subplots()
        for on, hue in ((True, OKABE_ITO[0]), (False, OKABE_ITO[1])):
            found = simulate(Scenario.preset("chat", [f"memory.prefix_caching={str(on).lower()}"]))
            waits = np.sort(found.requests["ttft"].drop_nulls().to_numpy())
            share = 100 * np.arange(1, len(waits) + 1) / len(waits)
            name = f"{'with' if on else 'without'} prefix caching: {waits.mean():.3f} s on average"
            axes.plot(waits, share, color=hue, linestyle="-" if on else "--", label=name)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(xlabel="time to the first token, s", ylabel="% of the requests", ylim=(0, 101))
        axes.grid(alpha=0.4)
        axes.legend(loc="lower right")
    return figure


def gqa_to_mla() -> "Figure":
    """What Llama 2 7B would keep of a token with fewer heads of keys and values."""
    variants = calculate(model_of("llama-2-7b"), Question((1000,), 4096))["attention_variants"]
    names = [each["attention"] if each["attention"] != "GQA" else f"GQA {each['kv_heads']}" for each in variants]
    with canvas(7, 3.2) as figure:
        axes = figure.subplots()
        hues = [OKABE_ITO[2] if name == "MLA" else OKABE_ITO[0] for name in names]
        bars = axes.bar(names, [each["token_bytes"] / 1024 for each in variants], color=hues)
        axes.bar_label(bars, fmt="%.0f")
        axes.set(ylabel="KiB a token, 32 layers")
    return figure


def state_space() -> "Figure":
    """What one request keeps, by its tokens."""
    with canvas(7, 3.6) as figure:
        axes = figure.subplots()
        for hue, (name, label) in zip(OKABE_ITO, MODELS.items(), strict=False):
            model = model_of(name).resolve()
            size = fitting_block_size(model, 16)
            kept = [compare(model, [tokens], LENGTHS[-1], size, 10**6).paged_memory_mb for tokens in LENGTHS]
            axes.plot(LENGTHS, kept, color=hue, marker="o", markersize=3)
            axes.annotate(label, (LENGTHS[-1], kept[-1]), (6, 0), textcoords="offset points", va="center", color=hue)
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set(xlabel="tokens", ylabel="MiB")
        axes.set_xticks(LENGTHS[::2], [f"{tokens:,}" for tokens in LENGTHS[::2]])
        axes.grid(alpha=0.4)
    return figure


PICTURES: dict[str, Callable[[], "Figure"]] = {
    "paging": paging,
    "fragmentation": fragmentation,
    "prefix-sharing": prefix_sharing,
    "gqa-to-mla": gqa_to_mla,
    "state-space": state_space,
}


def main(arguments: list[str] | None = None) -> None:
    """Draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/pictures"))
    parser.add_argument("--only", choices=PICTURES, action="append", help="one of them; may be given again")
    asked = parser.parse_args(arguments)
    for name in asked.only or PICTURES:
        path = asked.folder / f"{name}.svg"
        path.write_bytes(picture(PICTURES[name](), "svg", name))
        print(path)


if __name__ == "__main__":
    main()

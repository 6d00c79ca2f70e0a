"""From the journal of a run to a picture of its pool: what each block was at some instants."""

from typing import TYPE_CHECKING

import numpy as np

from simcore.export.report.charts import BlockMap

if TYPE_CHECKING:
    import polars as pl

MOST_ROWS = 240
MOST_COLUMNS = 320


def block_map(label: str, blocks: "pl.DataFrame", usable: int, end: float, *, whole: bool = True) -> BlockMap:
    """What the blocks 1 to `usable` were at instants from 0 to `end` seconds; `blocks` is blocks.parquet.

    At most MOST_ROWS blocks, evenly spaced, and MOST_COLUMNS instants, each in the middle of its share of the time.
    """
    import polars as pl

    shown = np.unique(np.linspace(1, usable, min(usable, MOST_ROWS)).round().astype(int))
    width = (end or 1.0) / MOST_COLUMNS
    begins = np.arange(MOST_COLUMNS) * width
    held = pl.when(pl.col("refs") > 1).then(3).when(pl.col("refs") == 1).then(2)
    state = held.when((pl.col("event") != "evict") & pl.col("key").is_not_null()).then(1).otherwise(0)
    changes = (
        blocks.filter(pl.col("event").is_in(["allocate", "hit", "free", "evict", "copy", "swap_in"]))
        .filter(pl.col("block").is_in(shown.tolist()))
        .select("block", "t", state=state.cast(pl.Int8))
        .sort("block", maintain_order=True)
    )
    owner, times, states = (changes[name].to_numpy() for name in ("block", "t", "state"))
    first = np.searchsorted(owner, shown, side="left")
    last = np.searchsorted(owner, shown, side="right")
    rows = np.zeros((len(shown), MOST_COLUMNS), np.int8)
    for row, (begin, stop) in enumerate(zip(first.tolist(), last.tolist(), strict=True)):
        place = np.searchsorted(times[begin:stop], begins + width / 2, side="right")
        rows[row] = np.concatenate(([0], states[begin:stop]))[place]
    return BlockMap(label, begins.tolist(), shown.tolist(), rows, whole)

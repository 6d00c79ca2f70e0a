"""What is in a trace, in numbers."""

from typing import Any

import numpy as np

from simcore.workload.columns import Ints, Workload

_PERCENTILES = (50, 90, 99)


def trace_info(workload: Workload) -> dict[str, Any]:
    """Counts and lengths of all requests of a trace, those without output included.

    `arrival_span` is in s, None without arrivals; `prompt` and `output` are in tokens, percentiles interpolated
    linearly; `blocks` and `unique_blocks` count the trace's own hashes, None without; `skipped` counts broken lines.
    """
    first, last = float(workload.arrival[0]), float(workload.arrival[-1])
    hashes = None if workload.block is None or workload.runs is None else workload.runs.source
    return {
        "format": workload.format,
        "requests": len(workload),
        "arrival_span": None if np.isnan(first) else last - first,
        "prompt": _lengths(workload.prompt_len),
        "output": _lengths(workload.output_len),
        "blocks": None if hashes is None else len(hashes),
        "unique_blocks": None if hashes is None else len(np.unique(hashes)),
        "skipped": workload.skipped,
    }


def _lengths(tokens: Ints) -> dict[str, float]:
    percentiles = np.percentile(tokens, _PERCENTILES).tolist()
    return {
        "mean": float(tokens.mean()),
        **{f"p{percent}": value for percent, value in zip(_PERCENTILES, percentiles, strict=True)},
        "min": int(tokens.min()),
        "max": int(tokens.max()),
    }

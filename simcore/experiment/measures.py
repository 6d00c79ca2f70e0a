"""What runs are compared by: numbers of a run's summary, with their units."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a run."""

    name: str
    """its dotted path in summary.json; `hits.hit_share` is made from two of them"""
    unit: str
    """`s`, `requests/s`, `blocks`, ...; `1`: a share or a count"""
    help: str
    better: Literal["lower", "higher"] | None
    """None: neither is better by itself"""


_LATENCIES = {
    "ttft": "time to the first token",
    "tpot": "time per output token after the first",
    "itl": "time between two output tokens",
    "e2e": "time from arrival to the last token",
    "queue": "time until it is first scheduled",
}
LATENCIES = tuple(_LATENCIES)
"""The metrics whose whole distribution is kept."""
STATISTICS = ("mean", "p50", "p90", "p99")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
PERCENTILES = {f"{name}.{each}": (name, share) for name in LATENCIES for each, share in QUANTILES.items()}
"""Of a metric its latency and its quantile."""
_WORDS = ("mean", "median", "90th percentile", "99th percentile")


def _all() -> Iterator[Metric]:
    yield Metric("throughput.output_tokens_per_s", "tokens/s", "Output tokens per second.", "higher")
    yield Metric("throughput.requests_per_s", "requests/s", "Requests finished per second.", "higher")
    yield Metric("goodput.requests_per_s", "requests/s", "Requests per second that keep the objective.", "higher")
    yield Metric("goodput.share", "1", "Share of the requests that keep the objective.", "higher")
    for name, what in _LATENCIES.items():
        for statistic, words in zip(STATISTICS, _WORDS, strict=True):
            yield Metric(f"{name}.{statistic}", "s", f"{words} of the {what}.".capitalize(), "lower")
    yield Metric("hits.hit_share", "1", "Share of the tokens looked up that the prefix cache had.", "higher")
    yield Metric("preemptions", "1", "Preemptions.", "lower")
    yield Metric("evictions", "blocks", "Cached blocks that were evicted.", None)
    yield Metric("tokens.scheduled", "tokens", "Tokens computed, those computed again included.", "lower")
    yield Metric("moves.swaps_out", "blocks", "Blocks swapped out to the host.", None)
    yield Metric("moves.swaps_in", "blocks", "Blocks swapped in from the host.", None)
    yield Metric("pruning.tokens", "tokens", "Tokens that live requests lost by pruning.", None)
    yield Metric("memory.used_mean", "blocks", "Blocks in use, mean over time.", None)
    yield Metric("memory.used_peak", "blocks", "Most blocks in use.", None)
    yield Metric("memory.stored_share", "1", "Share of the pool that holds tokens.", None)
    yield Metric("memory.internal_share", "1", "Share of the pool lost inside of blocks.", "lower")
    yield Metric("memory.reserved_share", "1", "Share of the pool reserved for tokens to come.", "lower")
    yield Metric("memory.external_share", "1", "Share of the pool lost between pieces.", "lower")
    yield Metric("memory.saved_share", "1", "Share of the blocks that sharing saves.", "higher")
    yield Metric("requests.finished", "requests", "Requests that finished.", "higher")
    yield Metric("requests.rejected", "requests", "Requests that were refused.", "lower")
    yield Metric("end_time", "s", "When the last request was over.", None)


METRICS: tuple[Metric, ...] = tuple(_all())
"""All that are compared."""
BY_NAME = {metric.name: metric for metric in METRICS}


def measured(summary: dict[str, Any]) -> dict[str, float | None]:
    """The value of every metric in a summary; None: it does not exist there."""
    hits = summary["hits"]
    share = hits["hit_tokens"] / hits["query_tokens"] if hits["query_tokens"] else None
    summary = summary | {"hits": hits | {"hit_share": share}}
    return {metric.name: _at(summary, metric.name) for metric in METRICS}


def _at(summary: Any, path: str) -> float | None:
    for step in path.split("."):
        if step not in summary:
            return None
        summary = summary[step]
    return None if summary is None else float(summary)

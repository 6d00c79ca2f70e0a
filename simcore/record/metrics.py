"""From a record to numbers: latencies of each request, percentiles, and what the memory was used for."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from operator import mul
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.record.recorder import FINISHED, REJECTED, UNFINISHED, Record
from simcore.serving.request import NEVER
from simcore.ticks import TICKS_PER_SECOND, to_ticks
from simcore.workload.columns import Workload

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SLOTS = ("stored", "internal", "reserved", "external")
"""What slots for tokens are told apart as; the rest is free for anybody."""
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of each request, [requests]; NaN where it did not come to that.

    Times are counted from the request's arrival; a token is there when the step that sampled it ends.
    """

    queue: Floats
    """until it was first scheduled"""
    ttft: Floats
    """until its first token"""
    e2e: Floats
    """until its last token"""
    tpot: Floats
    """per output token after the first, of each sample; NaN for one token"""


def latencies(record: Record) -> Latencies:
    """The latencies that need only the instants of a request."""
    requests = record.requests
    tokens = requests["output_tokens"] // requests["samples"].clip(min=1)
    decoding = _seconds_between(requests["first_token"], requests["finished"])
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(tokens > 1, decoding / (tokens - 1), np.nan)
    return Latencies(
        queue=_seconds_between(requests["arrival"], requests["first_scheduled"]),
        ttft=_seconds_between(requests["arrival"], requests["first_token"]),
        e2e=_seconds_between(requests["arrival"], requests["finished"]),
        tpot=tpot,
    )


class TokenGaps:
    """The times between successive tokens of a request, or of each of its samples: ITL.

    Within a streak the k-th gap is the time from the end of one step to the end of the next, so the gaps of all
    requests are views into one column of the steps, and how often each occurs is counted without listing them. Where a
    preemption or a lack of budget parts two streaks, the gap is from the end of one to the beginning of the other.
    """

    def __init__(self, record: Record) -> None:
        self._ends = ends = record.steps["t"] + record.steps["dt"]
        self._requests = len(record.requests["row"])
        self._row, sequence, self._first, self._steps = record.streaks.T
        self._last = self._first + self._steps - 1
        self._step_gap = np.diff(ends, prepend=ends[:1])
        parted = np.flatnonzero(sequence[1:] == sequence[:-1])
        self._parted_row = self._row[parted]
        self._parted_gap = ends[self._first[parted + 1]] - ends[self._last[parted]]

    def tokens_since(self, instant: int) -> int:
        """How many tokens there were from an instant on, in ticks."""
        first = np.maximum(self._first, np.searchsorted(self._ends, instant))
        return int((self._last + 1 - first).clip(min=0).sum())

    def distribution(self, wanted: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """All gaps of the `wanted` requests, in ticks: values, and how often each occurs."""
        streaks = wanted[self._row]
        steps = len(self._step_gap)
        opened = np.bincount(self._first[streaks] + 1, minlength=steps + 2)
        closed = np.bincount(self._last[streaks] + 1, minlength=steps + 2)
        times = np.cumsum(opened - closed)[:steps]
        parted = self._parted_gap[wanted[self._parted_row]]
        return np.concatenate((self._step_gap, parted)), np.concatenate((times, np.ones(len(parted), np.int64)))

    def mean(self) -> Floats:
        """[requests] the mean of each request's own gaps, in seconds; NaN with fewer than two tokens."""
        lasted = self._ends[self._last] - self._ends[self._first]
        total = np.bincount(self._row, lasted, self._requests)
        total += np.bincount(self._parted_row, self._parted_gap, self._requests)
        count = np.bincount(self._row, self._steps - 1, self._requests)
        count += np.bincount(self._parted_row, minlength=self._requests)
        with np.errstate(invalid="ignore"):
            return total / TICKS_PER_SECOND / count

    def p99(self) -> Floats:
        """[requests] the 99th percentile of each request's own gaps, in seconds; NaN with fewer than two tokens."""
        result = np.full(self._requests, np.nan)
        several = np.flatnonzero(np.bincount(self._row, minlength=1) > 1)
        pieces: dict[int, list[Ints]] = {row: [] for row in several.tolist()}
        for row, gap in zip(self._parted_row.tolist(), self._parted_gap, strict=True):
            pieces[row].append(np.array([gap]))
        for row, first, last in zip(self._row.tolist(), self._first.tolist(), self._last.tolist(), strict=True):
            gaps = self._step_gap[first + 1 : last + 1]
            if row in pieces:
                pieces[row].append(gaps)
            elif len(gaps):
                result[row] = _p99(gaps)
        for row, gaps in ((row, np.concatenate(parts)) for row, parts in pieces.items()):
            if len(gaps):
                result[row] = _p99(gaps)
        return result / TICKS_PER_SECOND

    def longest(self) -> Floats:
        """[requests] the longest gap of each request in seconds; NaN with fewer than two tokens."""
        result = np.full(self._requests, -1, np.int64)
        inner = self._steps > 1
        bounds = np.stack((self._first[inner] + 1, self._last[inner] + 1), axis=1).ravel()
        padded = np.append(self._step_gap, 0)
        np.maximum.at(result, self._row[inner], np.maximum.reduceat(padded, bounds)[::2] if len(bounds) else bounds)
        np.maximum.at(result, self._parted_row, self._parted_gap)
        return np.where(result < 0, np.nan, result / TICKS_PER_SECOND)


def summarize(
    record: Record,
    workload: Workload,
    *,
    blocks: int,
    block_size: int,
    warmup: float,
    slo: dict[str, float],
    tier_blocks: Sequence[int] = (),
    block_bytes: int = 0,
) -> dict[str, Any]:
    """The summary of a run; see docs/results.md for each number.

    Latencies are those of the requests that arrived after the warm-up, rates and memory those of the time after it.
    """
    steps, requests = record.steps, record.requests
    status = requests["status"]
    end_ticks = int(steps["t"][-1] + steps["dt"][-1]) if len(steps["t"]) else 0
    warmup_ticks = min(to_ticks(warmup), end_ticks)
    span = (end_ticks - warmup_ticks) / TICKS_PER_SECOND
    late = requests["arrival"] >= warmup_ticks
    times = latencies(record)
    gaps = TokenGaps(record)
    after = (requests["finished"] >= warmup_ticks) & (status == FINISHED)

    summary: dict[str, Any] = {
        "requests": {
            "total": len(status),
            "finished": int((status == FINISHED).sum()),
            "rejected": int((status == REJECTED).sum()),
            "unfinished": int((status == UNFINISHED).sum()),
            "dropped": workload.dropped,
            "skipped": workload.skipped,
        },
        "steps": len(steps["t"]),
        "end_time": end_ticks / TICKS_PER_SECOND,
        "preemptions": int(requests["preemptions"].sum()),
        "tokens": {
            "prompt": int(workload.prompt_len[requests["first_scheduled"] != NEVER].sum()),
            "output": int(requests["output_tokens"].sum()),
            "scheduled": int(steps["scheduled_tokens"].sum()),
        },
        "hits": {
            "query_tokens": int(requests["query_tokens"].sum()),
            "hit_tokens": int(requests["hit_tokens"].sum()),
            "hit_blocks": int(requests["hit_tokens"].sum()) // block_size,
        },
        "evictions": int(steps["evictions"].sum()),
        "moves": {name: int(steps[name].sum()) for name in ("copies", "swaps_out", "swaps_in")},
        "pruning": {"times": int(steps["prunings"].sum()), "tokens": int(steps["pruned_tokens"].sum())},
        "throughput": {
            "requests_per_s": _per(int(after.sum()), span),
            "output_tokens_per_s": _per(gaps.tokens_since(warmup_ticks), span),
        },
        "ttft": _spread(times.ttft[late]),
        "itl": _weighted_spread(*gaps.distribution(late)),
        "tpot": _spread(times.tpot[late]),
        "e2e": _spread(times.e2e[late]),
        "queue": _spread(times.queue[late]),
        "memory": _memory(record, blocks - 1, block_size, warmup_ticks, end_ticks),
    }
    if record.tiers:
        summary["tiers"] = [
            _tier(record, number, name, blocks, block_size, block_bytes, warmup_ticks, end_ticks)
            for number, (name, blocks) in enumerate(zip(record.tiers, tier_blocks, strict=True))
        ]
    if slo:
        measured = {"ttft": times.ttft, "tpot": times.tpot, "itl": gaps.longest(), "e2e": times.e2e}
        good = late & (status == FINISHED)
        for name, limit in slo.items():
            good &= ~(measured[name] > limit)  # NaN: a request of one token has no gaps, and keeps any limit on them
        summary["goodput"] = {
            "requests_per_s": _per(int(good.sum()), span),
            "share": _per(int(good.sum()), int(late.sum())),
        }
    return summary


def _memory(record: Record, usable: int, block_size: int, begin: int, end: int) -> dict[str, Any]:
    """Means over time, idle time included; shares are of the slots for tokens in the whole pool."""
    steps = record.steps
    lasted = (steps["t"] + steps["dt"]).clip(min=begin) - steps["t"].clip(min=begin)
    used, span, slots = steps["blocks_used"], end - begin, usable * block_size
    means = {name: _per(_dot(steps[f"tokens_{name}"], lasted), span) for name in SLOTS}
    held, saved = _dot(used, lasted), _dot(steps["blocks_saved"], lasted)
    return {
        "blocks": usable + 1,
        "used_mean": _per(held, span),
        "used_peak": int(used[lasted > 0].max(initial=0)),
        **{f"{name}_share": None if mean is None else mean / slots for name, mean in means.items()},
        "saved_share": _per(saved, held + saved),
    }


def _tier(
    record: Record, number: int, name: str, blocks: int, block_size: int, block_bytes: int, begin: int, end: int
) -> dict[str, Any]:
    """What a tier below the pool was good for; means and shares are of the time after the warm-up."""
    levels, transfers = record.tiers[name], record.transfers
    hits = int(levels["hits"].sum())
    tier: dict[str, Any] = {"name": name, "blocks": blocks, "hits": hits, "hit_tokens": hits * block_size}
    busy = {}
    for direction, fetch in (("fetched", 1), ("offloaded", 0)):
        own = (transfers["tier"] == number) & (transfers["fetch"] == fetch)
        tier[direction] = int(transfers["blocks"][own].sum())
        lasted = transfers["ended"][own].clip(begin, end) - transfers["began"][own].clip(begin, end)
        busy[direction] = _per(int(lasted.sum()), end - begin)
    tier |= {"evicted": int(levels["evictions"].sum()), "skipped": int(levels["skipped"].sum())}
    tier |= {"bytes_fetched": tier["fetched"] * block_bytes, "bytes_offloaded": tier["offloaded"] * block_bytes}
    tier |= {"fetch_busy_share": busy["fetched"], "offload_busy_share": busy["offloaded"]}
    steps = record.steps
    until = np.append(steps["t"][1:], end)  # idle time included: nothing but arrivals happens then
    lasted = until.clip(min=begin) - steps["t"].clip(min=begin)
    return tier | {"used_mean": _per(_dot(levels["blocks"], lasted), end - begin)}


def _dot(values: Ints, ticks: Ints) -> int:
    """The sum of products of numbers that are not negative, exact though it may exceed 64 bits.

    The ticks are taken apart into digits that are small enough for 64 bits to hold the sum of each.
    """
    most = int(values.max(initial=0))
    bits = 63 - most.bit_length() - len(values).bit_length()
    if bits < 1:
        return sum(map(mul, values.tolist(), ticks.tolist()))
    total = shift = 0
    while most and ticks.any():
        total += int(values @ (ticks & ((1 << bits) - 1))) << shift
        ticks, shift = ticks >> bits, shift + bits
    return total


def _per(amount: int, span: float) -> float | None:
    return amount / span if span else None


def _seconds_between(begin: Ints, end: Ints) -> Floats:
    return np.where((begin == NEVER) | (end == NEVER), np.nan, (end - begin) / TICKS_PER_SECOND)


def _p99(gaps: Ints) -> float:
    """np.quantile(gaps, 0.99), at a tenth of its cost for a short array."""
    place = 0.99 * (len(gaps) - 1)
    low = int(place)
    if low == len(gaps) - 1:
        return float(gaps.max())
    pair = np.partition(gaps, (low, low + 1))[low : low + 2].tolist()
    return float(pair[0] + (place - low) * (pair[1] - pair[0]))


def _spread(seconds: Floats) -> dict[str, float | None]:
    known = seconds[~np.isnan(seconds)]
    if not len(known):
        return dict.fromkeys(("mean", *QUANTILES))
    quantiles = np.quantile(known, list(QUANTILES.values()))
    return {"mean": float(known.mean())} | dict(zip(QUANTILES, quantiles.tolist(), strict=True))


def _weighted_spread(ticks: Ints, times: Ints) -> dict[str, float | None]:
    """The same over values that occur several times each; percentiles are linear, as if all were listed."""
    ticks, times = ticks[times > 0], times[times > 0]
    if not len(ticks):
        return dict.fromkeys(("mean", *QUANTILES))
    order = np.argsort(ticks, kind="stable")
    ticks, upto = ticks[order], np.cumsum(times[order])
    total = int(upto[-1])
    spread: dict[str, float | None] = {"mean": _dot(times[order], ticks) / total / TICKS_PER_SECOND}
    for name, share in QUANTILES.items():
        place = share * (total - 1)
        low, high = (int(ticks[np.searchsorted(upto, i, side="right")]) for i in (math.floor(place), math.ceil(place)))
        spread[name] = (low + (place - math.floor(place)) * (high - low)) / TICKS_PER_SECOND
    return spread

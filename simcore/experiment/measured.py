"""What a server was measured to do: vLLM's benchmark, a scrape of its metrics, and how a simulation differs.

The benchmark is `vllm bench serve` (benchmark_serving.py before) with `--save-result --save-detailed`, whose JSON has a
list each of `input_lens`, `output_lens`, `ttfts` (s), `itls` (s, a list a request), `errors` and, in newer versions,
`start_times` (s): https://github.com/vllm-project/vllm/blob/main/vllm/benchmarks/serve.py. The scrape is the text of
the server's /metrics in Prometheus' format: https://docs.vllm.ai/en/latest/usage/metrics.html.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.experiment.measures import STATISTICS
from simcore.record.metrics import TokenGaps, latencies
from simcore.record.recorder import FINISHED
from simcore.record.results import Results
from simcore.ticks import TICKS_PER_SECOND
from simcore.workload.columns import Floats, Workload
from simcore.workload.traces.files import load
from simcore.workload.traces.records import Record, parse_document
from simcore.workload.traces.values import MAX_SECONDS, MAX_TOKENS, listed, quoted, real, whole

LISTS = ("input_lens", "output_lens", "ttfts", "itls")
METRICS = ("ttft", "tpot", "itl", "e2e")
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Measured:
    """A benchmark's requests that were answered, by arrival, and how long each took, in s."""

    name: str
    """of the file"""
    workload: Workload
    ttft: Floats
    """[requests] from sending to the first token, as the client saw it"""
    gaps: tuple[Floats, ...]
    """[requests] times between a request's pieces of output: tokens, where the server sends each by itself"""
    notes: tuple[str, ...] = ()
    """sentences on what the file does not say and had to be assumed"""

    @property
    def decode(self) -> Floats:
        """[requests] from the first token to the last."""
        return np.array([gaps.sum() for gaps in self.gaps])

    def samples(self, wanted: Mask) -> dict[str, Floats]:
        """The times of `METRICS`, in s; of `itl` that of every gap."""
        decode, tokens = self.decode[wanted], self.workload.output_len[wanted]
        several = tokens > 1
        return {
            "ttft": self.ttft[wanted],
            "tpot": decode[several] / (tokens[several] - 1),
            "itl": np.concatenate([np.zeros(0), *(self.gaps[row] for row in np.flatnonzero(wanted))]),
            "e2e": self.ttft[wanted] + decode,
        }

    @property
    def sent(self) -> Floats:
        """[requests] s, when each was sent, those that waited for another one's answer too."""
        sent, after = self.workload.arrival.copy(), self.workload.after
        took = self.ttft + self.decode
        if after is not None:
            for row in np.flatnonzero(after >= 0).tolist():
                sent[row] += sent[after[row]] + took[after[row]]
        return sent

    @property
    def span(self) -> float:
        """s from the first arrival to the last token."""
        return float((self.sent + self.ttft + self.decode).max() - self.sent.min())


def read_benchmark(path: Path, *, seed: int = 0) -> Measured:
    """Read a result of vLLM's benchmark; arrivals that it does not have are drawn as it draws them, from `seed`.

    Requests that failed are left out. Raises InputError of one sentence that names file and key.
    """
    file = load(path)
    try:
        return _benchmark(file.name, parse_document(file), seed)
    except InputError as error:
        raise error if str(error).startswith(file.name) else InputError(f"{file.name}: {error}") from None


def _benchmark(name: str, record: Record, seed: int) -> Measured:
    missing = [key for key in LISTS if key not in record]
    if missing:
        raise InputError(f"{missing[0]} is missing: vllm bench serve writes it with --save-result --save-detailed")
    prompts = listed("input_lens", record["input_lens"], {int}, "numbers of tokens")
    outputs = listed("output_lens", record["output_lens"], {int}, "numbers of tokens")
    ttfts = listed("ttfts", record["ttfts"], {int, float}, "seconds")
    itls = listed("itls", record["itls"], {list}, "lists of seconds")
    count = len(prompts)
    lists = {"output_lens": outputs, "ttfts": ttfts, "itls": itls}
    for key in ("errors", "start_times"):
        if record.get(key):
            lists[key] = listed(key, record[key], {str, type(None)} if key == "errors" else {int, float}, "its kind")
    for key, values in lists.items():
        if len(values) != count:
            raise InputError(f"{key} has {len(values)} entries, and input_lens has {count}")
    errors = lists.get("errors", [""] * count)
    rows = [row for row in range(count) if not errors[row] and outputs[row] and prompts[row]]
    if not rows:
        raise InputError(f"none of its {count} requests was answered")
    notes = [f"{count - len(rows)} of {count} requests failed and are left out"] if len(rows) < count else []
    if "start_times" in lists:
        starts = np.array([real("start_times", lists["start_times"][row], -MAX_SECONDS, MAX_SECONDS) for row in rows])
        order = np.argsort(starts, kind="stable")
        arrival, after = np.sort(starts) - starts.min(), None
    else:
        order = np.arange(len(rows))
        arrival, after, note = _arrivals(record, len(rows), seed)
        notes.append(note)
    rows = [rows[place] for place in order.tolist()]
    workload = Workload(
        "benchmark",
        arrival,
        np.array([whole("input_lens", prompts[row], 1, MAX_TOKENS) for row in rows]),
        np.array([whole("output_lens", outputs[row], 1, MAX_TOKENS) for row in rows]),
        after=after,
    )
    ttft = np.array([real("ttfts", ttfts[row], 0, MAX_SECONDS, "s") for row in rows])
    gaps = tuple(np.array([real("itls", gap, 0, MAX_SECONDS, "s") for gap in itls[row]], float) for row in rows)
    if not ttft.any():
        raise InputError("ttfts are all 0, so nothing was measured")
    if not any(map(len, gaps)) and workload.output_len.max() > 1:
        raise InputError("itls are all empty, so the answers were not streamed, and no token can be told from the next")
    return Measured(name, workload, ttft, gaps, tuple(notes))


def _arrivals(record: Record, count: int, seed: int) -> tuple[Floats, NDArray[np.int64] | None, str]:
    """When requests were sent, as far as the benchmark's options tell."""
    rate, most = record.get("request_rate", "inf"), record.get("max_concurrency")
    if rate in ("inf", math.inf):
        if most is None:
            return np.zeros(count), None, "start_times is missing: all are taken to arrive at once (request_rate inf)"
        users = whole("max_concurrency", most, 1)
        after = np.maximum(np.arange(count) - users, -1)
        return np.zeros(count), after, f"start_times is missing: {users} clients are taken to wait for their answers"
    rate, burstiness = (
        real("request_rate", rate, 1e-9, 1e9),
        real("burstiness", record.get("burstiness", 1.0), 1e-6, 1e6),
    )
    gaps = np.random.default_rng(seed).gamma(burstiness, 1 / (burstiness * rate), count)
    return np.cumsum(gaps) - gaps[0], None, f"start_times is missing: arrivals are drawn at {rate:g} requests/s"


_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})?\s+(?P<value>\S+)(?:\s+-?\d+)?\s*")
_LABEL = re.compile(r'([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"')
_COUNTERS = {
    "queries": ("vllm:prefix_cache_queries", "vllm:gpu_prefix_cache_queries"),
    "hits": ("vllm:prefix_cache_hits", "vllm:gpu_prefix_cache_hits"),
    "preemptions": ("vllm:num_preemptions",),
}


@dataclass(frozen=True, slots=True)
class Scrape:
    """What a server's metrics say, of all since it started."""

    blocks: int | None = None
    """num_gpu_blocks, the null block included"""
    block_size: int | None = None
    prefix_caching: bool | None = None
    counters: Mapping[str, float] = field(default_factory=dict)
    """of `queries`, `hits` (tokens) and `preemptions` those that are there"""

    @property
    def hit_share(self) -> float | None:
        """Of the tokens that were looked up in the prefix cache; None: not known."""
        queries = self.counters.get("queries")
        return self.counters["hits"] / queries if queries and "hits" in self.counters else None


def read_scrape(path: Path) -> Scrape:
    """Read a scrape of vLLM's metrics; several engines' numbers are added up. Raises InputError."""
    file = load(path)
    values: dict[str, float] = {}
    config: dict[str, str] = {}
    for number, raw in file.lines():
        line = raw.decode(errors="replace").strip()
        if line.startswith("#"):
            continue
        match = _SAMPLE.fullmatch(line)
        if match is None:
            raise InputError(f"{file.name}, line {number}: is no sample of Prometheus' text format: {quoted(line)}")
        labels = dict(_LABEL.findall(match["labels"] or ""))
        try:
            name, value = match["name"], float(match["value"])
            if name == "vllm:cache_config_info":
                config = config or labels
            elif math.isfinite(value):  # NaN says that a number is not known
                name = name.removesuffix("_total")
                values[name] = values.get(name, 0.0) + value
        except ValueError:
            raise InputError(f"{file.name}, line {number}: {quoted(match['value'])} is no number") from None
    if not any(name.startswith("vllm:") for name in values) and not config:
        raise InputError(f"{file.name}: has no metric of vLLM, whose names begin with vllm:")
    counters = {key: values[name] for key, names in _COUNTERS.items() for name in names if name in values}
    return Scrape(
        blocks=_size(config, "num_gpu_blocks", 1_000_000_000, file.name),
        block_size=_size(config, "block_size", 65_536, file.name),
        prefix_caching={"True": True, "False": False}.get(config.get("enable_prefix_caching", "")),
        counters=counters,
    )


def _size(config: Mapping[str, str], key: str, most: int, name: str) -> int | None:
    """Of the pool; None: the server does not say. Raises InputError where no pool is like that."""
    text = config.get(key, "")
    if not text.isdecimal() or not int(text):
        return None
    if int(text) > most:
        raise InputError(f"{name}: {key} is {quoted(text)}, but must be at most {most:,}")
    return int(text)


@dataclass(frozen=True, slots=True)
class Difference:
    """A number of the server beside the same one of a simulation."""

    metric: str
    statistic: str
    """one of `STATISTICS`, or empty"""
    unit: str
    measured: float
    simulated: float

    @property
    def name(self) -> str:
        """As in `ttft.p99`."""
        return f"{self.metric}.{self.statistic}" if self.statistic else self.metric

    @property
    def share(self) -> float | None:
        """The simulation's error, as a share of what was measured."""
        return (self.simulated - self.measured) / self.measured if self.measured else None

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {"metric": self.name, "unit": self.unit, "measured": self.measured, "simulated": self.simulated,
                "difference": self.share}  # fmt: skip


def simulated_samples(results: Results, wanted: Mask, delay: float = 0.0) -> dict[str, Floats]:
    """The times of `METRICS` of the `wanted` requests of a simulation, as `Measured.samples` has them.

    `delay`: s that lie between the server and the clients who measured.
    """
    times, gaps = latencies(results.record), TokenGaps(results.record)
    ticks, often = gaps.distribution(wanted)
    tpot = times.tpot[wanted]
    return {
        "ttft": times.ttft[wanted] + delay,
        "tpot": tpot[~np.isnan(tpot)],
        "itl": np.repeat(ticks, often) / TICKS_PER_SECOND,
        "e2e": times.e2e[wanted] + delay,
    }


def differences(
    measured: Measured,
    results: Results,
    wanted: Mask | None = None,
    scrape: Scrape | None = None,
    delay: float = 0.0,
) -> list[Difference]:
    """The server's numbers beside those of a simulation of its requests; of `wanted` ones, or of all and the rates."""
    finished = results.record.requests["status"] == FINISHED
    rows = finished if wanted is None else finished & wanted
    found = []
    simulated = simulated_samples(results, rows, delay)
    for metric, seconds in measured.samples(rows).items():
        if len(seconds) and len(simulated[metric]):
            pairs = zip(STATISTICS, _statistics(seconds), _statistics(simulated[metric]), strict=True)
            found += [Difference(metric, statistic, "s", one, other) for statistic, one, other in pairs]
    if wanted is None:
        tokens = float(measured.workload.output_len.sum())
        span = results.summary["end_time"] - float(measured.workload.arrival.min())
        for name, amount in (("requests_per_s", float(len(measured.ttft))), ("output_tokens_per_s", tokens)):
            unit = "requests/s" if name == "requests_per_s" else "tokens/s"
            found.append(Difference(name, "", unit, amount / measured.span, amount / span))
    if scrape is not None:
        hits = results.summary["hits"]
        if scrape.hit_share is not None and hits["query_tokens"]:
            found.append(Difference("hit_share", "", "1", scrape.hit_share, hits["hit_tokens"] / hits["query_tokens"]))
        if "preemptions" in scrape.counters:
            preemptions = float(results.summary["preemptions"])
            found.append(Difference("preemptions", "", "", scrape.counters["preemptions"], preemptions))
        if scrape.blocks is not None:
            found.append(Difference("blocks", "", "blocks", float(scrape.blocks), float(results.blocks_in_pool)))
    return found


def _statistics(seconds: Floats) -> list[float]:
    return [float(seconds.mean()), *np.quantile(seconds, [0.5, 0.9, 0.99]).tolist()]

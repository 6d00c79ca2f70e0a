"""Samples of ServeGen against what its description says of them."""

import ast
import csv
import io
import json
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest

from simcore.workload.columns import Workload
from simcore.workload.traces import read_trace

TINY = Path(__file__).parents[1] / "data" / "traces" / "servegen"


def of_client(workload: Workload, start: float, end: float, prompts: set[int]) -> "np.ndarray":
    """Rows that arrive in a window and have one of some prompt lengths."""
    inside = (workload.arrival >= start) & (workload.arrival < end)
    return np.flatnonzero(inside & np.isin(workload.prompt_len, list(prompts)))


def test_a_tiny_description_by_hand() -> None:
    """Client 0 rests, then sends 2 and 0.5 requests/s; client 3 sends 0.1 and 1, then rests."""
    samples = [read_trace(TINY, seed=seed, span=(0.0, 1800.0)) for seed in range(20)]
    for start, prompts, expected in [
        (0, {10, 30}, 0),
        (600, {10, 30}, 1200),
        (1200, {10, 30}, 300),
        (0, {100}, 60),
        (600, {100}, 600),
        (1200, {100}, 0),
    ]:
        assert {len(of_client(sample, start, start + 600, prompts)) for sample in samples} == {expected}
    rows = np.concatenate([sample.prompt_len[sample.prompt_len < 100] for sample in samples])
    assert np.mean(rows == 30) == pytest.approx(0.75, abs=4 * math.sqrt(0.75 * 0.25 / len(rows)))
    outputs = np.concatenate([sample.output_len[sample.prompt_len == 100] for sample in samples])
    assert np.mean(outputs == 50) == pytest.approx(0.9, abs=4 * math.sqrt(0.9 * 0.1 / len(outputs)))


def test_one_random_number_gives_both_lengths() -> None:
    """The shortest quarter of the prompts is among the shorter half of the outputs, as ServeGen draws them."""
    sample = read_trace(TINY, span=(600.0, 1200.0))
    assert set(sample.output_len[sample.prompt_len == 10].tolist()) == {1}
    assert set(sample.output_len[sample.prompt_len == 30].tolist()) == {1, 2}


@pytest.mark.parametrize(
    ("start", "prompts", "variance"),
    [
        (600, {10, 30}, 1 / 0.5),  # Gamma: CV^2 = 1 / shape
        (1200, {10, 30}, math.gamma(1 + 2 / 0.4) / math.gamma(1 + 1 / 0.4) ** 2 - 1),  # Weibull
        (600, {100}, 1.0),  # Weibull of shape 1 is exponential
    ],
)
def test_gaps_have_the_shape_of_their_window(start: float, prompts: set[int], variance: float) -> None:
    gaps = []
    for seed in range(60):
        sample = read_trace(TINY, seed=seed, span=(0.0, 1800.0))
        gap = np.diff(sample.arrival[of_client(sample, start, start + 600, prompts)])
        gaps.append(gap / gap.mean())
    assert np.concatenate(gaps).var() == pytest.approx(variance, rel=0.08)


def test_a_span_begins_at_zero_and_keeps_the_rate() -> None:
    """100 s of 2.0 + 1.0 requests/s from the middle of a window, and whole numbers only in the mean."""
    counts = []
    for seed in range(50):
        sample = read_trace(TINY, seed=seed, span=(700.25, 800.5))
        assert 0 <= sample.arrival.min() <= sample.arrival.max() <= 100.25
        counts.append(len(sample))
    assert set(counts) == {300, 301, 302}  # 200 or 201, and 100 or 101
    assert np.mean(counts) == pytest.approx(300.75, abs=0.4)


def test_a_seed_decides_the_sample() -> None:
    one, again, other = (read_trace(TINY, seed=seed, span=(0.0, 1800.0)) for seed in (1, 1, 2))
    assert one.arrival.tolist() == again.arrival.tolist()
    assert one.arrival.tolist() != other.arrival.tolist()


@pytest.mark.parametrize("name", ["servegen_language_m-small_12clients", "servegen_reason_deepseek-r1"])
def test_a_published_description(name: str, shared: Path) -> None:
    """Rate and mean lengths of a span within 2 % of what the files say, read here in another way."""
    path, span = shared / "traces" / f"{name}.tar.gz", (3600.0, 4200.0)
    requests, tokens = 0.0, np.zeros(2)
    with tarfile.open(path) as archive:
        files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
        for trace in (name for name in files if name.endswith("-trace.csv")):
            rows = csv.reader(io.TextIOWrapper(files[trace], "utf-8"))
            rate = next(float(row[1]) for row in rows if float(row[0]) == span[0])
            if rate:
                lengths = json.load(files[trace.replace("-trace.csv", "-dataset.json")])["0"]
                requests += 600 * rate
                for place, key in enumerate(("input_tokens", "output_tokens")):
                    table = ast.literal_eval(lengths[key])
                    tokens[place] += 600 * rate * sum(length * share for length, share in table.items())
    sample = read_trace(path, seed=3, span=span)
    assert len(sample) == pytest.approx(requests, rel=0.001)
    assert sample.prompt_len.sum() == pytest.approx(tokens[0], rel=0.02)
    assert sample.output_len.sum() == pytest.approx(tokens[1], rel=0.02)

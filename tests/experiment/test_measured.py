"""What servers were measured to do, as vLLM writes it."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcore.errors import InputError
from simcore.experiment.measured import differences, read_benchmark, read_scrape
from tests.experiment.servers import scenario, serve, write_benchmark, write_metrics

GOOD: dict[str, Any] = {
    "request_rate": "inf",
    "input_lens": [10, 20, 30],
    "output_lens": [3, 0, 2],
    "ttfts": [0.5, 0.0, 0.25],
    "itls": [[0.1, 0.3], [], [0.2]],
    "errors": ["", "timeout", ""],
}


def bench(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "bench.json"
    document = {key: value for key, value in (GOOD | changes).items() if value is not None}
    path.write_text(json.dumps(document))
    return path


def test_a_benchmark(tmp_path: Path) -> None:
    """Sorted by when requests were sent; those that failed are left out."""
    found = read_benchmark(bench(tmp_path, start_times=[107.0, 103.0, 102.5]))
    assert found.workload.arrival.tolist() == [0.0, 4.5]
    assert found.workload.prompt_len.tolist() == [30, 10]
    assert found.ttft.tolist() == [0.25, 0.5]
    assert found.decode.tolist() == pytest.approx([0.2, 0.4])
    assert found.span == pytest.approx(4.5 + 0.5 + 0.4)
    assert found.notes == ("1 of 3 requests failed and are left out",)
    samples = found.samples(np.ones(2, bool))
    assert samples["tpot"].tolist() == pytest.approx([0.2, 0.2])
    assert samples["e2e"].tolist() == pytest.approx([0.45, 0.9])
    assert samples["itl"].tolist() == [0.2, 0.1, 0.3]


def test_arrivals_that_are_not_told(tmp_path: Path) -> None:
    found = read_benchmark(bench(tmp_path))
    assert found.workload.arrival.tolist() == [0.0, 0.0]
    assert "all are taken to arrive at once" in found.notes[1]
    found = read_benchmark(bench(tmp_path, max_concurrency=1))
    assert found.workload.after is not None
    assert found.workload.after.tolist() == [-1, 0]
    assert found.sent.tolist() == pytest.approx([0.0, 0.9])
    found = read_benchmark(bench(tmp_path, request_rate=2.0), seed=1)
    assert found.workload.arrival[0] == 0 < found.workload.arrival[1]
    assert "drawn at 2 requests/s" in found.notes[1]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"itls": None}, "itls is missing: vllm bench serve writes it with --save-result --save-detailed"),
        ({"ttfts": [0.5]}, "ttfts has 1 entries, and input_lens has 3"),
        ({"ttfts": [0.5, 0, -1]}, "ttfts must be a number from 0 to 10000000000 s, not -1"),
        ({"itls": [[0.1, "x"], [], [0.2]]}, 'itls must be a number from 0 to 10000000000 s, not "x"'),
        ({"input_lens": 7}, "input_lens must be a list of numbers of tokens, not 7"),
        ({"errors": ["", "", ""], "output_lens": [0, 0, 0]}, "none of its 3 requests was answered"),
        ({"ttfts": [0, 0, 0]}, "ttfts are all 0, so nothing was measured"),
        (
            {"itls": [[], [], []]},
            "itls are all empty, so the answers were not streamed, and no token can be told from the next",
        ),
        ({"request_rate": "fast"}, 'request_rate must be a number from 1e-09 to 1000000000.0, not "fast"'),
    ],
)
def test_broken_benchmarks(tmp_path: Path, changes: dict[str, Any], sentence: str) -> None:
    path = bench(tmp_path, **changes)
    with pytest.raises(InputError) as error:
        read_benchmark(path)
    assert str(error.value) == f"{path}: {sentence}"


def test_a_scrape(tmp_path: Path) -> None:
    results = serve(scenario("memory.blocks=700", requests=60))
    found = read_scrape(write_metrics(results, tmp_path / "metrics.txt"))
    assert (found.blocks, found.block_size, found.prefix_caching) == (700, 16, True)
    assert found.counters["preemptions"] == results.summary["preemptions"]
    assert found.hit_share is not None


def test_what_a_scrape_does_not_know(tmp_path: Path) -> None:
    """NaN is no number of hits, and two engines are added up."""
    path = tmp_path / "metrics.txt"
    path.write_text(
        "vllm:prefix_cache_queries_total NaN\n"
        'vllm:num_preemptions_total{engine="0"} 2\nvllm:num_preemptions_total{engine="1"} 3\n'
        'vllm:cache_config_info{num_gpu_blocks="None"} 1\n'
    )
    found = read_scrape(path)
    assert (found.hit_share, found.blocks, dict(found.counters)) == (None, None, {"preemptions": 5})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("up 1\n", "has no metric of vLLM, whose names begin with vllm:"),
        (
            "vllm:num_preemptions_total\n",
            'line 1: is no sample of Prometheus\' text format: "vllm:num_preemptions_total"',
        ),
        ("vllm:num_preemptions_total many\n", 'line 1: "many" is no number'),
        (
            'vllm:cache_config_info{num_gpu_blocks="99999999999"} 1\n',
            'num_gpu_blocks is "99999999999", but must be at most 1,000,000,000',
        ),
    ],
)
def test_broken_scrapes(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "metrics.txt"
    path.write_text(text)
    with pytest.raises(InputError) as error:
        read_scrape(path)
    assert str(error.value) in (f"{path}: {sentence}", f"{path}, {sentence}")


def test_a_simulation_beside_itself(tmp_path: Path) -> None:
    """Nothing differs but what the clients' distance adds."""
    results = serve(scenario(requests=60))
    measured = read_benchmark(write_benchmark(results, tmp_path / "bench.json", delay=0.25))
    scrape = read_scrape(write_metrics(results, tmp_path / "metrics.txt"))
    for each in differences(measured, results, scrape=scrape, delay=0.25):
        if not each.metric.endswith("_per_s"):
            assert each.simulated == pytest.approx(each.measured)
    apart = {(each.metric, each.statistic): each.measured - each.simulated for each in differences(measured, results)}
    assert apart["ttft", "p50"] == pytest.approx(0.25)
    assert apart["itl", "p99"] == pytest.approx(0, abs=1e-9)

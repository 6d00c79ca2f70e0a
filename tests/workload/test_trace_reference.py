"""Published traces against REFERENCE.json, which others computed."""

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from simcore.workload.columns import Workload
from simcore.workload.traces import read_trace, trace_info

FORMATS = {
    "AzureLLMInferenceTrace_code.first2100s.csv.gz": "azure",
    "AzureLLMInferenceTrace_conv.first2100s.csv.gz": "azure",
    "SYNTHETIC_qwen_bailian_format_seed0.first600s.jsonl.gz": "bailian",
    "azure2024_format_row.csv.gz": "azure",
    "burstgpt_v1_format_rows.csv.gz": "burstgpt",
    "kv_cache_tester_traces0001-0063.jsonl.gz": "kv-cache-tester",
    "llmservingsim_sharegpt_llama31_lengths_rows0-179.jsonl.gz": "llmservingsim",
    "mooncake_conversation_trace.first2400s.jsonl.gz": "mooncake",
    "servegen_language_m-small_12clients.tar.gz": "servegen",
    "servegen_reason_deepseek-r1.tar.gz": "servegen",
    "vidur_arxiv_summarization.rows0-16999.csv.gz": "vidur",
    "vidur_splitwise_code.first2100s.csv.gz": "vidur",
    "vidur_splitwise_conv.first2100s.csv.gz": "vidur",
}


@pytest.fixture(scope="module")
def traces(shared: Path) -> Path:
    return shared / "traces"


@pytest.fixture(scope="module")
def reference(traces: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((traces / "REFERENCE.json").read_text(encoding="utf-8"))
    return facts


@pytest.mark.parametrize(
    ("name", "sessions"),
    [(name, "sequential") for name in FORMATS] + [("kv_cache_tester_traces0001-0063.jsonl.gz", "stagger60")],
)
def test_a_trace_is_what_it_is_known_to_be(name: str, sessions: str, traces: Path, reference: dict[str, Any]) -> None:
    workload = read_trace(traces / name, sessions=sessions)
    facts, known = trace_info(workload), reference[name]
    assert facts["format"] == FORMATS[name]
    assert "skipped" in facts
    for lengths, key in (("prompt", "in"), ("output", "out")):
        if "len" in known:
            assert facts["requests"] == known["len"][key]["n"]
            assert facts[lengths] == pytest.approx({fact: known["len"][key][fact] for fact in facts[lengths]}, abs=6e-4)
    if "arrival_s" in known:
        assert facts["arrival_span"] == pytest.approx(known["arrival_s"]["span"], abs=6e-5)
    if "sim" in known or f"sim_{sessions}" in known:
        counts = known.get("sim") or known[f"sim_{sessions}"]
        assert facts["requests"] == counts["requests"]
        assert (facts["blocks"], facts["unique_blocks"]) == (counts["blocks"], counts["unique"])
        if sessions == "sequential":  # the slow part; a small sample has the other order
            assert lru_hits(workload, 1000) == counts["lru"]["1000"]["classic"]
    else:
        assert (facts["blocks"], facts["unique_blocks"]) == (None, None)


def lru_hits(workload: Workload, capacity: int) -> int:
    """Blocks found by an LRU cache that is asked for one at a time: it depends on the order of all requests."""
    assert workload.runs
    cache: OrderedDict[int, None] = OrderedDict()
    hits = 0
    for block in workload.runs.source.tolist():
        if block in cache:
            hits += 1
            cache.move_to_end(block)
            continue
        cache[block] = None
        if len(cache) > capacity:
            cache.popitem(last=False)
    return hits


def test_the_same_requests_in_two_formats(traces: Path) -> None:
    """Vidur publishes Azure's requests, with arrivals of 6 digits."""
    for kind in ("code", "conv"):
        azure = read_trace(traces / f"AzureLLMInferenceTrace_{kind}.first2100s.csv.gz")
        vidur = read_trace(traces / f"vidur_splitwise_{kind}.first2100s.csv.gz")
        assert azure.prompt_len.tolist() == vidur.prompt_len.tolist()
        assert azure.output_len.tolist() == vidur.output_len.tolist()
        assert azure.arrival == pytest.approx(vidur.arrival, abs=1e-6)


def test_a_row_of_each_format_that_is_known_by_a_few_rows(traces: Path) -> None:
    burst = read_trace(traces / "burstgpt_v1_format_rows.csv.gz")
    assert burst.arrival.tolist() == [5, 45, 118]
    assert burst.prompt_len.tolist() == [472, 1087, 417]
    assert burst.output_len.tolist() == [18, 230, 276]
    azure = read_trace(traces / "azure2024_format_row.csv.gz")
    assert (azure.arrival[0], azure.prompt_len[0], azure.output_len[0]) == (0, 2162, 5)

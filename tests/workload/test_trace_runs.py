"""Published traces are played to their end, and every prefix-cache hit that a server loses is accounted for."""

import json
import runpy
from collections.abc import Callable
from itertools import pairwise, takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli import main
from simcore import Workload
from simcore.workload.traces import read_trace

EXAMPLES = Path(__file__).parents[2] / "examples"
CODERS = "kv_cache_tester_traces0001-0063.jsonl.gz"
MOONCAKE = "mooncake_conversation_trace.first2400s.jsonl.gz"
BAILIAN = "SYNTHETIC_qwen_bailian_format_seed0.first600s.jsonl.gz"
LARGE_SERVER = (
    "memory.blocks=1_000_000_000",
    "scheduler={ max_num_seqs = 1024, max_num_batched_tokens = 16_384, max_model_len = 10_000_000 }",
    "timing={ model = 'linear', step = 0.2, per_token = 1e-5 }",
)
"""Refuses nobody; its slow steps make for few of them."""

Account = Callable[..., dict[str, int]]
IDEAL, DROPPED, BROUGHT, PARTIAL, LAST, UNFILLED, HITS, UNEXPLAINED = range(8)
"""The lines of the account, in their order."""


@pytest.fixture(scope="module")
def traces(shared: Path) -> Path:
    return shared / "traces"


@pytest.fixture(scope="module")
def reference(traces: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((traces / "REFERENCE.json").read_text(encoding="utf-8"))
    return facts


@pytest.fixture(scope="module")
def account() -> Account:
    found: Account = runpy.run_path(str(EXAMPLES / "hit_accounting.py"))["account"]
    return found


def lines(table: dict[str, int]) -> list[int]:
    """The numbers of an account, after a check that it adds up."""
    numbers = list(table.values())
    assert numbers[IDEAL] - sum(numbers[DROPPED:HITS]) == numbers[HITS]
    assert numbers[UNEXPLAINED] == 0
    assert min(numbers) >= 0
    return numbers


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("AzureLLMInferenceTrace_code.first2100s.csv.gz", ()),
        ("AzureLLMInferenceTrace_conv.first2100s.csv.gz", ()),
        (BAILIAN, ()),
        ("azure2024_format_row.csv.gz", ()),
        ("burstgpt_v1_format_rows.csv.gz", ()),
        (CODERS, ("workload.limit=300", "memory.block_size=64")),
        ("llmservingsim_sharegpt_llama31_lengths_rows0-179.jsonl.gz", ()),
        (MOONCAKE, ("memory.block_size=512",)),
        ("servegen_language_m-small_12clients.tar.gz", ("workload.end=10.0",)),
        ("servegen_reason_deepseek-r1.tar.gz", ("workload.end=60.0",)),
        ("vidur_arxiv_summarization.rows0-16999.csv.gz", ("workload.arrivals={ process = 'poisson', rate = 20.0 }",)),
        ("vidur_splitwise_code.first2100s.csv.gz", ()),
        ("vidur_splitwise_conv.first2100s.csv.gz", ()),
    ],
)
def test_a_trace_is_played_to_its_end(
    name: str,
    options: tuple[str, ...],
    traces: Path,
    reference: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [part for option in (*LARGE_SERVER, *options) for part in ("--set", option)]
    assert main(["simulate", "--trace", str(traces / name), *overrides, "--out", str(tmp_path / "out"), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    requests = summary["requests"]
    if not any("limit" in option or "end" in option for option in options):
        assert requests["total"] + requests["dropped"] == known_requests(name, reference)
    assert requests["finished"] == requests["total"] > 0
    assert requests["rejected"] == requests["unfinished"] == requests["skipped"] == 0
    assert summary["preemptions"] == 0


def known_requests(name: str, reference: dict[str, Any]) -> int:
    """Two files have a checksum only: they hold a row, and three."""
    few = {"azure2024_format_row.csv.gz": 1, "burstgpt_v1_format_rows.csv.gz": 3}
    return few[name] if name in few else int(reference[name]["len"]["in"]["n"])


@pytest.mark.parametrize(
    ("name", "overrides", "partial", "unfilled"),
    [
        (MOONCAKE, (), 56, 0),
        (MOONCAKE, ("scheduler.long_prefill_token_threshold=1024", "timing.step=1.0"), 56, None),
        (BAILIAN, (), 0, 0),
        (BAILIAN, ("scheduler.long_prefill_token_threshold=256", "timing.step=1.0"), 0, None),
    ],
)
def test_hits_of_a_trace(
    name: str,
    overrides: tuple[str, ...],
    partial: int,
    unfilled: int | None,
    traces: Path,
    reference: dict[str, Any],
    account: Account,
) -> None:
    """One prompt after another is computed whole, so that the next finds it; a limit for long prompts undoes that."""
    numbers = lines(account(read_trace(traces / name), overrides))
    assert numbers[IDEAL] == reference[name]["sim"]["inf_prefix_hits"]
    assert numbers[DROPPED:UNFILLED] == [0, 0, partial, 0]
    assert numbers[UNFILLED] > 0 if unfilled is None else numbers[UNFILLED] == unfilled


@pytest.mark.parametrize("sessions", ["sequential", "stagger60"])
def test_hits_of_coding_sessions(sessions: str, traces: Path, reference: dict[str, Any], account: Account) -> None:
    """The whole trace takes a minute: the count is of all requests, the run of those around the one without output."""
    trace = read_trace(traces / CODERS, sessions=sessions)
    assert infinite_hits(trace) == reference[CODERS][f"sim_{sessions}"]["inf_prefix_hits"]
    (dropped,) = np.flatnonzero(trace.output_len == 0).tolist()
    around = trace.take(np.arange(dropped - 150, dropped + 150))
    before, upto = (infinite_hits(around.take(np.arange(count))) for count in (150, 151))
    numbers = lines(account(around))
    assert numbers[IDEAL] == infinite_hits(around)
    assert numbers[DROPPED] == upto - before > 0
    assert numbers[BROUGHT:HITS] == [0, 0, 0, 0]


def infinite_hits(trace: Workload) -> int:
    """Leading blocks of each prompt that an earlier one had, anywhere; see the traces' README."""
    assert trace.runs
    seen: set[int] = set()
    hits = 0
    for first, end in pairwise(trace.runs.offsets.tolist()):
        names = trace.runs.source[first:end].tolist()
        hits += len(list(takewhile(seen.__contains__, names)))
        seen.update(names)
    return hits


def test_an_account_by_hand(tmp_path: Path, account: Account) -> None:
    """Bailian's format, 16 tokens a block: (time, prompt, output, blocks)."""
    rows = [
        (0, 40, 2, [1, 2, 3]),  # the third block is half full
        (10, 40, 2, [1, 2, 3]),  # all 3 are known; but a partial block is not cached
        (20, 32, 2, [1, 2]),  # both are known; but the last token has to be computed
        (30, 64, 0, [1, 2, 7, 8]),  # 2 are known; but it is dropped
        (40, 64, 2, [1, 2, 7, 8]),  # 4 are known; but that one brought half of them
        (50, 96, 2, [20, 21, 22, 23, 24, 25]),  # beside another one, a step takes 32 tokens of a prompt:
        (50, 96, 2, [20, 21, 22, 23, 24, 25]),  # 6 are known, the last is computed; but only 2 are filled in that step
    ]
    keys = ("timestamp", "input_length", "output_length", "hash_ids")
    extra = {"chat_id": 1, "parent_chat_id": -1, "type": "text", "turn": 1}
    objects = [dict(zip(keys, row, strict=True)) | extra for row in rows]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in objects), encoding="utf-8")
    numbers = lines(account(read_trace(trace), ["scheduler.long_prefill_token_threshold=32"]))
    assert numbers[IDEAL] == 0 + 3 + 2 + 2 + 4 + 0 + 6
    assert numbers[DROPPED:HITS] == [2, 2, 1, 2, 3]
    assert numbers[HITS] == 0 + 2 + 1 + 0 + 2 + 0 + 2

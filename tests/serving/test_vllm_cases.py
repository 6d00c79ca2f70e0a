"""Recorded runs of vLLM 0.33.0's scheduler, step by step: every token, block id, hit, eviction and time is equal."""

import gzip
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from app.cli import main
from simcore import simulate
from tests.serving.harness import Step, first_difference, play, scenario_of, scenario_text
from tests.serving.reference import SECOND, Config, Server

CASES = Path(__file__).parents[1] / "data" / "vllm"
NAMES = sorted(path.name.removesuffix(".out.jsonl.gz") for path in CASES.glob("*.out.jsonl.gz"))

RENAMED = {"reserve_full_isl": "reserve_full_prompt"}
DONE, STALLED = 0, 3


class Case:
    """A recorded run."""

    def __init__(self, name: str) -> None:
        lines = gzip.decompress((CASES / f"{name}.out.jsonl.gz").read_bytes()).splitlines()
        header, *self.steps, self.summary = map(json.loads, lines)
        options = {RENAMED.get(key, key): value for key, value in header["config"].items()}
        window, hybrid = options.pop("sliding_window"), options.pop("hybrid")
        groups = (0, window) if hybrid else (window,)
        time = header["time"]
        timing = {"step": time["c0"], "per_token": time["c1"], "per_context_token": time["c2"]}
        self.config = Config(**options, groups=groups, **timing)
        self.workload = CASES / header["workload"]


@pytest.fixture(params=NAMES)
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


def test_all_cases_are_here() -> None:
    assert len(NAMES) == 41


def test_the_simulator_does_what_vllm_did(case: Case) -> None:
    scenario = scenario_of(case.config, case.workload)
    steps, results = play(scenario)
    difference = first_difference(steps, case.steps)
    assert difference is None

    unlogged = simulate(scenario)  # it takes short cuts that a log would show
    assert unlogged.summary == results.summary
    assert unlogged.requests.equals(results.requests)
    assert unlogged.timeline.equals(results.timeline.select(unlogged.timeline.columns)), "a journal adds columns"

    recorded, summary = case.summary, results.summary
    assert summary["steps"] == recorded["steps"]
    assert summary["end_time"] == recorded["end_time"]
    assert summary["preemptions"] == recorded["preemptions"]
    assert summary["evictions"] == recorded["evicted_cached_blocks"]
    assert summary["tokens"]["scheduled"] == recorded["scheduled_tokens"]
    assert summary["hits"]["query_tokens"] == recorded["query_tokens_all"]
    assert summary["hits"]["hit_tokens"] == recorded["hit_tokens_all"]
    assert summary["requests"]["finished"] == recorded["finished"]
    assert summary["requests"]["rejected"] == len(recorded["rejected"])
    assert results.stalled == recorded["stalled"]
    assert results.unfinished == recorded["unfinished"]
    assert results.requests["hit_tokens_first"].sum() == recorded["hit_tokens_first"]
    assert (results.timeline["scheduled_tokens"] == 0).sum() == recorded["zero_token_steps"]

    assert {
        row.pop("id"): row
        for row in results.requests.select(
            "id",
            status=pl.col("status").replace("unfinished", "waiting"),
            ttft="ttft",
            e2e="e2e",
            preemptions="preemptions",
            hit_first=pl.when(pl.col("queue").is_not_null()).then("hit_tokens_first"),
            hit_total="hit_tokens",
            computed="computed_tokens",
        ).to_dicts()
    } == recorded["requests"]


def test_the_table_of_blocks_tells_the_same(case: Case) -> None:
    """What is allocated, hit and freed accounts for every block in use, and evictions are in vLLM's order."""
    _, results = play(scenario_of(case.config, case.workload))
    blocks = results.blocks
    held = blocks.group_by("step").agg(
        ((pl.col("event") == "allocate") | ((pl.col("event") == "hit") & (pl.col("refs") == 1))).sum().alias("taken"),
        ((pl.col("event") == "free") & (pl.col("refs") == 0)).sum().alias("given"),
        pl.col("block").filter(pl.col("event") == "evict").alias("evicted"),
    )
    by_step = {row["step"]: row for row in held.to_dicts()}
    used = 0
    for step in case.steps:
        row = by_step.get(step["i"], {"taken": 0, "given": 0, "evicted": []})
        used += row["taken"] - row["given"]
        assert row["evicted"] == step["evicted_ids"], step["i"]
        if not case.config.async_scheduling:  # otherwise the next step has taken blocks by then
            assert used == step["used"], step["i"]
    assert used == case.steps[-1]["used"]


def test_the_reference_does_what_vllm_did(case: Case) -> None:
    lines = [json.loads(line) for line in case.workload.read_text(encoding="utf-8").splitlines()]
    server = Server(case.config, lines)
    difference = first_difference(server.run(), case.steps)
    assert difference is None
    for request in server.requests:
        recorded = case.summary["requests"][request.id]
        assert since_arrival(request.arrival, request.first_token) == recorded["ttft"]
        assert since_arrival(request.arrival, request.finished) == recorded["e2e"]
        assert request.preemptions == recorded["preemptions"]
        assert (request.hit_first, request.hit_total) == (recorded["hit_first"], recorded["hit_total"])
        assert request.scheduled == recorded["computed"]
    assert sum(request.query_tokens for request in server.requests) == case.summary["query_tokens_all"]


def since_arrival(arrival: int, instant: int | None) -> float | None:
    return None if instant is None else (instant - arrival) / SECOND


@pytest.mark.parametrize("name", ["08_prefix_eviction_pressure", "12_never_fits_growth", "17_priority"])
def test_the_command_writes_the_same_steps(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = Case(name)
    scenario, steps, folder = (tmp_path / part for part in ("scenario.toml", "steps.jsonl", "results"))
    scenario.write_text(scenario_text(case.config, case.workload), encoding="utf-8")
    code = main(["simulate", str(scenario), "--steps", str(steps), "--out", str(folder), "--json"])
    assert code == (STALLED if case.summary["stalled"] else DONE)
    logged: list[Step] = [json.loads(line) for line in steps.read_text(encoding="utf-8").splitlines()]
    difference = first_difference(logged, case.steps)
    assert difference is None
    printed: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert printed == json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert printed["end_time"] == case.summary["end_time"]

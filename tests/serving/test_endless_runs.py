"""Runs that cannot end by themselves: what was done until somebody or something ends them is whole."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from app.cli import main
from simcore import Results, Scenario, Workload, simulate
from simcore.ticks import MAX_TICKS, Tick, to_seconds, to_ticks
from simcore.workload.columns import OPEN

CLOCK = to_seconds(MAX_TICKS)


class Steady:
    """Every step takes equally long, longer than a scenario allows."""

    def __init__(self, seconds: float) -> None:
        self._step = to_ticks(seconds)

    def ticks(self, seqs: int, tokens: int, *_: object) -> Tick:
        return self._step if tokens else 0

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        return 0


def run(*requests: tuple[float, int, int], step: float, after: list[int] | None = None, max_steps: int = 0) -> Results:
    """Requests are (arrival, prompt, output)."""
    arrival, prompt_len, output_len = (np.array(column) for column in zip(*requests, strict=True))
    scenario = Scenario.model_validate(
        {
            "memory": {"blocks": 12, "block_size": 1, "prefix_caching": False},
            "scheduler": {
                "policy": "priority",
                "reserve_full_prompt": False,
                "long_prefill_token_threshold": 2,
                "max_num_batched_tokens": 20,
                "max_num_seqs": 2,
                "max_model_len": 100,
                "max_steps": max_steps or 1_000_000,
            },
            "timing": {"model": "constant"},
        }
    )
    workload = Workload(
        format="synthetic",
        arrival=arrival.astype(float),
        prompt_len=prompt_len,
        output_len=output_len,
        after=None if after is None else np.array(after),
    )
    return simulate(scenario, workload=workload, timer=Steady(step))


def whole(results: Results) -> bool:
    """Whether requests and steps agree on what was computed, and on the tokens that came of it."""
    summary, requests = results.summary, results.requests
    return bool(
        requests["computed_tokens"].sum()
        == results.timeline["scheduled_tokens"].sum()
        == summary["tokens"]["scheduled"]
        and requests["output_tokens"].sum() == summary["tokens"]["output"]
    )


def test_equals_preempt_each_other_for_ever() -> None:
    """Neither ever has its whole prompt computed, for the other takes the blocks: hence `max_steps` is required."""
    results = [run((0.0, 8, 4), (0.0, 1, 8), step=1.0, max_steps=steps) for steps in (500, 1000)]
    early, late = (result.summary for result in results)
    assert early["tokens"]["output"] == late["tokens"]["output"]
    assert late["preemptions"] > 1.9 * early["preemptions"] > 0
    assert all(result.stalled and not result.out_of_time and whole(result) for result in results)
    distinct = run((0.0, 8, 4), (0.5, 1, 8), step=1.0)
    assert distinct.summary["requests"]["finished"] == 2, "who came first goes on"


def test_the_clock_ends_in_a_step() -> None:
    """Steps of 40 days: the third is cut short, and it is the last; the request would have needed four."""
    results = run((0.0, 2, 4), (0.0, 1, 1), step=40 * 86_400.0)
    assert results.timeline["dt"].to_list() == pytest.approx([40 * 86_400, 40 * 86_400, CLOCK - 80 * 86_400])
    assert results.summary["end_time"] == CLOCK
    assert results.requests["status"].to_list() == ["unfinished", "finished"]
    assert results.requests["output_tokens"].to_list() == [3, 1]
    assert results.out_of_time
    assert results.stalled
    assert whole(results)


def test_the_clock_ends_in_the_very_last_step() -> None:
    """Nobody is left, but it took longer than it seems: the run says that it could not end."""
    results = run((0.0, 2, 1), step=100 * 86_400.0)
    assert results.unfinished == []
    assert results.out_of_time
    assert results.stalled


def test_the_clock_ends_before_the_next_arrival() -> None:
    """The second asks 96 days after it was answered, which took 2 days."""
    results = run((0.0, 2, 2), (96 * 86_400.0, 1, 1), step=86_400.0, after=[OPEN, 0])
    assert results.requests["status"].to_list() == ["finished", "unfinished"]
    assert results.requests["arrival"].to_list() == [0, None]
    assert results.out_of_time
    assert whole(results)
    in_time = run((0.0, 2, 2), (94 * 86_400.0, 1, 1), step=86_400.0, after=[OPEN, 0])
    assert not in_time.out_of_time
    assert not in_time.stalled


def test_what_was_done_within_97_days_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    timing = "timing={ model = 'constant', step = 3600 }"
    load = "workload={ requests = 2, arrivals = { process = 'all-at-once' } }"
    output = "workload.output={ distribution = 'fixed', tokens = 3000 }"
    keys = ("--set", timing, "--set", load, "--set", output, "--set", "scheduler.max_model_len=4000")
    assert main(["simulate", *keys, "--out", str(tmp_path / "out"), "--json"]) == 3
    out, err = capsys.readouterr()
    assert err == ("kvscope: the run could not end within 97 days, all that its clock holds; unfinished: r0, r1\n")
    summary = json.loads(out)
    assert summary["end_time"] == CLOCK
    assert summary["requests"]["unfinished"] == 2
    assert len(pl.read_parquet(tmp_path / "out" / "timeline.parquet")) == summary["steps"] == 2331  # of an hour each
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["stalled"] is True

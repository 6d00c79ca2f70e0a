"""The page of one run, and the picture of its pool."""

import json
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from app.cli import main
from simcore import InputError, Results, Scenario, simulate
from simcore.export.report import OneRun, run_page
from simcore.export.report.blocks import MOST_COLUMNS, MOST_ROWS, block_map
from simcore.export.report.single import POINTS

SMALL = ["workload.requests=40", "memory.blocks=200", "workload.arrivals.rate=4.0"]


@pytest.fixture(scope="module")
def results() -> Results:
    return simulate(Scenario.preset("chat", SMALL), journal=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "out"
    options = [part for key in SMALL for part in ("--set", key)]
    assert main(["simulate", "chat", *options, "--blocks", "--report", "--out", str(out)]) == 0
    return out


def test_blocks_are_what_the_timeline_counts(results: Results) -> None:
    """At every instant within a step: as many blocks held, cached and free as its row says."""
    usable, end = results.blocks_in_pool - 1, results.summary["end_time"]
    assert usable <= MOST_ROWS
    shown = block_map("chat", results.blocks, usable, end)
    assert shown.states.shape == (usable, MOST_COLUMNS)
    assert shown.blocks == list(range(1, usable + 1))
    steps = results.timeline
    middles = np.array(shown.times) + end / MOST_COLUMNS / 2
    at = np.searchsorted(steps["t"].to_numpy(), middles, side="right") - 1
    inside = (at >= 0) & (middles < (steps["t"] + steps["dt"]).to_numpy()[at])
    assert inside.sum() > 50
    counts = np.stack([(shown.states == state).sum(axis=0) for state in range(4)])
    rows = at[inside]
    assert (counts[2] + counts[3])[inside].tolist() == steps["blocks_used"].to_numpy()[rows].tolist()
    assert counts[1][inside].tolist() == steps["blocks_cached"].to_numpy()[rows].tolist()
    assert counts[0][inside].tolist() == steps["blocks_free"].to_numpy()[rows].tolist()
    assert counts[3].any(), "some blocks are shared"


def test_large_pools_are_thinned_out(results: Results) -> None:
    usable = results.blocks_in_pool - 1
    whole = block_map("", results.blocks, usable, results.summary["end_time"])
    thin = block_map("", results.blocks, 10 * MOST_ROWS, results.summary["end_time"])
    assert len(thin.blocks) == MOST_ROWS
    assert (thin.blocks[0], thin.blocks[-1]) == (1, 10 * MOST_ROWS)
    for row, block in enumerate(thin.blocks):
        if block <= usable:
            assert thin.states[row].tolist() == whole.states[block - 1].tolist()
        else:
            assert not thin.states[row].any()


def test_the_page(folder: Path) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    summary = json.loads((folder / "summary.json").read_bytes())
    assert f"<b>{summary['requests']['finished']:,}</b><span>requests finished</span>" in html
    assert f'data-v="{summary["ttft"]["p99"]:.10g}"' in html
    for chart in ("cdf-ttft", "cdf-e2e", "timeline", "waste", "blocks"):
        assert f'<figure id="{chart}">' in html
    assert html.count('role="img"') == html.count("<summary>Table of figure")
    assert not re.search(r'(?:src|href)="(?!#|data:image/png)', html)


def test_time_means_are_those_of_the_summary(results: Results) -> None:
    """The stack of the pool, averaged over time, holds as many blocks as summary.json says."""
    from simcore.export.report.single import _timeline

    chart = _timeline(OneRun.of(results, {}))
    frame = pl.DataFrame(list(chart.rows), list(chart.columns), orient="row")
    assert len(frame) == POINTS
    held = frame["tokens"] + frame["unused"]
    assert held.mean() == pytest.approx(results.summary["memory"]["used_mean"])
    total = held + frame["cached"] + frame["free"]
    assert np.allclose(total, results.blocks_in_pool - 1)
    assert frame.select("tokens", "unused", "cached", "free").min_horizontal().min() >= -1e-9


def test_it_is_made_again(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (folder / "report.html").read_bytes()
    assert main(["report", str(folder), "--out", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_bytes() == before
    (folder / "report.html").write_text("old", encoding="utf-8")
    assert main(["report", str(folder)]) == 0
    assert (folder / "report.html").read_bytes() == before
    assert capsys.readouterr().err == ""


def test_without_a_report_there_is_none(tmp_path: Path) -> None:
    assert main(["simulate", "--set", "workload.requests=3", "--out", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out" / "report.html").exists()
    assert main(["report", str(tmp_path / "out")]) == 0
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert '<figure id="blocks">' not in html, "there is no journal"


@pytest.mark.parametrize("preset", ["tiers", "swapping", "orca", "beam-search", "parallel-samples"])
def test_other_kinds_of_memory(preset: str) -> None:
    results = simulate(Scenario.preset(preset, ["workload.requests=12"]), journal=True)
    assert '<figure id="blocks">' in run_page(OneRun.of(results, {}))


def test_a_run_in_which_nothing_happens(tmp_path: Path) -> None:
    """All requests are refused: no latencies, no steps."""
    results = simulate(Scenario.preset("default", ["workload.requests=2", "memory.blocks=2"]))
    assert results.summary["requests"]["finished"] == 0
    html = run_page(OneRun.of(results, {"stalled": True, "command": ["simulate"]}))
    assert "0 of 2 requests were served" in html
    assert "The run could not end" in html


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("summary.json", None, "summary.json: is missing, and the report is made from it"),
        ("summary.json", b"{", "summary.json: is no JSON"),
        ("summary.json", b"[]", "summary.json: must be a JSON object"),
        ("summary.json", b"{}", "these are no complete results of a run: KeyError"),
        ("requests.parquet", None, "requests.parquet: is missing"),
        ("timeline.parquet", b"x", "timeline.parquet: is no Parquet file, or a broken one"),
        ("blocks.parquet", b"", "blocks.parquet: is no Parquet file, or a broken one"),
        ("scenario.toml", b"[memory]\nblocks = 0", "scenario.toml: memory.blocks"),
        ("run.json", b"\xff", "run.json: is no JSON"),
    ],
)
def test_broken_results(name: str, content: bytes | None, sentence: str, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        if path.name != "report.html":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=re.escape(sentence)):
        run_page(OneRun.load(tmp_path))

"""Published tables: what is played is what is said, and the figures that are exact come out exactly.

The tables of serving systems are played for a short time here; `kvscope reproduce` plays them for as long as they say.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from simcore import simulate
from simcore.errors import InputError
from simcore.experiment.published import NAMES, MooncakeCurve, Row, agree, reproduce, table
from simcore.experiment.published.caches import REFERENCES
from simcore.experiment.published.serving import Case, Measured, Run, ServingTable, log_normal_mean, play, scenario_of

SETTING = "vllm-paper"
TABLES = ("vllm-batched-requests", "vllm-memory-waste", "vllm-sharing")
MIXED = Path(__file__).parents[1] / "data" / "traces" / "mooncake.jsonl"
SLICE = "mooncake_conversation_trace.first2400s.jsonl.gz"


def by_name(rows: list[Row]) -> dict[str, Row]:
    return {row.name: row for row in rows}


def test_differences_and_verdicts() -> None:
    exact = Row("a", 2.0, 2.5, 0.5, "times")
    assert (exact.difference, exact.ok) == (0.5, True)
    assert Row("b", 2.0, 1.25, 0.5, "times").ok is False
    shown = Row("c", 2.0, 9.0, None, "times")
    assert shown.ok is None
    below, within, above = (Row("d", 1.7, ours, 0.0, "times", published_to=2.7) for ours in (1.5, 2.0, 3.0))
    assert [row.difference for row in (below, within, above)] == pytest.approx([-0.2, 0.0, 0.3])
    assert [row.ok for row in (below, within, above)] == [False, True, False]
    assert agree([exact, shown, within])
    assert not agree([exact, above])


@pytest.mark.parametrize(("mean", "cv", "most"), [(337.99, 1.1, 1280), (161.31, 1.0, 1024), (19.31, 0.5, 1024)])
def test_means_are_those_of_the_lengths_once_cut(mean: float, cv: float, most: float) -> None:
    spread = np.sqrt(np.log(1 + cv * cv))
    whole = log_normal_mean(mean, cv, most)
    drawn = whole * np.exp(spread * np.random.default_rng(0).standard_normal(1_000_000) - spread**2 / 2)
    assert np.minimum(drawn, most).mean() == pytest.approx(mean, rel=0.004)
    assert whole >= mean


def test_no_cut_leaves_a_higher_mean() -> None:
    with pytest.raises(ValueError, match="cut at 100 cannot have a mean of 100"):
        log_normal_mean(100, 1.0, 100)


def test_one_setting_serves_all_systems() -> None:
    """No figure has a model of time, a length or a model of its own."""
    runs = {run.case for name in TABLES for run in ServingTable(SETTING, name).runs}
    scenarios = {case: scenario_of(SETTING, case) for case in runs}
    assert len({scenario.timing.model_dump_json() for scenario in scenarios.values()}) == 1
    assert len({scenario.model.model_dump_json() for scenario in scenarios.values()}) == 1
    for dataset in ("sharegpt", "alpaca"):
        workloads = [scenario.workload for case, scenario in scenarios.items() if case.dataset == dataset]
        assert len({str((workload.prompt, workload.output)) for workload in workloads}) == 1
    slots = {(s.memory.blocks - 1) * s.memory.block_size for s in scenarios.values() if s.memory.blocks}
    assert slots == {15_728}


@pytest.mark.parametrize("name", TABLES)
def test_an_assumption_is_moved_alone(name: str) -> None:
    """Each run is that of its case but for the one key, which is 10 % larger."""
    for run in ServingTable(SETTING, name).runs:
        plain = scenario_of(SETTING, run.case).model_dump(mode="json")
        moved = scenario_of(SETTING, run.case, moved=run.moved).model_dump(mode="json")
        if not run.moved:
            assert moved == plain
            continue
        *path, last = run.moved.split(".")
        before, after = plain, moved
        for step in path:
            before, after = before[step], after[step]
        assert after[last] == pytest.approx(1.1 * before[last], rel=1e-3)  # to whole tokens
        after[last] = before[last]
        if path[-1] in ("prompt", "output"):  # whose mean before it is cut follows
            after["mean"] = before["mean"]
        moved["workload"]["requests"] = plain["workload"]["requests"]  # follow the rate
        assert moved == plain


def test_rows_say_what_was_measured() -> None:
    """Made-up measurements: each row takes its own quantity, and its mean, interval, ratio and movement."""
    waste = ServingTable(SETTING, "vllm-memory-waste")

    def measured(run: Run) -> Measured:
        level = {"vllm": 0.9, "orca-max": 0.3, "orca-pow2": 0.4, "orca-oracle": 0.45}[run.case.system]
        moved = 1.5 if run.moved == "timing.overhead" else 1.0
        return Measured(running=-1.0, stored=level * moved + 0.01 * run.seed, saved=-1.0, completed=level * moved)

    found = {run: measured(run) for run in waste.runs}
    rows = by_name([waste._row(figure, found) for figure in waste._table["figures"]])
    oracle = rows["ShareGPT, 4 requests/s: Orca (Oracle)"]
    assert oracle.ours == pytest.approx(0.45 + 0.015)
    assert oracle.interval == pytest.approx(3.182 * 0.01 * np.sqrt(5 / 3) / 2, rel=1e-3)
    assert oracle.moved["timing.overhead"] == pytest.approx(0.68 / 0.455 - 1)
    assert oracle.moved["timing.bandwidth_efficiency"] == pytest.approx(0.0)
    assert (oracle.bound, oracle.ok) == (0.03, False)
    ratio = rows["ShareGPT, 4 requests/s: rate of vLLM over Orca (Max)"]
    assert ratio.ours == pytest.approx(3.0)
    assert (ratio.published, ratio.published_to, ratio.ok) == (2.7, 8.0, True)


def test_what_orca_batches() -> None:
    """A fifth of the time that the command takes, one replication: as published within 12 %."""
    for system, published in (("orca-max", 7.0), ("orca-pow2", 9.81), ("orca-oracle", 13.62)):
        case = Case("sharegpt", system, 2.0, 600.0)
        measured = play(scenario_of(SETTING, case, seed=1), case.seconds)
        assert measured.running == pytest.approx(published, rel=1e-9 if system == "orca-max" else 0.12)
        assert 0.15 < measured.stored < 0.45


def test_what_vllm_stores_and_shares() -> None:
    overloaded = Case("sharegpt", "vllm", 4.0, 300.0)
    assert play(scenario_of(SETTING, overloaded), 300.0).stored == pytest.approx(0.963, abs=0.03)
    two, six = (Case("sharegpt", "vllm", 1.0 / n, 400.0 * n, samples=n) for n in (2, 6))
    saved = [play(scenario_of(SETTING, case), case.seconds).saved for case in (two, six)]
    assert saved[0] == pytest.approx(0.162, rel=0.25)
    assert saved[1] / saved[0] == pytest.approx(5 / 3, rel=0.1)  # the same lengths, six times


def test_a_run_is_looked_at_up_to_its_end() -> None:
    """Means over the window equal those of the whole run's steps, weighted by hand."""
    case = Case("alpaca", "vllm", 0.3, 40.0)
    scenario = scenario_of(SETTING, case)
    steps = simulate(scenario).record.steps
    begin, end = (round(seconds * (1 << 40)) for seconds in (4.0, 40.0))
    running = area = 0
    for t, dt, count in zip(steps["t"].tolist(), steps["dt"].tolist(), steps["running"].tolist(), strict=True):
        inside = max(0, min(t + dt, end) - max(t, begin))
        running += inside * count
        area += inside
    assert 0 < area < end - begin  # the server was idle at times
    assert play(scenario, 40.0).running == pytest.approx(running / (end - begin), rel=1e-9)


def test_tinyllama_of_a_comparison() -> None:
    rows = by_name(reproduce("seed-004"))
    assert rows["allocated for 1,024 tokens"].ours == 22.0
    assert rows["share saved, of 1,024 tokens"].ours == 0.875
    printed = rows["allocated for 2,048 tokens, as printed"]
    assert (printed.published, printed.ours, printed.ok) == (22.0, 44.0, None)
    assert rows["share saved, of 2,048 tokens, as printed"].ours == 0.9375
    assert "44.00" in printed.assumptions[-1]
    assert rows["paged"].ours == 2.75


def test_groups_of_a_lecture() -> None:
    rows = by_name(reproduce("seed-001"))
    printed = rows["8 heads in 4 groups, as printed"]
    assert (printed.published, printed.ours, printed.ok) == (4, 2.0, None)
    assert rows["8 heads, multi-query"].ours == 8.0


@pytest.mark.parametrize("name", ["seed-001", "seed-002", "seed-004"])
def test_documents_agree(name: str) -> None:
    rows = reproduce(name)
    assert agree(rows)
    assert sum(row.ok is True for row in rows) >= 5
    assert all(row.assumptions for row in rows if row.ok is None)


def test_mooncake_on_its_trace() -> None:
    shared = os.environ.get("KVSCOPE_SHARED")
    if not shared or not (Path(shared) / "traces" / SLICE).is_file():
        pytest.skip("the folder of traces is not here")
    rows = reproduce("mooncake-hit-ratio", Path(shared) / "traces" / SLICE)
    assert [row.difference for row in rows] == [0.0] * 4
    assert [round(row.ours * 194_284) for row in rows] == list(REFERENCES[1].hits.values())


def test_mooncake_needs_its_trace() -> None:
    with pytest.raises(InputError, match=r"^mooncake-hit-ratio needs --trace FILE: Mooncake's conversation trace, "):
        reproduce("mooncake-hit-ratio")
    with pytest.raises(InputError, match="has 3 requests of 6 blocks or ids, and nothing was published of it"):
        MooncakeCurve(MIXED).play(1, lambda: None)


def test_names() -> None:
    with pytest.raises(InputError, match=r'^nothing is called "vllm"; there are vllm-batched-requests, '):
        table("vllm")
    with pytest.raises(InputError, match=r"^seed-004 plays no trace"):
        table("seed-004", MIXED)
    for name in NAMES:
        assert name == "mooncake-hit-ratio" or table(name).title

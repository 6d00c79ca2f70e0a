"""Replications that are windows of a trace, and replications of a trace that are all equal."""

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from simcore import Comparison, InputError, Scenario, compare
from simcore.experiment import Experiment, Factor
from simcore.experiment.statistics import t_interval, t_test
from simcore.export.report import load, write
from simcore.workload import make_workload

SPAN = 60.0
EVICTION = {"memory.eviction": ["lru", "fifo"]}


@pytest.fixture(scope="module")
def trace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 prompts of 4 or 5 blocks, of a Zipf-like choice of 40 beginnings, over a minute."""
    rng = np.random.default_rng(7)
    lines = []
    for index, time in enumerate(np.sort(rng.uniform(0, SPAN * 1000, 120)).astype(int)):
        first = int(40 * rng.random() ** 2)
        hashes = [10 * first, 10 * first + 1, 10 * first + 2, 10_000 + index]
        lines.append({"timestamp": int(time), "input_length": 512 * 4, "output_length": 20, "hash_ids": hashes})
    path = tmp_path_factory.mktemp("trace") / "trace.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return path


def scenario_of(trace: Path, *more: str) -> Scenario:
    own = [f"workload.trace={json.dumps(str(trace))}", "model.preset=llama-3-8b", "memory.blocks=1000"]
    return Scenario.preset("default", [*own, *more])


@pytest.fixture(scope="module")
def folder(trace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    comparison = compare(scenario_of(trace), EVICTION, replications=4, jobs=1, windows=True)
    return write(comparison, tmp_path_factory.mktemp("windows") / "out", block_maps=False)


def test_each_request_is_in_one_window_whatever_its_speed(trace: Path) -> None:
    scenario = scenario_of(trace, "workload.rate_scale=3")
    experiment = Experiment(scenario, (Factor("memory.eviction", ("lru", "fifo")),), replications=4, windows=True)
    whole = make_workload(scenario.workload, 0)
    first, *_, last = experiment.spans
    assert first[0] == 0.0
    assert last[1] == pytest.approx(whole.arrival.max() * 3, abs=0.01)
    assert [low for low, _ in experiment.spans[1:]] == [high for _, high in experiment.spans[:-1]]
    runs = [run for run in experiment.runs() if run.setting.index == 1]
    parts = [make_workload(run.scenario.workload, run.scenario.seed) for run in runs]
    assert sum(map(len, parts)) == len(whole)
    starts = np.repeat([low for low, _ in experiment.spans], list(map(len, parts)))
    arrivals = np.concatenate([part.arrival for part in parts]) * 3 + starts
    np.testing.assert_allclose(arrivals, whole.arrival * 3, atol=1e-6)


@pytest.mark.parametrize(
    ("more", "factors", "replications", "said"),
    [
        ([], {"workload.start": (0.0, 1.0)}, 4, "workload.start is varied"),
        (["workload.limit=10"], {}, 4, "leave out workload.arrivals and workload.limit"),
        ([], {}, 1, "take at least 2"),
    ],
)  # fmt: skip
def test_windows_that_are_refused(
    trace: Path, more: list[str], factors: dict[str, tuple[float, ...]], replications: int, said: str
) -> None:
    varied = tuple(Factor(key, values) for key, values in factors.items())
    with pytest.raises(InputError, match=said):
        Experiment(scenario_of(trace, *more), varied, replications, windows=True)


def test_windows_of_a_drawn_workload_are_refused() -> None:
    with pytest.raises(InputError, match="the workload is drawn"):
        Experiment(Scenario.preset("default"), windows=True)


def test_a_row_of_a_window_is_repeated_by_its_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "replication r plays the r-th of 4 equal windows of the trace" in html
    comparison = load(folder)
    assert comparison.experiment.windows
    row = comparison.runs.filter(label="fifo", replication=2).row(0, named=True)
    (command,) = re.findall(rf"<code>(kvscope simulate scenarios/fifo[^<]*--set seed={row['seed']}[^<]*)</code>", html)
    words = shlex.split(command)[1:]
    words[1] = str(folder / words[1])
    assert main([*words, "--json", "--out", str(folder.parent / "again")]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["ttft"]["mean"] == row["ttft.mean"]
    assert summary["requests"]["total"] == summary["requests"]["finished"] == row["requests.finished"] < 120


def test_equal_replications_of_a_trace_say_so(trace: Path, tmp_path: Path) -> None:
    found = compare(scenario_of(trace), EVICTION, replications=3, jobs=1)
    assert found.intervals("hits.hit_share")["sd"].to_list() == [0.0, 0.0]
    html = (write(found, tmp_path / "out", block_maps=False) / "report.html").read_text(encoding="utf-8")
    assert "All replications are equal" in html
    assert "exact" in html
    assert "&lt; 0.001" not in html


def test_values_that_are_equal_have_no_width() -> None:
    values = [0.1] * 7  # whose mean in numpy is not 0.1
    found = t_interval(values, 0.95)
    assert (found.mean, found.sd, found.low, found.high) == (0.1, 0.0, 0.1, 0.1)
    assert t_test(values) == 0.0
    assert t_test([0.0] * 7) == 1.0


def test_windows_can_be_read_back(folder: Path) -> None:
    again = Comparison.load(folder)
    assert again.runs["start"].n_unique() == 4
    assert again.runs["end"].max() == pytest.approx(SPAN, rel=0.05)

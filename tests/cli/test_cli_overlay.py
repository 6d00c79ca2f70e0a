"""`kvscope overlay`: a server's results over a simulation's."""

import csv
import json
from pathlib import Path

import pytest

from app.cli import main
from simcore import Scenario
from tests.experiment.servers import TRUE, scenario, serve, write_benchmark, write_metrics


def served(tmp_path: Path) -> list[str]:
    """A server with a known model of time, 20 ms away, and the scenario that has it."""
    known = tmp_path / "known.toml"
    known.write_text(TRUE.model_copy(update={"delay": 0.02}).to_toml())
    setting = scenario("memory.blocks=900", requests=80)
    data = setting.model_dump(mode="json", exclude_none=True) | {
        "timing": {"model": "calibrated", "calibration": str(known)}
    }
    calibrated = Scenario.model_validate(data, strict=False)
    (tmp_path / "server.toml").write_text(calibrated.to_toml())
    results = serve(setting)
    bench = write_benchmark(results, tmp_path / "bench.json", delay=0.02)
    scrape = write_metrics(results, tmp_path / "metrics.txt")
    return ["overlay", str(bench), "--scenario", str(tmp_path / "server.toml"), "--metrics", str(scrape)]


def test_the_right_model_differs_in_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*served(tmp_path), "--json"]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["blocks"]["measured"] == rows["blocks"]["simulated"] == 900
    assert rows["preemptions"]["measured"] == rows["preemptions"]["simulated"]
    for metric in ("ttft.p50", "ttft.p99", "tpot.mean", "itl.p99", "e2e.mean"):
        assert rows[metric]["simulated"] == pytest.approx(rows[metric]["measured"], rel=1e-6)


def test_another_model_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = [*served(tmp_path), "--set", "timing.model=constant", "--set", "timing.step=0.05"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.strip().startswith("itl.p50"))
    assert "+28" in line.split()[-1], "50 ms in place of 13"
    assert "calibrat" not in text


@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_chart(tmp_path: Path, suffix: str) -> None:
    """Distributions, with what they show beside them."""
    argv, chart = served(tmp_path), tmp_path / f"chart{suffix}"
    assert main([*argv, "--chart", str(chart)]) == 0
    assert chart.stat().st_size > 10_000
    with (tmp_path / "chart.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["metric"] for row in rows} == {"ttft", "tpot", "itl", "e2e"}
    assert len(rows) == 4 * 201
    values = [float(row["measured_s"]) for row in rows if row["metric"] == "e2e"]
    assert values == sorted(values)
    before = chart.read_bytes()
    assert main([*argv, "--chart", str(chart)]) == 0
    assert chart.read_bytes() == before

"""Coefficients, pool and delay of servers that are known are found again."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from simcore import Scenario, simulate
from simcore.errors import InputError
from simcore.experiment.fit import Fit, fit
from simcore.experiment.measured import read_benchmark, read_scrape
from simcore.geometry import pool_size
from simcore.scenario.calibration import Calibration
from simcore.timing import CalibratedTimer
from tests.experiment.servers import STEPS, TRUE, scenario, serve, write_benchmark, write_metrics


def worst(found: Fit) -> float:
    """The largest error of a step's time."""
    true, fitted = CalibratedTimer(TRUE), CalibratedTimer(found.calibration)
    return max(abs(fitted.ticks(*step) / true.ticks(*step) - 1) for step in STEPS)


def test_exact_clocks(tmp_path: Path) -> None:
    """The same steps, whatever the scenario's own model of time says, and with them the load held out."""
    results = serve(scenario())
    bench = read_benchmark(write_benchmark(results, tmp_path / "bench.json"))
    scrape = read_scrape(write_metrics(results, tmp_path / "metrics.txt"))
    found = fit(scenario("timing.bandwidth_efficiency=0.3"), [bench], scrape=scrape)
    assert worst(found) < 0.02
    assert found.calibration.per_decode_key == pytest.approx(TRUE.per_decode_key, rel=0.1)
    assert found.calibration.delay < 0.001
    assert found.calibration.blocks == results.blocks_in_pool
    held_out = {(each.metric, each.statistic): each.share for each in found.held_out[0]}
    for metric in ("ttft", "tpot", "itl", "e2e"):
        assert abs(held_out[metric, "mean"] or 0) < 0.05
    assert abs(held_out["ttft", "p99"] or 0) < 0.1


@pytest.mark.parametrize(("jitter", "delay"), [(0.0005, 0.0), (0.002, 0.010)])
def test_clients_that_are_far_and_irregular(tmp_path: Path, jitter: float, delay: float) -> None:
    bench = read_benchmark(write_benchmark(serve(scenario()), tmp_path / "bench.json", jitter=jitter, delay=delay))
    scrape = read_scrape(write_metrics(serve(scenario()), tmp_path / "metrics.txt"))
    found = fit(scenario(), [bench], scrape=scrape)
    assert worst(found) < 0.06
    assert found.calibration.delay == pytest.approx(delay + jitter, abs=0.004)


def test_a_pool_that_is_too_small(tmp_path: Path) -> None:
    """Nobody says how large it is, but requests wait and are preempted for it."""
    results = serve(scenario("memory.blocks=700"))
    assert results.summary["preemptions"] > 20
    bench = read_benchmark(write_benchmark(results, tmp_path / "bench.json", jitter=0.0005, delay=0.002))
    found = fit(scenario(), [bench])
    assert found.calibration.blocks == pytest.approx(700, rel=0.03)
    assert found.pool.startswith("fitted")
    assert worst(found) < 0.06


def test_another_load_is_predicted(tmp_path: Path) -> None:
    """Fitted at 6 requests a second, tested at 9."""
    bench = read_benchmark(write_benchmark(serve(scenario()), tmp_path / "6.json", jitter=0.0005))
    other = read_benchmark(
        write_benchmark(serve(scenario("workload.arrivals.rate=9.0", "seed=5")), tmp_path / "9.json")
    )
    found = fit(scenario(), [bench], hold_out=[other])
    held_out = {(each.metric, each.statistic): each.share for each in found.held_out[0]}
    assert found.names == [str(tmp_path / "9.json")]
    assert abs(held_out["ttft", "mean"] or 0) < 0.1
    assert abs(held_out["tpot", "mean"] or 0) < 0.05


def test_two_rates_tell_more(tmp_path: Path) -> None:
    loads = [scenario(requests=200), scenario("workload.arrivals.rate=12.0", "seed=3", requests=200)]
    files = [tmp_path / "6.json", tmp_path / "12.json"]
    benches = [
        read_benchmark(write_benchmark(serve(load), file, jitter=0.001))
        for load, file in zip(loads, files, strict=True)
    ]
    found = fit(scenario(), benches)
    assert worst(found) < 0.02
    assert found.names == [str(file) for file in files]


def test_clients_who_wait_for_their_answers(tmp_path: Path) -> None:
    """An older benchmark does not say when it sent what; so many clients do, one request after another."""
    users = 'workload.arrivals={process="closed-loop",users=16,think={distribution="fixed",seconds=0}}'
    path = write_benchmark(serve(scenario(users, requests=200)), tmp_path / "bench.json", jitter=0.001)
    document = json.loads(path.read_text())
    del document["start_times"]
    path.write_text(json.dumps(document | {"request_rate": "inf", "max_concurrency": 16}))
    found = fit(scenario(), [read_benchmark(path)])
    assert worst(found) < 0.12
    assert found.held_out_error < 0.15


def test_too_few_requests(tmp_path: Path) -> None:
    bench = read_benchmark(write_benchmark(serve(scenario(requests=9)), tmp_path / "bench.json"))
    with pytest.raises(InputError, match="has 9 requests, and 10 are needed to fit to some and test on others"):
        fit(scenario(), [bench])


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A calibration is written, and a scenario that names it has the server's pool and time."""
    setting = tmp_path / "server.toml"
    setting.write_text(scenario("memory.blocks=700").to_toml())
    results = serve(Scenario.load(setting))
    bench = write_benchmark(results, tmp_path / "bench.json")
    scrape = write_metrics(results, tmp_path / "metrics.txt")
    out = tmp_path / "known.toml"
    argv = ["calibrate", "--from", str(bench), "--metrics", str(scrape), "--scenario", str(setting), "--out", str(out)]
    assert main([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["held_out_error"] < 0.2
    known = Calibration.load(out)
    assert known.blocks == 700
    assert known.software.startswith("fitted to bench.json, error on load held out ")
    assert known.model_dump(mode="json") == document["calibration"]
    text = f'timing = {{ model = "calibrated", calibration = "{out}" }}\nmodel = {{ preset = "llama-3-8b" }}'
    used = Scenario.from_toml(text, tmp_path, ["workload.requests=20"])
    assert pool_size(used).blocks == 700
    assert "known.toml" in str(pool_size(used))
    assert pool_size(Scenario.from_toml(text, tmp_path, ["memory.block_size=32"])).blocks == 350
    assert simulate(used).summary["requests"]["finished"] == 20
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert "pool of 700 blocks, as the server's metrics say" in text
    assert "ttft.p99" in text
    assert np.isfinite(known.seconds).all()

"""What a setting carries, and what stops it."""

import json
from pathlib import Path

import pytest

from app.cli import main
from simcore import Scenario, simulate
from simcore.errors import InputError
from simcore.experiment.plan import Limit, Plan, limits_of, plan
from tests.experiment.servers import TRUE


def setting(*overrides: str, requests: int = 300) -> Scenario:
    text = """
    model = { preset = "llama-3-8b" }
    hardware = { preset = "a100-80gb" }
    [workload]
    prompt = { distribution = "fixed", tokens = 500 }
    output = { distribution = "fixed", tokens = 100 }
    """
    return Scenario.from_toml(text, Path(), [f"workload.requests={requests}", *overrides])


def found(limits: str, *overrides: str, improve: bool = False, requests: int = 300) -> Plan:
    return plan(setting(*overrides, requests=requests), limits_of(limits), replications=2, improve=improve)


def test_limits() -> None:
    assert limits_of("ttft.p99<0.5s, tpot.p99 <= 50ms,e2e.mean<3") == [
        Limit("ttft", "p99", 0.5),
        Limit("tpot", "p99", 0.05),
        Limit("e2e", "mean", 3.0),
    ]
    for text in ("", "ttft<1s", "ttft.p98<1s", "ttft.p99>1s", "ttft.p99<1h", "ttft.p99<0", "ttft.p99<e"):
        with pytest.raises(InputError, match=r"^slo"):
            limits_of(text)


def test_the_rate_is_where_the_limit_breaks() -> None:
    """At it the limit is kept, a little above no more; a wider limit carries more."""
    narrow = found("ttft.p99<0.3s")
    assert narrow.kept is not None
    assert narrow.kept.rate < narrow.broken.rate <= narrow.kept.rate * 1.04
    assert narrow.low <= narrow.rate <= narrow.high
    assert narrow.slower < narrow.kept.rate < narrow.quicker
    again = simulate(narrow.scenario).summary["ttft"]["p99"]
    assert again == pytest.approx(narrow.kept.numbers[0], rel=0.3)
    assert found("ttft.p99<0.8s").rate > narrow.rate


def test_a_steady_step_is_a_queue_that_can_be_reckoned() -> None:
    """One seat, 10 steps of 100 ms a request: it is served in 1 s, so less than 1 request/s can be, and users wait."""
    one = ["scheduler.max_num_seqs=1", "timing.model=constant", "timing.step=0.1", "workload.output.tokens=10"]
    short = found("queue.mean<1s", *one, requests=2000)
    assert short.limited_by == "scheduler.max_num_seqs"
    # M/D/1: the mean wait is rho / (2 (1 - rho)) services, 1 at rho = 2/3; https://en.wikipedia.org/wiki/M/D/1_queue
    assert short.rate == pytest.approx(2 / 3, rel=0.15)
    assert short.kept is not None
    assert short.kept.running_peak == 1


@pytest.mark.parametrize(
    ("limits", "overrides", "reason"),
    [
        ("ttft.p99<1s", ["memory.blocks=200"], "memory"),
        ("ttft.p99<1s", ["scheduler.max_num_seqs=4"], "scheduler.max_num_seqs"),
        ("tpot.p99<12ms", ["workload.prompt.tokens=20"], "bandwidth"),
        ("ttft.p99<0.5s", ["workload.prompt.tokens=4000", "workload.output.tokens=2"], "compute"),
    ],
)
def test_what_stands_in_the_way(limits: str, overrides: list[str], reason: str) -> None:
    assert found(limits, *overrides).limited_by == reason


def test_a_better_setting_is_found() -> None:
    """Four seats are too few, and the search says how many do better."""
    start = "scheduler.max_num_seqs=4"
    fixed, free = (found("ttft.p99<1s", start, improve=improve, requests=120) for improve in (False, True))
    assert free.rate > 2 * fixed.rate
    assert free.scenario.scheduler.max_num_seqs >= 64
    taken = [choice for choice in free.choices if choice.rate is not None]
    assert "scheduler.max_num_seqs" in {choice.key for choice in taken}


def test_the_plan_is_the_same_in_several_processes() -> None:
    said: tuple[list[str], list[str]] = [], []
    limits = limits_of("ttft.p99<0.5s")
    alone, shared = (
        plan(setting(requests=60), limits, replications=2, improve=False, jobs=jobs, progress=said[jobs - 1].append)
        for jobs in (1, 2)
    )
    assert alone == shared
    assert said[0] == said[1]
    assert len(said[0]) > 10


def test_no_rate_breaks_a_wide_limit() -> None:
    with pytest.raises(InputError, match=r"no rate up to 100,000 requests/s breaks ttft.p99 <= 100 s: take more"):
        found("ttft.p99<100s", requests=50)
    mixed = 'workload.prompt={ distribution = "lognormal", mean = 20, cv = 1.0 }'
    with pytest.raises(InputError, match=r"\d% of the requests are too long"):
        found("ttft.p99<100s", "memory.blocks=2", "workload.output.tokens=2", mixed, requests=50)


def test_a_limit_that_nothing_keeps() -> None:
    none = found("tpot.p50<1ms", requests=60)
    assert none.kept is None
    assert none.rate == 0
    assert none.bound.metric == "tpot"


def test_a_client_waits_for_the_delay_that_a_calibration_has(tmp_path: Path) -> None:
    """It is in the time to the first token and to the last, and in none that the server measures itself."""
    near, far = tmp_path / "near.toml", tmp_path / "far.toml"
    near.write_text(TRUE.to_toml())
    far.write_text(TRUE.model_copy(update={"delay": 5.0}).to_toml())
    for limits, carried in (("ttft.p99<1s", False), ("e2e.p99<4s", False), ("queue.p99<1s,tpot.p99<40ms", True)):
        both = [
            found(limits, "timing.model=calibrated", f"timing.calibration={json.dumps(str(file))}", requests=100)
            for file in (near, far)
        ]
        assert both[0].rate > 0
        assert both[1].rate == (both[0].rate if carried else 0)
    assert "5000.0 ms between client and server" in both[1].timing


def test_users_are_counted_while_requests_arrive() -> None:
    """By Little's law, as many as arrive while one runs. A few long outputs at the end would make it half of that."""
    long = 'workload.output={ distribution = "lognormal", mean = 200, cv = 1.5 }'
    most = found("tpot.p99<50ms,ttft.p99<1s", long, requests=600)
    assert most.kept is not None
    summary = simulate(most.scenario).summary
    runs = summary["e2e"]["mean"] - summary["queue"]["mean"]
    assert most.kept.running_mean == pytest.approx(most.kept.rate * runs, rel=0.15)


def test_too_few_requests() -> None:
    with pytest.raises(InputError, match="at least 20 requests"):
        found("ttft.p99<1s", requests=10)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The calibration is used and named; the scenario that is written is the one that was found."""
    known, out = tmp_path / "known.toml", tmp_path / "best.toml"
    known.write_text(TRUE.model_copy(update={"blocks": 500}).to_toml())
    argv = [
        "plan", "--model", "llama-3-8b", "--hardware", "h100", "--workload", "300:40", "--slo", "ttft.p99<0.5s",
        "--calibration", str(known), "--requests", "200", "--replications", "2", "--fixed", "--out", str(out),
    ]  # fmt: skip
    assert main([*argv, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["pool_blocks"] == 500
    assert str(known) in document["timing"]
    best = Scenario.load(out)
    assert getattr(best.workload.arrivals, "rate", None) == pytest.approx(document["rates"][0])
    assert main(argv) == 0
    said = capsys.readouterr()
    assert f"{document['rate']:.3g} requests/s within ttft.p99 <= 0.5 s" in said.out
    assert "95 % interval" in said.out
    assert "kept" in said.err

"""Settings, seeds, tables and verdicts; and the highest rate that keeps an objective."""

import json
import re
from pathlib import Path

import pytest

from app.cli import main
from simcore import InputError, Scenario, compare
from simcore.experiment import METRICS, Experiment, Factor, conditions_of, factor_of, highest_rates
from simcore.experiment.comparison import SAME
from simcore.experiment.design import seed_of
from simcore.workload.streams import Streams
from tests.experiment.waiting import expected_wait, mm1

SMALL = Scenario.preset("default", ["workload.requests=20"])
S3 = {"policy": "s3-fifo", "small": 0.2}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("k=1,2", (1, 2)),
        ("k=true, x ,1.5", (True, "x", 1.5)),
        ('k=lru,{ policy = "s3-fifo", small = 0.2 },[1, 2]', ("lru", S3, [1, 2])),
        ("k='a,b','c'", ("a,b", "c")),
        ("k=1:10:3", (1, 4, 7, 10)),
        ("k=1:3", (1, 2, 3)),
        ("k=0.1:0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("k=log:1:100:3", (1, 10, 100)),
        ("k=log:0.5:8:5", (0.5, 1.0, 2.0, 4.0, 8.0)),
        ("k=C:/a", ("C:/a",)),
    ],
)
def test_factors(text: str, values: tuple[object, ...]) -> None:
    assert factor_of(text) == Factor("k", values)


def test_conditions() -> None:
    texts = list(map(str, conditions_of("ttft.p99<500ms, e2e.p99 <= 2s and hits.hit_share >= 20%")))
    assert texts == ["ttft.p99 < 0.5 s", "e2e.p99 <= 2 s", "hits.hit_share >= 0.2"]
    (condition,) = conditions_of("preemptions > 3")
    assert [condition.holds(value) for value in (3, 4)] == [False, True]


def test_settings_are_all_combinations() -> None:
    factors = Factor("memory.eviction", ("lru", S3)), Factor("memory.blocks", (200, 300))
    experiment = Experiment(SMALL, factors, baseline={"memory.eviction": "lru"})
    assert [each.label for each in experiment.settings] == [
        "lru, 200", "lru, 300", "s3-fifo(small=0.2), 200", "s3-fifo(small=0.2), 300",
    ]  # fmt: skip
    assert [each.scenario.memory.blocks for each in experiment.settings] == [200, 300, 200, 300]
    assert [experiment.baseline_of(each).index for each in experiment.settings] == [0, 1, 0, 1]
    first = Experiment(SMALL, factors)
    assert [first.baseline_of(each).index for each in first.settings] == [0, 0, 0, 0]


def test_every_setting_meets_the_same_requests() -> None:
    experiment = Experiment(SMALL, (Factor("memory.eviction", ("lru", "random")),), replications=3)
    seeds = {(run.replication, run.scenario.seed) for run in experiment.runs()}
    assert len(seeds) == 3
    apart = Experiment(SMALL, (Factor("seed", (0, 1)),), replications=3)
    assert len({run.scenario.seed for run in apart.runs()}) == 6


def test_replications_share_no_stream() -> None:
    """Not with each other, not with those of another seed, and no purpose with another."""
    drawn = {
        stream.integers(2**63)
        for seed in (0, 1)
        for replication in range(20)
        for stream in Streams.of(seed_of(seed, replication))
    }
    assert len(drawn) == 2 * 20 * len(Streams._fields)


def test_tables() -> None:
    factors = {"memory.eviction": ["lru", S3], "memory.blocks": [200, 300]}
    comparison = compare(SMALL, factors, replications=3, baseline={"memory.eviction": "lru"}, jobs=1)
    runs = comparison.runs
    assert runs.columns == [
        "setting", "label", "memory.eviction", "memory.blocks", "replication", "seed", "key", "status", "error",
        "warmup", *(metric.name for metric in METRICS),
    ]  # fmt: skip
    assert runs["memory.eviction"].unique(maintain_order=True).to_list() == ["lru", "s3-fifo(small=0.2)"]
    intervals = comparison.intervals("ttft.mean")
    assert intervals["mean"][0] == pytest.approx(runs.filter(runs["setting"] == 0)["ttft.mean"].mean())
    assert intervals["n"].to_list() == [3] * 4
    paired = comparison.paired("ttft.mean")
    assert paired["baseline_label"].to_list() == ["lru, 200", "lru, 300"]
    assert paired["difference"][1] == pytest.approx(intervals["mean"][3] - intervals["mean"][1])
    assert comparison.paired("requests.finished")["verdict"].to_list() == [SAME, SAME]
    pooled = comparison.pooled("ttft.p99")
    assert pooled["n"].to_list() == [60] * 4
    samples = comparison.samples
    median = samples.filter((samples["setting"] == 2) & (samples["metric"] == "ttft") & (samples["q"] == 0.5))
    assert comparison.pooled("ttft.p50")["value"][2] == pytest.approx(median["value"].item())
    with pytest.raises(ValueError, match="no percentile"):
        comparison.pooled("ttft.mean")
    assert "goodput.share" in [metric.name for metric in comparison.metrics()]
    assert "goodput.share" not in [metric.name for metric in compare(mm1(5, 0.1), replications=1, jobs=1).metrics()]


def test_what_stalls_or_fails_is_told_and_left_out(tmp_path: Path) -> None:
    policy = tmp_path / "bad.py"
    policy.write_text(
        "from dataclasses import dataclass\nfrom simcore.policies.eviction.random import RandomChoice\n"
        "@dataclass\nclass Bad(RandomChoice):\n    '''Fails.'''\n    name = 'bad'\n"
        "    def start(self, setting):\n        raise ValueError('no luck')\n",
        encoding="utf-8",
    )
    scenario = SMALL.overridden(["scheduler.max_steps=30"])
    factors = {"memory.eviction": ["lru", "bad"], "scheduler.max_steps": [1000000, 30]}
    comparison = compare(scenario, factors, 2, jobs=1, policies=[policy])
    status = comparison.runs["status"].to_list()
    assert status == ["done"] * 2 + ["stalled"] * 2 + ["failed"] * 4
    errors = comparison.runs["error"].to_list()
    assert errors[0] is None
    assert "could not go on" in errors[2]
    assert errors[4] == f"{policy}, line 8, in start: ValueError: no luck"
    assert comparison.intervals("ttft.mean")["n"].to_list() == [2, 0, 0, 0]


def test_warmup_is_found_or_given() -> None:
    given = compare(SMALL, replications=2, warmup=1.5, jobs=1)
    assert given.runs["warmup"].to_list() == [1.5, 1.5]
    assert given.experiment.settings[0].scenario.metrics.warmup == 1.5
    queue = mm1(400, 0.9)
    found = compare(queue, replications=3, warmup="mser5", jobs=1)
    key = compare(queue, replications=3, jobs=1).runs["key"]
    assert not set(key) & set(found.runs["key"])
    for run in found.runs.to_dicts():
        again = Scenario.model_validate(
            queue.model_dump() | {"seed": run["seed"], "metrics": {"warmup": run["warmup"]}}
        )
        assert compare(again, replications=1, jobs=1).runs["queue.mean"].item() != run["queue.mean"]  # another seed
        from simcore import simulate

        assert simulate(again).summary["queue"]["mean"] == run["queue.mean"]


def test_the_highest_rate_of_a_queue() -> None:
    """The rate at which the expected wait of M/M/1 is a limit lies between what is surely kept and surely broken."""
    requests = 300
    limit = expected_wait(requests, 0.5)
    (found,) = highest_rates(
        Experiment(mm1(requests, 0.25), replications=8), conditions_of(f"queue.mean < {limit}s"), tolerance=0.05, jobs=1
    )
    assert found.rate is not None
    assert found.sure is not None
    assert found.broken is not None
    assert found.sure <= 0.5 <= found.broken
    assert found.rate == pytest.approx(0.5, rel=0.1)
    assert found.tried["rate"].is_sorted()


def test_a_limit_that_no_rate_breaks(capsys: pytest.CaptureFixture[str]) -> None:
    """A few steps up, and then all at once, tell it."""
    (found,) = highest_rates(Experiment(SMALL, replications=2), conditions_of("e2e.p99 < 1000"), jobs=1)
    assert found.tried["rate"].to_list() == [4, 8, 16, 32, 100_000]
    assert (found.rate, found.sure, found.broken) == (100_000, 100_000, None)
    command = [
        "sweep",
        "--set",
        "workload.requests=20",
        "--replications",
        "2",
        "--jobs",
        "1",
        "--until",
        "e2e.p99<1000s",
    ]
    assert main(command) == 0
    assert "default: no rate up to 100,000 requests/s breaks e2e.p99 < 1000 s: " in capsys.readouterr().out


def test_a_rate_far_above_the_scenarios_own() -> None:
    """It is found beyond the few steps up, and what is surely broken lies not far above."""
    slow = mm1(300, 0.001)
    (found,) = highest_rates(Experiment(slow, replications=8), conditions_of("queue.mean < 1"), tolerance=0.05, jobs=1)
    assert found.rate is not None
    assert found.broken is not None
    assert 0.1 < found.rate < 1
    assert found.broken < 10 * found.rate


def test_a_limit_that_no_rate_keeps() -> None:
    (found,) = highest_rates(Experiment(SMALL, replications=2), conditions_of("e2e.p50 < 1us"), tolerance=1.0, jobs=1)
    assert (found.rate, found.sure) == (None, None)
    with pytest.raises(InputError, match="needs a condition"):
        highest_rates(Experiment(SMALL), [])


def test_the_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    few = ["--set", "workload.requests=20", "--replications", "3", "--jobs", "1"]
    assert main(["compare", "--vary", "memory.eviction=lru,random", *few, "--metric", "ttft.p99,hits.hit_share"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("ttft.p99 (s)", "hits.hit_share", "random", "baseline", "±"):
        assert text in out
    assert main(["compare", "--vary", "memory.eviction=lru,random", *few, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["runs"]) == 6
    assert document["metrics"]["ttft.p99"]["unit"] == "s"
    file = tmp_path / "study.toml"
    file.write_text(
        'scenario = "default"\nset = ["workload.requests=20"]\nreplications = 2\nmetrics = ["ttft.p50"]\n'
        '[factors]\nmemory.blocks = "200:300:50"\n"memory.eviction" = ["lru", { policy = "s3-fifo", small = 0.2 }]\n',
        encoding="utf-8",
    )
    assert main(["sweep", str(file), "--jobs", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert [each["label"] for each in document["settings"]][1] == "200, s3-fifo(small=0.2)"
    assert len(document["runs"]) == 12
    assert main(["sweep", *few, "--until", "ttft.p99 < 300ms", "--tolerance", "0.5", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["until"] == ["ttft.p99 < 0.3 s"]
    assert len(document["rates"]) == 1


@pytest.mark.parametrize("width", [20, 60, 300])
def test_no_cell_of_a_table_is_cut(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a narrow terminal too, each setting stands with its numbers, below the baseline that it is compared with."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    few = ["--set", "workload.requests=20", "--replications", "3", "--jobs", "1", "--metric", "ttft.p99", "--no-store"]
    first, second, lru = "memory.eviction=lru,random", "memory.blocks=200,400", "memory.eviction=lru"
    assert main(["compare", *few, "--vary", first, "--vary", second, "--baseline", lru]) == 0
    out = re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)
    assert "…" not in out
    assert len(re.findall(r"\d ± \d", out)) == 6
    rows = [line.split()[:2] for line in out.splitlines() if re.match(r" (lru|random)", line)]
    assert [row[0] for row in rows] == ["lru,", "random,", "lru,", "random,"]


def test_options_go_before_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "study.toml"
    file.write_text(
        'set = ["workload.requests=20"]\nreplications = 3\nconfidence = 0.99\nbaseline = { "memory.blocks" = 200 }\n'
        '[factors]\n"memory.blocks" = [200, 300]\n',
        encoding="utf-8",
    )
    common = ["sweep", str(file), "--jobs", "1", "--json", "--no-store"]
    assert main(common) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["confidence"], document["replications"]) == (0.99, 3)
    other = ["--vary", "memory.blocks=400,500", "--baseline", "memory.blocks=400"]
    assert main([*common, "--confidence", "0.8", "--replications", "2", *other]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["confidence"], document["replications"]) == (0.8, 2)
    assert document["baseline"] == {"memory.blocks": 400}

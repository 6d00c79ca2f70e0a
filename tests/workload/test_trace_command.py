"""`kvscope trace info`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.trace import app
from simcore.errors import InputError

TRACES = Path(__file__).parents[1] / "data" / "traces"


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["info", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.output


def test_json() -> None:
    facts = json.loads(run(str(TRACES / "mooncake.jsonl"), "--json"))
    prompt = {"mean": 908.0, "p50": 1024.0, "p90": 1084.8, "p99": 1098.48, "min": 600, "max": 1100}
    output = {"mean": 169.0, "p50": 7.0, "p90": 401.4, "p99": 490.14, "min": 0, "max": 500}
    assert facts.pop("prompt") == pytest.approx(prompt)
    assert facts.pop("output") == pytest.approx(output)
    assert facts == {
        "format": "mooncake",
        "requests": 3,
        "arrival_span": 3.5,
        "blocks": 6,
        "unique_blocks": 4,
        "skipped": 0,
    }
    facts = json.loads(run(str(TRACES / "vidur_lengths.csv"), "--json"))
    assert (facts["arrival_span"], facts["blocks"], facts["unique_blocks"]) == (None, None, None)


def test_table() -> None:
    shown = run(str(TRACES / "mooncake.jsonl"))
    for text in (
        "format mooncake",
        "3 requests over 3.500 s",
        "6 hash blocks of 512 tokens, 4 of them distinct",
        "908",
    ):
        assert text in shown
    assert "2 requests without arrivals" in run(str(TRACES / "vidur_lengths.csv"))


def test_options(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text((TRACES / "vidur.csv").read_text(encoding="utf-8") + "oops\n", encoding="utf-8")
    assert "1 broken lines passed over" in run(str(broken), "--skip-bad-lines")
    with pytest.raises(InputError, match=r"broken.csv, line 4: it has 1 fields"):
        run(str(broken))
    with pytest.raises(InputError, match="looks like vidur"):
        run(str(TRACES / "vidur.csv"), "--format", "azure")
    sessions = str(TRACES / "kv-cache-tester.jsonl")
    spans = [
        json.loads(run(sessions, "--json", "--sessions", order))["arrival_span"]
        for order in ("sequential", "stagger60")
    ]
    assert spans == [70, 100]
    samples = [run(str(TRACES / "servegen"), "--json", "--seed", seed) for seed in "112"]
    assert samples[0] == samples[1] != samples[2]

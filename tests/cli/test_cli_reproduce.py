"""`kvscope reproduce`: what it prints, and the exit code of its verdict."""

import json
from typing import Any

import pytest

from app.cli import main
from simcore.experiment.published import NAMES, Row, documents


def answer(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 0) -> Any:
    assert main(["reproduce", *argv, "--json"]) == code
    out, err = capsys.readouterr()
    assert err == ""
    return json.loads(out)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in answer(capsys, "list")] == list(NAMES)
    assert main(["reproduce", "list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(NAMES)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    rows = answer(capsys, "seed-004")
    keys = {"name", "published", "ours", "difference", "bound", "ok", "assumptions", "unit"}
    assert all(set(row) == keys for row in rows)
    printed = next(row for row in rows if row["name"] == "allocated for 2,048 tokens, as printed")
    assert (printed["published"], printed["ours"], printed["difference"]) == (22.0, 44.0, 22.0)
    assert (printed["bound"], printed["ok"]) == (None, None)


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "seed-004"]) == 0
    out = capsys.readouterr().out
    assert "verdict: yes, 8 of 8 numbers are within their bounds; 2 more are only shown" in out
    assert "22.00 and 87.5 % are those of 1,024" in out


def test_verdict_is_no(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    moved = {"timing.overhead": 0.25, "workload.prompt.cv": 0.0}
    wrong = Row("a", 10.0, 12.0, 1.0, "requests", relative=True, interval=0.5, assumptions=("so",), moved=moved)
    monkeypatch.setattr(documents, "helix", lambda: [wrong])
    assert answer(capsys, "seed-004", code=1)[0]["moved"] == moved
    assert main(["reproduce", "seed-004"]) == 1
    out = capsys.readouterr().out
    for part in ("no", "10.00", "12.00", "± 0.50", "+20.0%", "10.0%", "+25.0%", "- so"):
        assert part in out
    assert "verdict: no, 0 of 1 numbers are within their bounds" in out

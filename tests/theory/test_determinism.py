"""The same scenario gives the same files, to the last byte: in one process and in two that hash differently."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main

SCENARIOS = {
    "conversations": ("default", "workload.requests=40", "memory.blocks=100"),
    "closed loop, by priority": (
        "api-burst",
        "workload.requests=40",
        'workload.arrivals={ process = "closed-loop", users = 30 }',
        'scheduler.policy="priority"',
        "memory.blocks=200",
    ),
}


def command(out: Path, scenario: tuple[str, ...]) -> list[str]:
    name, *overrides = scenario
    options = [part for override in overrides for part in ("--set", override)]
    files = ["--out", str(out / "results"), "--steps", str(out / "steps.jsonl"), "--blocks", "--perfetto"]
    return ["simulate", name, *options, *files, "--json"]


def run_elsewhere(out: Path, scenario: tuple[str, ...], hash_seed: int) -> str:
    """What a process of its own prints."""
    program = [sys.executable, "-c", "import sys; from app.cli import main; sys.exit(main(sys.argv[1:]))"]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.check_output([*program, *command(out, scenario)], env=environment, encoding="utf-8")


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "run.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_runs_are_equal(scenario: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = [tmp_path / name for name in ("first", "again", "one", "another")]
    printed = []
    for hash_seed, place in enumerate(places):
        place.mkdir()
        if place.name in ("first", "again"):
            assert main(command(place, scenario)) == 0
            printed.append(capsys.readouterr().out)
        else:
            printed.append(run_elsewhere(place, scenario, hash_seed))
    first, *others = (contents(place) for place in places)
    assert len(first) == 8, "all files but run.json, and the step log"
    for other in others:
        assert other.keys() == first.keys()
        assert [name for name in first if first[name] != other[name]] == []
    assert set(printed) == {first["results/summary.json"].decode()}

"""`kvscope validate` and `kvscope calibrate` from the door: files, JSON, exit codes, sentences."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import polars as pl
import pytest
import torch

from app.cli import main
from engine import checkpoint as checkpoints
from simcore.scenario.calibration import Calibration
from tests.engine.validate.small_runs import checkpoint

SCENARIO = """
name = "tiny"
memory = { blocks = 40, block_size = 4 }
scheduler = { max_num_seqs = 8, max_num_batched_tokens = 32 }
timing = { model = "constant" }
[workload]
requests = 8
prompt = { distribution = "uniform", max = 30 }
output = { distribution = "uniform", max = 10 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("model")
    checkpoints.save(checkpoint(place, torch.float32).model, place)
    return place


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.toml"
    file.write_text(SCENARIO, encoding="utf-8")
    return file


def test_validate_writes_a_whole_report(
    folder: Path, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["validate", str(scenario), "--model", str(folder), "--no-time", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "verdict: they agree" in said
    assert str(out) in said
    names = {path.name for path in out.iterdir()}
    assert names == {"scenario.toml", "validation.json", "steps.parquet", "memory.png", "report.html", "run.json"}
    document = json.loads((out / "validation.json").read_text(encoding="utf-8"))
    assert document["verdict"] == "ok"
    steps = pl.read_parquet(out / "steps.parquet")
    (used,) = [row for row in document["rows"] if row["check"].startswith("blocks used")]
    block = 2 * 2 * 2 * 8 * 4 * 4  # layers, K and V, heads, head_dim, tokens, bytes
    assert steps["theory_allocated"].sum() == used["measured"] * block
    assert tomllib.loads((out / "scenario.toml").read_text(encoding="utf-8"))["memory"]["blocks"] == 40


def test_json_is_all_there_is(folder: Path, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    assert main(["validate", str(scenario), "--model", str(folder), "--no-time", "--json", "--out", out]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["verdict"] == "ok"
    assert said.err == ""


def test_a_wrong_simulator_is_exit_code_1(
    folder: Path, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simcore.memory.base import Usage
    from simcore.memory.paged import PagedMemory

    monkeypatch.setattr(PagedMemory, "usage", lambda self, computed: Usage(1, 0, 0, computed, 0, 0, 0, 0))
    out = tmp_path / "out"
    assert main(["validate", str(scenario), "--model", str(folder), "--no-time", "--out", str(out)]) == 1
    assert json.loads((out / "validation.json").read_text(encoding="utf-8"))["verdict"] == "failed"


def test_a_plan_that_cannot_be_carried_out_is_reported_too(
    folder: Path, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from simcore.memory.pool import BlockPool

    take = BlockPool.take
    monkeypatch.setattr(BlockPool, "take", lambda self, n, seq: take(self, n - 1 if n > 2 else n, seq))
    out = tmp_path / "out"
    assert main(["validate", str(scenario), "--model", str(folder), "--no-time", "--out", str(out)]) == 1
    assert "has no block for its token" in capsys.readouterr().out
    assert not (out / "memory.png").exists()
    assert "<img" not in (out / "report.html").read_text(encoding="utf-8")


def test_a_calibration_is_what_a_scenario_reads(
    folder: Path, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "times.toml"
    options = ["--blocks", "40", "--block-size", "4", "--max-num-seqs", "8", "--max-num-batched-tokens", "32"]
    assert main(["calibrate", "--out", str(file), "--model", str(folder), "--steps", "40", *options]) == 0
    assert "errors of the fit" in capsys.readouterr().out
    known = Calibration.load(file)
    assert known.block_size == 4
    assert sum(known.seconds) > 0
    override = f"timing={{ model = 'calibrated', calibration = '{file}' }}"
    assert main(["simulate", str(scenario), "--set", override, "--out", str(tmp_path / "run")]) == 0
    again = ["validate", str(scenario), "--model", str(folder), "--calibration", str(file), "--json"]
    capsys.readouterr()
    assert main([*again, "--out", str(tmp_path / "out")]) == 0
    kinds = {row["kind"] for row in json.loads(capsys.readouterr().out)["rows"]}
    assert kinds == {"equal", "answers", "time"}
    assert (tmp_path / "out" / "calibration.toml").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--model", "nowhere"], 'model is "nowhere", but that is no folder'),
        (["--device", "tpu"], 'device is "tpu", but must be cpu, cuda or cuda:N'),
        (["--dtype", "int3"], "int3"),
        (["--calibration", "missing.toml"], "missing.toml: cannot be read: no such file or directory"),
        (["--set", "memory.blocks=900000000"], "memory.blocks asks for a pool of"),
        (["--set", "memory.blocks=x"], "memory.blocks is"),
        (["--cpu-clock", "--device", "cuda"], "--cpu-clock times a model on the CPU, and device is cuda"),
    ],
)
def test_bad_input_is_a_sentence(
    options: list[str], sentence: str, folder: Path, scenario: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    chosen = [] if "--model" in options else ["--model", str(folder)]
    assert main(["validate", str(scenario), "--no-time", "--out", str(out), *chosen, *options]) == 2
    said = capsys.readouterr()
    assert sentence in said.err
    assert said.out == ""
    assert not out.exists()


HEAVY = ("torch", "scipy", "matplotlib", "transformers", "polars")


@pytest.mark.parametrize(
    "code",
    [
        "import simcore",
        "from simcore import Scenario; Scenario.preset('default')",
        "from app.cli import main; main(['--help'])",
        "from app.cli import main; main(['validate', '--help'])",
        "from app.cli import main; main(['calibrate', '--help'])",
        "from app.cli import main; main(['generate', '--help'])",
    ],
)
def test_what_needs_no_tensors_loads_none(code: str) -> None:
    check = f"\nimport sys; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code + check], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"

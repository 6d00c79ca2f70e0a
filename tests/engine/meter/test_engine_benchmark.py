"""Serving side by side: the same answers from all, each in a process of its own, and rows that a program can read."""

import json
import pickle
from pathlib import Path

import pytest
import torch

from app.cli import main
from app.cli.benchmark_peers import Continuous, Static
from engine import benchmark, checkpoint
from engine.attention import benchmark as attention
from engine.benchmark import KERNEL_BY_KERNEL, Contender, Engine, Load, Server, serving
from engine.models import LlamaShape, Rope, build

SHAPE = LlamaShape(
    layers=2, heads=4, kv_heads=2, head_dim=8, hidden_size=32, intermediate_size=48, vocab_size=64, max_model_len=128,
    tied=False, eps=1e-5, dtype=torch.float32, rope=Rope(10_000.0),
)  # fmt: skip
LOAD = Load(requests=5, shortest=3, longest=40, output=6, batched_tokens=16)


def test_a_load_is_the_same_again_and_has_just_the_blocks_it_needs() -> None:
    lengths = [len(prompt) for prompt in LOAD.prompts(64)]
    assert lengths == LOAD.workload.prompt_len.tolist()
    assert LOAD.prompts(64) == LOAD.prompts(64)
    assert min(lengths) >= 3
    assert max(lengths) <= 40
    assert LOAD.blocks == 1 + sum((length + 6 + 15) // 16 for length in lengths)


def test_all_give_the_same_answers(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    model = build(SHAPE)
    model.initialize(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter *= 20  # or all logits are nearly alike
    checkpoint.save(model, tmp_path, {"bos_token_id": None, "eos_token_id": None})
    makes = Engine, pickle.loads(pickle.dumps(KERNEL_BY_KERNEL)).make, Static, Continuous
    servers: list[Server] = [make(tmp_path, LOAD, torch.device("cpu")) for make in makes]
    first, *others = (server.serve() for server in servers)
    assert [len(answer) for answer in first] == [6] * 5
    assert len({tuple(answer) for answer in first}) == 5
    assert all(answers == first for answers in others)
    assert servers[0].serve() == first  # again, on blocks that are full of the first time


def test_contenders_have_processes_of_their_own_and_who_fails_is_left_out() -> None:
    notes: list[str] = []
    [result] = serving(SHAPE, LOAD, [Contender("broken", Path)], threads=1, runs=2, note=notes.append)  # type: ignore[arg-type]
    assert (result.name, len(result.runs)) == ("engine", 2)
    assert len(notes) == 1
    assert notes[0].startswith("broken is left out: ")
    assert all(run.wall > 0 and run.cpu > 0 and run.answers == result.runs[0].answers for run in result.runs)
    assert result.rates("wall") == [30 / run.wall for run in result.runs]
    weights = 4 * sum(parameter.numel() for parameter in build(SHAPE).parameters())
    pool = LOAD.blocks * 16 * SHAPE.token_bytes
    assert result.tensors is not None
    assert weights + pool < result.tensors < weights + pool + (1 << 20)
    assert result.peak > result.tensors


def test_the_command_prints_rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("app.cli.benchmark_peers.peers", list)
    monkeypatch.setitem(benchmark.CASES, "cpu", ({"tiny": SHAPE}, LOAD))
    monkeypatch.setitem(attention.LOADS, "cpu", [attention.Load(2, 4, 2, 8, 20, torch.float32)])
    assert main(["benchmark", "engine", "--runs", "1", "--threads", "1", "--json"]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)
    assert {"name", "unit", "value", "peak_mib", "runs", "machine"} <= set(rows[0])
    named = {(row["name"], row["unit"]): row for row in rows}
    assert named["decode attention, 2 x 20 tokens, contiguous", "us"]["value"] > 0
    speed = named["tiny, engine", "new tokens/s"]
    assert speed["value"] > 0
    assert speed["peak_mib"] > 0
    assert "transformers is not installed" in printed.err


def test_a_device_that_is_missing_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["benchmark", "engine", "--device", "tpu"]) == 2
    assert 'device is "tpu", but must be cpu, cuda or cuda:N' in capsys.readouterr().err

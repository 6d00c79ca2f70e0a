"""Remedies compute the same, or as much of it as their pattern has, and take as much memory as they should."""

import json

import pytest
import torch
from torch import Tensor

from app.cli import main
from engine.attention.sparse import PATTERNS, SparseAttention, local, random, sparse, strided
from engine.checkpoint import find, load
from engine.labs import remedies as lab
from engine.labs.remedies import Work, answers, remedies

MIB = 1 << 20


def masked(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    """[batch, tokens, dim] with seen [tokens, tokens]."""
    scores = q @ k.transpose(1, 2) / q.shape[2] ** 0.5
    return scores.masked_fill(~seen, float("-inf")).softmax(-1) @ v


def blocks_seen(table: list[list[int]], block: int, tokens: int) -> Tensor:
    seen = torch.zeros(tokens, tokens, dtype=torch.bool)
    for row, line in enumerate(table):
        for each in line:
            seen[row * block : (row + 1) * block, each * block : (each + 1) * block] = True
    return seen.tril()


def test_patterns() -> None:
    assert local(5, 2) == [[0], [0, 1], [1, 2], [2, 3], [3, 4]]
    assert strided(5, 2) == [[0], [1], [2], [0, 3], [1, 4]]
    for name, pattern in PATTERNS.items():
        table = pattern(20, 4)
        for row, line in enumerate(table):
            assert line[-1] == row, name
            assert line == sorted(set(line)), name
            assert 1 <= len(line) <= 4, name
            assert line[0] >= 0, name
        assert pattern(6, 6)[-1][-1] == 5
    assert random(20, 4) == random(20, 4) != random(20, 4, seed=1)


@pytest.mark.parametrize("name", PATTERNS)
@pytest.mark.parametrize(("tokens", "block", "chosen"), [(12, 4, 2), (13, 4, 3), (40, 8, 2), (3, 8, 4)])
def test_sparse_attention_looks_at_its_pattern(name: str, tokens: int, block: int, chosen: int) -> None:
    q, k, v = torch.randn(3, 2, tokens, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = PATTERNS[name](-(-tokens // block), chosen)
    torch.testing.assert_close(sparse(q, k, v, table, block), masked(q, k, v, blocks_seen(table, block, tokens)))


def test_a_model_with_a_pattern_has_its_heads_shared() -> None:
    counts, heads = [9, 9, 5], 4
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(23, heads, 8, generator=draw, dtype=torch.float64)
    k, v = torch.randn(2, 23, 2, 8, generator=draw, dtype=torch.float64)
    found = SparseAttention(counts, local, 2, 2)(0, q, k, v)
    first = 0
    for count in counts:
        part = slice(first, first := first + count)
        seen = blocks_seen(local(-(-count // 2), 2), 2, count)
        for head in range(heads):
            expected = masked(q[None, part, head], k[None, part, head // 2], v[None, part, head // 2], seen)[0]
            torch.testing.assert_close(found[part, head], expected)


def test_remedies_save_what_they_say() -> None:
    work = Work(batch=2, length=256, dim=16, layers=3, block=16, chosen=2)
    shares: list[float] = []
    found = {each.name: each for each in remedies(work, repeats=1, progress=lambda share, _: shares.append(share))}
    assert list(found) == [
        "standard", "flash (SDPA)", "checkpointing", "local blocks", "strided blocks", "random blocks",
        "sequence parallel",
    ]  # fmt: skip
    assert shares == sorted(shares)
    square, linear = (4 * 2 * 256 * width for width in (256, 16))
    standard = found["standard"]
    assert standard.held > 3 * 2 * square  # exponentials and weights of each layer
    assert found["checkpointing"].held == 3 * linear  # what goes into the second and third layer, and what comes out
    assert found["flash (SDPA)"].held < 3 * 4 * linear
    assert found["flash (SDPA)"].peak < standard.peak / 4
    assert found["checkpointing"].peak < standard.peak
    parallel = found["sequence parallel"]
    assert parallel.held == pytest.approx(standard.held / 2, rel=0.1)
    assert parallel.peak < 0.6 * standard.peak
    assert parallel.where == "2 processes on the CPU, gloo"
    for name in ("flash (SDPA)", "checkpointing", "sequence parallel"):
        assert found[name].error < 1e-5, name
        assert found[name].gradient_error < 1e-3, name
    for name in PATTERNS:
        assert found[f"{name} blocks"].held < standard.held / 2
        assert found[f"{name} blocks"].error > 1e-3


def test_a_model_answers_worse_with_a_pattern() -> None:
    found = {each.name: each.right for each in answers(load(find("small-gqa")), documents=2)}
    assert list(found) == ["all tokens", *PATTERNS]
    for name in PATTERNS:
        assert found[name]["recall"] < found["all tokens"]["recall"]


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def few(*_: object, **__: object) -> object:
        return iter([lab.Answers("all tokens", {"recall": 1.0}), lab.Answers("local", {"recall": 0.5})])

    monkeypatch.setattr(lab, "answers", few)
    monkeypatch.setattr(lab, "_parallel", lambda *_: _remedy())  # its processes take seconds to start
    arguments = ["attention", "remedies", "--length", "64", "--dim", "8", "--layers", "2", "--block", "8"]
    assert main([*arguments, "--repeats", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["remedies"]) == 7
    assert document["answers"][1] == {"name": "local", "right": {"recall": 0.5}}
    monkeypatch.setattr(lab, "remedies", lambda *_, **__: iter([_remedy()]))
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "standard: cpu" in printed
    assert "50.0%" in printed


def _remedy() -> lab.Remedy:
    times = lab.Times((1e-3,))
    return lab.Remedy("standard", "cpu", MIB, 2 * MIB, "torch.profiler", times, times, 0.0, 0.0)

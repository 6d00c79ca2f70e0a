"""Three forms of attention of one head: that they are what they say, and a report's 78.7 % of memory."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from app.cli import main
from engine.attention import forms
from engine.labs.compare import REPORTED_SAVED, Backend, block_peak, choose_block, compare
from simcore.errors import InputError

BACKENDS: list[Backend] = ["numpy", "torch"]


def by_hand(q: Any, k: Any, v: Any, seen: Any) -> Any:
    """Attention query by query."""
    rows = []
    for query, line in zip(q, seen, strict=True):
        weights = np.exp(k[line] @ query / np.sqrt(len(query)))
        rows.append(weights / weights.sum() @ v[line])
    return np.array(rows)


@pytest.mark.parametrize(("tokens", "block"), [(12, 4), (13, 4), (5, 5), (7, 1), (3, 2)])
@pytest.mark.parametrize("overlap", [0, 1, 3, 20])
def test_forms_are_what_they_say(tokens: int, block: int, overlap: int) -> None:
    rng = np.random.default_rng(tokens)
    q, k, v = rng.standard_normal((3, tokens, 6))
    everything = by_hand(q, k, v, np.ones((tokens, tokens), bool))
    table = rng.permutation(-(-tokens // block)).tolist()
    keys, values = np.full((2, len(table), block, 6), np.nan)
    for place in range(tokens):
        keys[table[place // block], place % block] = k[place]
        values[table[place // block], place % block] = v[place]
    first = np.arange(tokens) // block * block
    near = (np.arange(tokens) >= first[:, None] - overlap) & (np.arange(tokens) < first[:, None] + block + overlap)
    nearby = by_hand(q, k, v, near)
    for xp, (queries, one, two, many, more) in (
        (np, (q, k, v, keys, values)),
        (torch, [torch.from_numpy(x) for x in (q, k, v, keys, values)]),
    ):
        assert np.asarray(forms.standard(xp, queries, one, two)) == pytest.approx(everything)
        assert np.asarray(forms.paged(xp, queries, many, more, table)) == pytest.approx(everything)
        assert np.asarray(forms.block_local(xp, queries, one, two, block, overlap)) == pytest.approx(nearby)


@pytest.mark.parametrize("backend", BACKENDS)
def test_memory_falls_by_as_much_as_the_report_has(backend: Backend) -> None:
    found = compare(backend=backend, repeats=3)
    assert found.saved("block-local") == pytest.approx(REPORTED_SAVED, abs=0.02)
    assert found.saved("paged") == pytest.approx(REPORTED_SAVED, abs=0.03)  # exact, and it takes no more
    assert found.forms["paged"].difference < (1e-13 if backend == "numpy" else 1e-5)
    assert found.forms["block-local"].difference > 0.5  # another function, whatever it is called
    assert found.memory_tool == {"numpy": "tracemalloc", "torch": "torch.profiler"}[backend]
    for form in ("paged", "block-local"):
        measured = found.forms[form]
        assert len(measured.blocks) == 4
        assert max(measured.blocks) == pytest.approx(min(measured.blocks), rel=0.02)  # the same in each block
        assert max(measured.blocks) < measured.peak
    assert found.pattern.shape == (64, 64)
    assert all(measured.timing.wall.median > 0 for measured in found.forms.values())


def test_overlaps_bring_block_local_attention_nearer() -> None:
    found = compare(64, 16, 8, repeats=1).overlaps
    assert [each.tokens for each in found] == [0, 1, 2, 4, 8, 16, 32, 63]
    errors = [each.error for each in found]
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 0.5
    assert errors[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("tokens", "memory"), [(128, 100 << 10), (128, 1 << 20), (300, 400 << 10)])
def test_a_chosen_block_fits(backend: Backend, tokens: int, memory: int) -> None:
    block = choose_block(tokens, 64, memory, backend=backend)
    found = compare(tokens, 64, None, backend=backend, memory=memory, repeats=1)
    assert found.block == block
    assert max(found.forms[form].peak for form in ("paged", "block-local")) <= memory
    assert block == tokens or block_peak(tokens, 64, min(2 * block, tokens), backend=backend) > memory


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match=r"1.00 KiB is too little for 128 tokens of 64 elements; a block of one token"):
        choose_block(128, 64, 1024)
    with pytest.raises(InputError, match="say how much, or give the block"):
        choose_block(128, 64, None)
    with pytest.raises(InputError, match="the block has 129 tokens, but must have from 1 to 128"):
        compare(block=129)
    with pytest.raises(InputError, match="NumPy computes on the CPU, and device is cuda"):
        compare(device="cuda")


def test_what_the_machine_has_no_room_for_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.device.free_bytes", lambda _: 1 << 20)
    with pytest.raises(InputError, match=r"attention of 256 tokens would take 2.00 MiB, and cpu has 1.00 MiB left"):
        compare(256)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    chart = tmp_path / "forms.svg"
    assert main(["attention", "compare", "--repeats", "2", "--chart", str(chart)]) == 0
    printed = capsys.readouterr().out
    assert "block-local" in printed
    assert "a report with these forms has 0.58 and 0.12 MB, 78.7% less" in printed
    assert "Attention of the first 64 tokens" in chart.read_text("utf-8") or chart.stat().st_size > 10_000
    with (tmp_path / "forms.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sum(row["plot"] == "pattern" for row in rows) == 64 * 64
    assert {row["form"] for row in rows if row["plot"] == "peak"} == {"standard", "paged", "block-local"}
    assert main(["attention", "compare", "--block", "auto", "--memory-limit", "0.1", "--repeats", "1", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["block"] == 16
    assert document["forms"]["paged"]["peak_bytes"] < 0.1 * (1 << 20)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["compare", "--block", "x"], '--block must be a whole number of tokens, or auto, not "x"'),
        (["compare", "--memory-limit", "1"], "--memory-limit chooses a block, and --block gives one"),
        (["compare", "--block", "0"], "the block has 0 tokens, but must have from 1 to 128"),
        (["compare", "--chart", "a.gif"], "a chart's name must end in .svg or .png"),
        (["compare", "--backend", "jax"], "Invalid value for '--backend'"),
        (["benchmark", "--dims", "16,x"], '--dims must be whole numbers from 1 to 4,096 with commas between them, not'),
        (["benchmark", "--lengths", "0"], "--lengths must be whole numbers from 1 to 1,048,576 with commas"),
        (["benchmark", "--predict", "gtx"], 'no hardware preset is called "gtx"'),
        (["benchmark", "--device", "tpu"], 'device is "tpu", but must be cpu, cuda or cuda:N'),
        (["benchmark", "--cpu-clock", "--device", "cuda"], "--cpu-clock times work on the CPU, and device is cuda"),
        (["compare", "--block", "auto", "--memory-limit", "nan"], "Invalid value for '--memory-limit'"),
        (["benchmark", "--memory-limit", "inf"], "--memory-limit is inf, which is no amount of memory"),
        (["remedies", "--length", "1048576"], "standard attention of 1,048,576 tokens in 4 layers would take 98,304.00 "
         "GiB, and cpu has"),
        (["remedies", "--length", "7"], "7 tokens cannot be split evenly over 2 processes"),
        (["remedies", "--model", "none"], "none"),
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", *arguments]) == 2
    printed = capsys.readouterr()
    assert sentence in printed.err
    assert not printed.out

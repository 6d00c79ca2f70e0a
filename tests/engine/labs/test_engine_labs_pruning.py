"""Pruning: pages are counted as others counted them, heads forget what they should, and the page says what is found."""

import json
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from app.cli import main
from engine.checkpoint import Checkpoint, find, load
from engine.labs import pruning as lab
from engine.labs.accuracy import Score, accuracy
from engine.labs.charts import pruned_chart
from engine.labs.forgetting import forgetting, pruned_logits
from engine.labs.pruning import PAGE, RECENT, SINKS, WAYS, Freed, Prompt, Pruned, freed
from engine.labs.tasks import documents
from simcore.errors import InputError
from simcore.policies.pruning import StreamingLLM

PAGE_OF_THE_IDEA = Path(__file__).parents[3] / "docs" / "ideas" / "pruning.md"


@pytest.fixture(scope="module")
def gqa() -> Checkpoint:
    return load(find("small-gqa"))


@pytest.fixture(scope="module")
def found(gqa: Checkpoint) -> dict[tuple[str, float], Pruned]:
    return {(each.way, each.keep): each for each in lab.prune(gqa)}


def test_pages_are_counted_by_table() -> None:
    kept = np.array([[[1, 0, 0, 0, 0], [0, 0, 0, 0, 1]], [[1, 1, 1, 0, 1], [0, 0, 0, 0, 1]]], np.bool_)
    assert freed(kept, 2) == Freed(head=1 / 2, layer=pytest.approx(1 / 6), one=0.0, compacted=pytest.approx(7 / 12))
    assert freed(kept, 1) == Freed(*map(pytest.approx, (13 / 20, 4 / 10, 1 / 5, 13 / 20)))
    assert freed(kept, 8) == Freed(0.0, 0.0, 0.0, 0.0)


def test_pages_of_published_methods(shared: Path) -> None:
    """What 23 methods of kvpress keep on a small Llama, and the pages that were counted independently of us."""
    folder = shared / "oracles" / "pruning"
    facts = json.loads((folder / "page_effect.json").read_text("utf-8"))
    total = facts["pages_total"]
    for method, by_ratio in facts["freed_pages"].items():
        ratios = json.loads((folder / f"{method}.json").read_text("utf-8"))["ratios"]
        for ratio, expected in by_ratio.items():
            kept = np.zeros((4, 2, 192), np.bool_)
            for place, layer in enumerate(ratios[ratio]["kept"]):
                for head, tokens in enumerate(layer):
                    kept[place, head, tokens] = True
            pages = freed(kept, facts["page"])
            counted = [total * share for share in (pages.head, pages.layer, pages.one, pages.compacted)]
            names = ("per_head_table", "per_layer_table", "one_table", "with_compaction_per_head")
            assert counted == pytest.approx([expected[name] for name in names], abs=0.006), (method, ratio)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("tokens", [70, 64])
@pytest.mark.parametrize("count", [1, 20, 45])
def test_ways_keep_as_many_as_they_may(way: str, tokens: int, count: int) -> None:
    scores = np.random.default_rng(1).random((3, 2, tokens))
    kept = WAYS[way](scores, count)
    assert kept.shape == scores.shape
    if way != "whole pages":
        assert (kept.sum(-1) == count).all()
        return
    last = PAGE if tokens % PAGE == 0 else tokens % PAGE
    assert max(count - PAGE, 1) <= kept[0, 0].sum() <= max(count, last)
    assert kept[..., -1].all()
    assert (kept == kept[0, 0]).all()
    assert freed(kept, PAGE).one == freed(kept, PAGE).compacted


def test_ways_keep_what_they_say() -> None:
    scores = np.arange(2 * 2 * 64, dtype=np.float64).reshape(2, 2, 64)[..., ::-1].copy()
    scores[1, 1, 40] = 1e6
    assert np.flatnonzero(WAYS["first and last"](scores, 10)[0, 0]).tolist() == [0, 1, 2, 3, *range(58, 64)]
    assert SINKS == 4
    recent = list(range(64 - RECENT, 64))
    own = WAYS["each head its own"](scores, RECENT + 2)
    assert np.flatnonzero(own[0, 1]).tolist() == [0, 1, *recent]
    assert np.flatnonzero(own[1, 1]).tolist() == [0, 40, *recent]
    assert np.flatnonzero(WAYS["all heads the same"](scores, RECENT + 1)[0, 0]).tolist() == [40, *recent]
    assert np.flatnonzero(WAYS["whole pages"](scores, 2 * PAGE)[0, 0]).tolist() == [*range(32, 64)]


def written_out(prompt: Prompt, kept: lab.Kept) -> Callable[[int, Tensor, Tensor, Tensor], Tensor]:
    """One matrix of all weights, in which what was dropped is masked for all that comes after the prompt."""

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen = torch.ones(len(q), len(q), dtype=torch.bool).tril()
        out = torch.empty_like(q)
        for head in range(q.shape[1]):
            shared = head * k.shape[1] // q.shape[1]
            mask = seen.clone()
            mask[prompt.tokens :, : prompt.tokens] &= torch.from_numpy(kept[layer, shared].copy())
            scores = (q[:, head] @ k[:, shared].T / q.shape[-1] ** 0.5).masked_fill(~mask, float("-inf"))
            out[:, head] = scores.softmax(-1) @ v[:, shared]
        return out

    return attend


def test_what_was_dropped_is_not_seen_by_what_comes_later(gqa: Checkpoint) -> None:
    (document,) = documents("recall", [80], 3)
    prompt = Prompt(gqa, document)
    everything = np.ones(prompt.scores.shape, np.bool_)
    torch.testing.assert_close(prompt.without(everything), prompt.whole)
    assert prompt.divergence(prompt.whole) == pytest.approx(0, abs=1e-9)
    assert prompt.scores.sum(-1) == pytest.approx(1, abs=1e-5)
    kept = WAYS["each head its own"](prompt.scores, prompt.tokens // 3)
    logits = prompt.without(kept)
    torch.testing.assert_close(logits, prompt._run(written_out(prompt, kept)), atol=1e-4, rtol=1e-4)
    assert prompt.divergence(logits) > 0.1


def test_with_all_tokens_it_is_the_accuracy_of_the_model(gqa: Checkpoint) -> None:
    assert gqa.tokenizer is not None
    asked = lab.exam(2, lab.LONGEST)
    expected = {task: score.share for task, score in accuracy(gqa.model, gqa.tokenizer, asked).items()}
    everything, *_ = lab.prune(gqa, keeps=[1.0], documents=2)
    assert everything.right == pytest.approx(expected)
    assert everything.freed[16] == Freed(0.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("budget", [20, 40, 1000])
def test_served_from_pages_it_says_what_masks_say(gqa: Checkpoint, budget: int) -> None:
    assert gqa.tokenizer is not None
    (document,) = documents("recall", [80], 3)
    prompt = Prompt(gqa, document)
    kept = WAYS["first and last"](prompt.scores, min(budget, prompt.tokens))
    expected = prompt.without(kept)
    logits = pruned_logits(gqa.model, prompt._ids, prompt.tokens, StreamingLLM(sinks=SINKS), budget)
    torch.testing.assert_close(logits[prompt._wanted], expected, atol=1e-4, rtol=1e-4)
    read = forgetting(gqa.model, gqa.tokenizer, StreamingLLM(sinks=SINKS), budget)
    scores = accuracy(gqa.model, gqa.tokenizer, [document], read=read)
    assert scores == {"recall": Score(len(prompt.answers), sum(prompt.right(expected)))}


def test_what_pruning_costs_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["accuracy", "--model", "small-gqa", "--documents", "2", "--longest", "100"]
    shares = []
    for pruning in (
        [],
        ["--pruning", "snap-kv", "--budget", "1000"],
        ["--pruning", "snap-kv:window=8", "--budget", "9"],
    ):
        assert main([*asked, *pruning, "--json"]) == 0
        row = json.loads(capsys.readouterr().out)
        shares.append(row["accuracy"])
        assert (row["pruning"] is None) == (not pruning)
    assert row["pruning"] == {"policy": "snap-kv(window=8)", "budget": 9}
    assert shares[0] == shares[1]
    assert shares[2]["recall"] < shares[0]["recall"] == 1.0
    assert main([*asked, "--pruning", "h2o,random", "--budget", "30"]) == 0
    said = capsys.readouterr().out
    assert "h2o" in said
    assert "each head keeps 30 tokens of a context at most" in said


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--budget", "9"], "--budget is 9, but nothing is pruned without --pruning"),
        (["--pruning", "h2o"], '--pruning is "h2o", but not how many tokens stay'),
        (["--pruning", "h3o", "--budget", "9"], 'no pruning policy is called "h3o"; did you mean h2o?'),
        (["--pruning", "h2o:recent=2", "--budget", "9"], "h2o: recent is 2"),
        (["--pruning", "h2o", "--budget", "0"], "'--budget'"),
    ],
)
def test_what_cannot_be_pruned_is_a_sentence(
    options: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["accuracy", *options]) == 2
    assert sentence in capsys.readouterr().err


def test_a_model_that_is_too_small_is_a_sentence(gqa: Checkpoint) -> None:
    (document,) = documents("recall", [80], 3)
    small = replace(gqa, model=copy(gqa.model))
    small.model.shape = replace(gqa.shape, max_model_len=64)
    with pytest.raises(InputError, match="but the model takes 64"):
        Prompt(small, document)
    with pytest.raises(InputError, match="has no tokenizer, so that nothing can be asked"):
        next(lab.prune(replace(gqa, tokenizer=None)))


def rows_of(header: str) -> list[list[str]]:
    """The cells of a table of the page, below its header."""
    lines = PAGE_OF_THE_IDEA.read_text(encoding="utf-8").splitlines()
    start = lines.index(header)
    return [
        [cell.strip() for cell in row.strip("|").split("|")]
        for row in takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    ]


def test_pages_of_the_idea(found: dict[tuple[str, float], Pruned]) -> None:
    rows = rows_of("| half of the tokens stay | 1 | 8 | 16 | 32 | 16, a table for each head |")
    assert [row[0] for row in rows] == list(WAYS)
    for way, *shown in rows:
        pages = found[way, 0.5].freed
        shares = [*(pages[block].one for block in (1, 8, 16, 32)), pages[16].head]
        assert [float(cell.removesuffix(" %")) for cell in shown] == pytest.approx([100 * s for s in shares], abs=1)


def test_answers_of_the_idea(found: dict[tuple[str, float], Pruned]) -> None:
    rows = rows_of("| stay | 75 % | 50 % | 25 % | 50 %, nats |")
    assert [row[0] for row in rows] == list(WAYS)
    for way, *shown, moved in rows:
        right = [100 * found[way, keep].right["recall"] for keep in (0.75, 0.5, 0.25)]
        assert [float(cell.removesuffix(" %")) for cell in shown] == pytest.approx(right, abs=1.5)
        assert float(moved) == pytest.approx(found[way, 0.5].divergence, abs=0.05)


def test_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], gqa: Checkpoint
) -> None:
    few = list(lab.prune(gqa, keeps=[0.5], blocks=[16], documents=1))
    asked: dict[str, object] = {}

    def prune(_: Checkpoint, **arguments: object) -> list[Pruned]:
        asked.update(arguments)
        return few

    monkeypatch.setattr(lab, "prune", prune)
    chart = tmp_path / "a.svg"
    assert main(["attention", "prune", "--keep", "0.5", "--block-sizes", "16", "--chart", str(chart), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert (asked["keeps"], asked["blocks"]) == ([0.5], [16])
    assert [row["way"] for row in rows] == ["all tokens", *WAYS]
    assert rows[-1]["freed"]["16"]["one"] == pytest.approx(few[-1].freed[16].one)
    assert chart.read_text("utf-8").startswith("<?xml")
    assert len(chart.with_suffix(".csv").read_text("utf-8").splitlines()) == 1 + 4 * len(few)
    assert main(["attention", "prune", "--block-sizes", "16"]) == 0
    printed = capsys.readouterr().out
    assert "whole pages" in printed
    assert f"{few[-1].divergence:.2f}" in printed


def test_the_picture_counts_as_the_table(gqa: Checkpoint) -> None:
    few = list(lab.prune(gqa, keeps=[0.75, 0.4], documents=1))
    figure = pruned_chart(few)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    for each in few:
        if each.keep == 0.4:
            pages = -(-each.example.shape[-1] // 16)
            free = round(freed(each.example, 16).one * pages)
            assert f"{each.way}: {free} of {pages} pages free in one table" in titles


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--keep", "half"], '--keep must be shares above 0 and up to 1 with commas between them, not "half"'),
        (["--keep", "0.5,nan"], "--keep must be shares above 0 and up to 1"),
        (["--keep", "1.5"], "--keep must be shares above 0 and up to 1"),
        (["--block-sizes", "0"], "--block-sizes must be whole numbers from 1 to 4,096"),
    ],
)
def test_bad_input_is_a_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attention", "prune", *arguments]) == 2
    assert sentence in capsys.readouterr().err

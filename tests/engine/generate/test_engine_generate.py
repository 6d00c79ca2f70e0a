"""Answers over pages are those that come of the whole sequence at once, and every token lies where it says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from app.cli import main
from engine import checkpoint, generate
from engine.attention import DenseAttention
from engine.checkpoint import Checkpoint
from engine.generate import Generation, Step
from engine.models import LlamaShape, Rope, build
from engine.sampling import Sampler, Sampling
from simcore.errors import InputError

SHAPE = LlamaShape(
    layers=2, heads=4, kv_heads=2, head_dim=8, hidden_size=32, intermediate_size=48, vocab_size=40, max_model_len=64,
    tied=False, eps=1e-6, dtype=torch.float64, rope=Rope(100.0),
)  # fmt: skip
PROMPT = "abcdefghij"
WARM = Sampling(temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that answers at random, and a tokenizer of letters."""
    folder = tmp_path_factory.mktemp("model")
    model = build(SHAPE)
    model.initialize(seed=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter *= 6 if parameter.dim() == 2 else 1
    checkpoint.save(model, folder)
    letters = [chr(ord("a") + i) for i in range(26)] + [chr(ord("A") + i) for i in range(14)]
    tokenizer = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="a"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def loaded(folder: Path) -> Checkpoint:
    return checkpoint.load(folder)


def dense(loaded: Checkpoint, ids: list[int]) -> Tensor:
    """Logits of a whole sequence without a cache."""
    with torch.inference_mode():
        return loaded.model(torch.tensor(ids), torch.arange(len(ids)), DenseAttention([len(ids)]))


def run(loaded: Checkpoint, **options: Any) -> tuple[Generation, list[Step]]:
    generation = Generation(loaded, PROMPT, **({"max_tokens": 20, "block_size": 4} | options))
    return generation, list(generation)


@pytest.mark.parametrize("block_size", [1, 4, 5, 16, 64])
@pytest.mark.parametrize("chunk", [3, 2048])
def test_the_best_token_is_that_of_the_whole_sequence(
    loaded: Checkpoint, block_size: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "CHUNK", chunk)
    generation, _ = run(loaded, block_size=block_size)
    ids = list(range(10))
    for token in generation.samples[0].answer:
        assert token == dense(loaded, ids)[-1].argmax()
        ids.append(token)
    assert len(ids) == 30
    assert len(set(ids[10:])) > 3


def test_samples_are_drawn_as_from_the_whole_sequence_alone(loaded: Checkpoint) -> None:
    generation, _ = run(loaded, samples=3, sampling=WARM)
    for number, sample in enumerate(generation.samples):
        logits = dense(loaded, [*range(10), *sample.answer])
        for place, token in enumerate(sample.answer, 10):
            assert Sampler(WARM)(logits[place - 1 : place], [number], [place]).item() == token
    answers = {tuple(sample.answer) for sample in generation.samples}
    assert len(answers) == 3


def test_the_same_seed_gives_the_same_answers(loaded: Checkpoint) -> None:
    first, _ = run(loaded, samples=3, sampling=WARM)
    again, _ = run(loaded, samples=3, sampling=WARM, block_size=7)
    fewer, _ = run(loaded, samples=2, sampling=WARM)
    other, _ = run(loaded, samples=3, sampling=Sampling(temperature=1.0, seed=6))
    answers = [[sample.answer for sample in generation.samples] for generation in (first, again, fewer, other)]
    assert answers[0] == answers[1]
    assert answers[2] == answers[0][:2]
    assert answers[3] != answers[0]


def test_every_token_has_a_slot_of_its_own(loaded: Checkpoint) -> None:
    generation, steps = run(loaded)
    pushed = [token for step in steps for token in step.pushed]
    assert [token.id for token in pushed] == [*range(10), *generation.samples[0].answer[:-1]]
    assert [(token.page, token.offset) for token in pushed] == [divmod(i, 4) for i in range(29)]
    assert [token.opened for token in pushed] == [i % 4 == 0 for i in range(29)]
    assert [generation.samples[0].table[token.page] for token in pushed] == [token.block for token in pushed]
    assert not any(token.copied for token in pushed)
    assert (generation.pages, generation.tokens) == (8, 29)
    assert generation.block_bytes == 4 * 2 * 2 * 2 * 8 * 8
    assert generation.contiguous_bytes == 64 * 2 * 2 * 2 * 8 * 8


def test_who_writes_into_a_shared_page_copies_it(loaded: Checkpoint) -> None:
    generation, steps = run(loaded, samples=3, sampling=WARM, max_tokens=3)
    assert [len(step.pushed) for step in steps] == [10, 3, 3]
    assert [token.copied for token in steps[1].pushed] == [3, 3, 0]  # the last who holds it writes into it
    assert [token.block for token in steps[1].pushed] == [4, 5, 3]
    assert [sample.table for sample in generation.samples] == [[1, 2, 4], [1, 2, 5], [1, 2, 3]]
    assert (generation.pages, generation.tokens) == (5, 4 + 4 + 3 * 4)


def test_full_pages_are_never_copied(loaded: Checkpoint) -> None:
    generation, steps = run(loaded, samples=2, sampling=WARM, max_tokens=3, block_size=5)
    assert [(token.opened, token.copied) for token in steps[1].pushed] == [(True, 0), (True, 0)]
    assert [sample.table for sample in generation.samples] == [[1, 2, 3], [1, 2, 4]]


def test_shares_are_the_attention_weights_of_the_last_layer(loaded: Checkpoint) -> None:
    generation, steps = run(loaded, watch=True)
    seen: dict[int, tuple[Tensor, Tensor]] = {}
    ids = [*range(10), *generation.samples[0].answer]

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        seen[layer] = q, k
        return DenseAttention([len(ids)])(layer, q, k, v)

    with torch.inference_mode():
        loaded.model(torch.tensor(ids), torch.arange(len(ids)), attend)
    q, k = seen[1]
    for last, step in enumerate(steps, 9):
        (shares,) = step.attention
        weights = torch.zeros(last + 1, dtype=torch.float64)
        for head in range(4):
            weights += (k[: last + 1, head // 2] @ q[last, head] / 8**0.5).softmax(0) / 4
        expected = [weights[first : first + 4].sum().item() for first in range(0, last + 1, 4)]
        assert shares == pytest.approx(expected, abs=1e-12)
        assert sum(shares) == pytest.approx(1)


def test_a_sample_ends_where_its_sequence_does(loaded: Checkpoint) -> None:
    whole, _ = run(loaded, samples=2, sampling=WARM)
    first, second = (sample.answer for sample in whole.samples)
    end = first[4]
    assert end not in first[:4] + second[:6]
    ending = Checkpoint(loaded.folder, loaded.model, loaded.tokenizer, frozenset({end}), loaded.config)
    generation, steps = run(ending, samples=2, sampling=WARM)
    sample = generation.samples[0]
    assert (sample.answer, sample.ended, sample.stored) == (first[:5], "end of sequence", 14)
    assert generation.samples[1].answer[:6] == second[:6]
    assert [len(step.pushed) for step in steps[1:6]] == [2, 2, 2, 2, 1]
    letters = "".join(drawn.text for step in steps for drawn in step.drawn if drawn.sample == 0)
    assert letters == generation.text(0)
    assert len(letters) == 4


def test_without_max_tokens_there_are_64_or_what_is_left(loaded: Checkpoint) -> None:
    assert run(loaded, max_tokens=None)[0].max_tokens == 54
    assert len(run(loaded, max_tokens=54)[0].samples[0].answer) == 54


@pytest.mark.parametrize(
    ("prompt", "options", "sentence"),
    [
        ("", {}, "the prompt is empty, so there is nothing to go on from"),
        ("a" * 64, {}, "the prompt has 64 tokens, but the model takes 64 with the answer; shorten it"),
        ("abc", {"max_tokens": 62}, "max-tokens is 62, but must be from 1 to 61, the room that is left"),
        ("abc", {"max_tokens": 0}, "max-tokens is 0, but must be from 1 to 61, the room that is left"),
        ("abc", {"samples": 2}, "samples is 2, but without a temperature all of them would be the same"),
        ("abc", {"block_size": 1 << 40}, "up to 2 pages of 1099511627776 tokens take "),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(loaded: Checkpoint, prompt: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        Generation(loaded, prompt, **options)
    assert str(caught.value).startswith(sentence)


def test_a_tokenizer_has_to_be_there_and_fit(loaded: Checkpoint) -> None:
    mute = Checkpoint(loaded.folder, loaded.model, None, loaded.eos, loaded.config)
    with pytest.raises(InputError, match=r"has no tokenizer\.json, so the model cannot read text"):
        Generation(mute, PROMPT)
    larger = Tokenizer(models.WordLevel({"a": 40, "?": 0}, unk_token="?"))
    other = Checkpoint(loaded.folder, loaded.model, larger, loaded.eos, loaded.config)
    with pytest.raises(InputError, match="makes 40 of a part of the prompt, but the model has tokens up to 39"):
        Generation(other, "a")


def command(folder: Path, *arguments: str) -> int:
    return main(["generate", "--model", str(folder), *arguments])


def test_the_command_says_the_answer(folder: Path, loaded: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(folder, "--prompt", PROMPT, "--max-tokens", "20") == 0
    generation, _ = run(loaded)
    assert capsys.readouterr().out == generation.text(0) + "\n"


def test_the_command_says_several_answers(folder: Path, loaded: Checkpoint, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--temperature", "1", "--seed", "5", "--samples", "3", "--max-tokens", "20")
    assert command(folder, "--prompt", PROMPT, *options) == 0
    generation, _ = run(loaded, samples=3, sampling=WARM)
    assert capsys.readouterr().out.splitlines() == [f"sample {i + 1}: {generation.text(i)}" for i in range(3)]


def test_json_has_answers_tables_and_steps(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--temperature", "1", "--samples", "2", "--max-tokens", "3", "--block-size", "4", "--json")
    assert command(folder, "--prompt", PROMPT, *options) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["prompt_token_ids"] == list(range(10))
    assert [sample["block_table"] for sample in document["samples"]] == [[1, 2, 4], [1, 2, 3]]
    assert [len(sample["token_ids"]) for sample in document["samples"]] == [3, 3]
    assert document["memory"] == {
        "block_size": 4, "block_bytes": 2048, "pages": 4, "tokens": 16, "bytes": 8192, "contiguous_bytes": 65536,
    }  # fmt: skip
    assert "steps" not in document
    assert command(folder, "--prompt", PROMPT, *options, "--pages") == 0
    steps = json.loads(capsys.readouterr().out)["steps"]
    assert [len(step["pushed"]) for step in steps] == [10, 2, 2]
    assert all(sum(shares) == pytest.approx(1) for step in steps for shares in step["attention"])


def test_pages_are_walked_through(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--temperature", "1", "--samples", "2", "--max-tokens", "4", "--block-size", "4", "--pages")
    assert command(folder, "--prompt", PROMPT, *options) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert lines[lines.index("page block filled tokens") + 1 :][:3] == [
        "0 1 4/4 a|b|c|d",
        "1 2 4/4 e|f|g|h",
        "2 3 2/4 i|j",
    ]
    assert any(line.startswith('1 "j" 2 3 1 ') for line in lines)
    assert sum(" copy of 3 " in line for line in lines) == 1
    assert sum(" new page " in line for line in lines) == 2
    assert "block table: 1 2 4 5" in lines
    assert "block table: 1 2 3 6" in lines
    assert "pages 6 pages of 4 tokens, 12.00 KiB: 18 tokens stored, 6 slots empty" in lines
    assert "computed 16 tokens, each once; 92 if nothing were stored" in lines  # 10 + 2 x 3; 2 x (10 + 11 + 12 + 13)
    assert "shared 2 pages among samples; pages of their own would be 2 pages more" in lines
    assert "contiguous 64.00 KiB if 64 tokens were reserved for each of 2 samples: 5.3 times as much" in lines


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--prompt", ""), "kvscope: the prompt is empty"),
        (("--prompt", "a" * 100), "kvscope: the prompt has 100 tokens"),
        (("--prompt", "a", "--max-tokens", "64"), "kvscope: max-tokens is 64, but must be from 1 to 63"),
        (("--prompt", "a", "--temperature", "-1"), "kvscope: temperature is -1.0, but must be a number, at least 0"),
        (("--prompt", "a", "--device", "abacus"), 'kvscope: device is "abacus", but must be cpu, cuda or cuda:N'),
        (("--prompt", "a", "--model", "no-such-model"), 'kvscope: model is "no-such-model", but that is no folder'),
        ((), "kvscope: Missing option '--prompt'"),
    ],
)
def test_the_command_refuses_in_a_sentence(
    folder: Path, arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(folder, *arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(sentence)
    assert captured.err.count("\n") == 1


def test_a_model_without_weights_is_refused(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    assert command(tmp_path, "--prompt", "a") == 2
    assert capsys.readouterr().err.startswith(f"kvscope: {tmp_path}: has no weights, which would be model.safetensors")


def test_help_loads_no_torch() -> None:
    program = "import sys; from app.cli import main; main(['generate', '--help']); sys.exit('torch' in sys.modules)"
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--block-size" in done.stdout

"""Training on a CPU in seconds: it lowers the loss, repeats itself, ends in time, and leaves what can be stored."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from engine import checkpoint
from engine.attention import DenseAttention
from engine.labs import publish, train
from engine.labs.accuracy import Score, accuracy, exam
from engine.labs.small import VARIANTS, small_shape
from engine.labs.tasks import documents
from engine.labs.tokenizer import encode, special_ids, train_tokenizer
from engine.models import CausalLM, build
from simcore.errors import InputError

FOREIGN = ("simpy", "pydantic", "polars", "typer", "rich", "transformers", "matplotlib", "scipy")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a short training of one variant leaves."""
    out = tmp_path_factory.mktemp("trained")
    _train(out, steps=12)
    return out


def _train(out: Path, *, steps: int, variants: Sequence[str] = ("mqa",), minutes: float = 10.0) -> None:
    values = {"--steps": steps, "--minutes": minutes, "--tokens": 512, "--longest": 64, "--every": 1000, "--workers": 0}
    options = [str(text) for pair in values.items() for text in pair]
    train.main(["--out", str(out), "--variants", *variants, "--device", "cpu", *options])


def test_training_needs_little(tmp_path: Path) -> None:
    """It runs where neither the simulator's packages nor the command line's are."""
    blocked = (
        f"import sys; sys.modules.update(dict.fromkeys({FOREIGN!r}))\nimport engine.labs.train\nprint(*sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", blocked], capture_output=True, encoding="utf-8", timeout=120)
    assert result.returncode == 0, result.stderr
    assert "engine.labs.train" in result.stdout.split()


def test_loss_falls_and_all_is_reproducible(tokenizer: Tokenizer) -> None:
    losses, weights = [], []
    for _ in range(2):
        learner = train.Learner("gqa", tokenizer.get_vocab_size(), 0, torch.device("cpu"))
        lessons = train.Lessons(tokenizer, 512, seed=0)
        losses.append([])
        for step in range(12):
            learner.learn(*lessons[train.Lesson(step, 64)], rate=3e-3)
            losses[-1].append(learner.loss.item())
        weights.append(torch.cat([parameter.flatten() for parameter in learner.model.parameters()]))
    assert sum(losses[0][-3:]) / 3 < losses[0][0] - 1.5, "much of it is learnt at once: which words can be answers"
    assert losses[0] == losses[1]
    assert torch.equal(*weights)


def test_command_leaves_weights_that_are_stored_in_half(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sorted(path.name for path in trained.iterdir()) == ["mqa.safetensors", "tokenizer.json"]
    publish.publish(trained, tmp_path, longest=64)
    assert len(re.findall(r"^mqa .*stored$", capsys.readouterr().out, re.M)) == 3
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(path.name for path in (tmp_path / "mqa").iterdir()) == names
    stored = load_file(tmp_path / "mqa" / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    loaded = checkpoint.load(tmp_path / "mqa")
    assert loaded.shape == small_shape("mqa", 512), "float32 once more"
    assert loaded.eos == {1}
    raw = load_file(trained / "mqa.safetensors")
    for name, parameter in loaded.model.named_parameters():
        torch.testing.assert_close(parameter, raw[name], rtol=2e-3, atol=1e-6)


def test_time_ends_the_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun = time.monotonic()
    _train(tmp_path, steps=1_000_000, minutes=0.02)
    assert time.monotonic() - begun < 60
    assert (tmp_path / "mqa.safetensors").exists()
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_a_worker_writes_the_same_documents(tokenizer: Tokenizer) -> None:
    lessons = train.Lessons(tokenizer, 256, seed=3)
    course = train.Course(steps=3, longest=128, seed=3)
    beside = torch.utils.data.DataLoader(
        lessons, batch_size=None, sampler=course, num_workers=1, multiprocessing_context="spawn"
    )
    found = list(beside)
    assert len(found) == 3
    for (ids, weights), lesson in zip(found, course, strict=True):
        assert torch.equal(ids, lessons[lesson][0])
        assert torch.equal(weights, lessons[lesson][1])


def test_lessons(tokenizer: Tokenizer) -> None:
    ids, weights = train.Lessons(tokenizer, 1024, seed=1)[train.Lesson(7, 128)]
    special = special_ids(tokenizer)
    assert ids.shape == weights.shape == (8, 128)
    assert (ids[:, 0] == special["bos_token_id"]).all()
    assert torch.equal(ids == special["pad_token_id"], weights == 0)
    assert ((ids == special["eos_token_id"]).sum(1) == 1).all()
    text = tokenizer.decode(ids[weights == 2].tolist())
    assert re.fullmatch(r"( [a-z ]+\.)+", text), "answers and nothing else"
    assert not torch.equal(ids, train.Lessons(tokenizer, 1024, seed=1)[train.Lesson(8, 128)][0])


def test_lessons_become_longer() -> None:
    sizes = [lesson.size for lesson in train.Course(steps=1000)]
    assert len(sizes) == 1000
    assert set(sizes[:60]) == {64}
    assert 1024 not in sizes[:360]
    assert 0.4 < sizes[360:].count(1024) / 640 < 0.75
    assert max(lesson.size for lesson in train.Course(steps=1000, longest=256)) == 256


def test_learning_rate() -> None:
    rates = [train.learning_rate(step / 100, 1.0) for step in range(101)]
    assert rates[0] < 0.1
    assert max(rates) == rates[2] > 0.99
    assert rates[-1] == pytest.approx(0.01)
    assert rates[2:] == sorted(rates[2:], reverse=True)


def test_attention_of_rows_is_dense_attention() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(3 * 20, heads, 32, generator=generator, dtype=torch.float64) for heads in (8, 2, 2))
    torch.testing.assert_close(train.Rows(3)(0, q, k, v), DenseAttention([20] * 3)(0, q, k, v))


class Knowing(CausalLM):
    """Says what comes next, because it looks ahead; but at some places something else."""

    def __init__(self, wrong: Sequence[int] = ()) -> None:
        super().__init__(small_shape("mqa", 512))
        self.wrong = list(wrong)

    def forward(self, tokens: Tensor, positions: Tensor, attend: object, wanted: Tensor | None = None) -> Tensor:
        following = tokens.roll(-1)
        following[self.wrong] += 1
        return torch.nn.functional.one_hot(following, 600)


def test_accuracy_counts_answers_that_are_wholly_right(tokenizer: Tokenizer) -> None:
    questions = [*documents("recall", [100, 200], 1), *documents("copying", [100], 1)]
    asked = {"recall": sum(len(document.questions) for document in questions[:2]), "copying": 1}
    assert asked["recall"] > 4
    assert accuracy(Knowing(), tokenizer, questions) == {task: Score(n, n) for task, n in asked.items()}
    first, second, third = encode(tokenizer, questions)
    after = len(first.ids) + len(second.ids)
    spoiled = [
        first.answers[0].start - 1,  # what is said where the first answer begins
        first.answers[0].stop - 1,  # after the first answer: a question, which nobody counts
        len(first.ids) + second.answers[-1].stop - 2,  # the last token of an answer
        after + third.answers[0].start + 1,
    ]
    scores = accuracy(Knowing(spoiled), tokenizer, questions)
    assert scores == {"recall": Score(asked["recall"], asked["recall"] - 2), "copying": Score(1, 0)}
    assert scores["copying"].share == 0.0


def test_accuracy_does_not_depend_on_the_batch(tokenizer: Tokenizer) -> None:
    model = build(small_shape("gqa", 512))
    model.initialize(1)
    seen: list[tuple[int, ...]] = []

    def attention(counts: Sequence[int]) -> DenseAttention:
        seen.append(tuple(counts))
        return DenseAttention(counts)

    questions = exam(2, 100)
    alone = accuracy(model, tokenizer, questions, batch=1, attention=attention)
    assert [len(counts) for counts in seen] == [1] * 6
    assert alone == accuracy(model, tokenizer, questions, batch=4)
    assert sum(score.right for score in alone.values()) == 0, "it has learnt nothing"


def test_documents_must_fit(tokenizer: Tokenizer) -> None:
    with pytest.raises(InputError, match=r"a document has 1,\d\d\d tokens, but the model takes 1,024"):
        accuracy(Knowing(), tokenizer, documents("recall", [1100], 1))
    with pytest.raises(InputError, match=r"has an id \d+, but the model only knows 300 tokens"):
        accuracy(build(small_shape("mqa", 300)), tokenizer, documents("recall", [100], 1))


def test_exam_is_the_same_each_time_and_grows_to_the_longest() -> None:
    assert exam(3, 1024) == exam(3, 1024)
    assert exam(3, 1024) != exam(3, 1024, seed=1)
    sizes = [len(document.text.split()) for document in exam(3, 1024) if document.task == "recall"]
    assert sizes == sorted(sizes)
    assert 700 < sizes[-1] <= 1024


def test_variants_cost_the_same_but_for_the_cache() -> None:
    """Parameters counted by hand; K and V of a token in float32, in all four layers."""
    counted, stored = {}, {}
    for variant, (kv_heads, width) in VARIANTS.items():
        shape = small_shape(variant, 512)
        layer = 128 * 256 * 2 + 2 * 128 * kv_heads * 32 + 3 * 128 * width + 2 * 128
        counted[variant] = sum(parameter.numel() for parameter in build(shape).parameters())
        assert counted[variant] == 512 * 128 + 4 * layer + 128
        stored[variant] = shape.token_bytes
    assert max(counted.values()) / min(counted.values()) < 1.01
    assert stored == {"mha": 8192, "gqa": 2048, "mqa": 1024}

"""The small models that come with the product: they know their answers, they are equals, and others can load them."""

import json
import subprocess
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer

from app.cli import main
from engine import checkpoint
from engine.attention import BlockLocalAttention, DenseAttention
from engine.checkpoint import Checkpoint
from engine.labs.accuracy import accuracy, exam
from engine.labs.small import VARIANTS, small_shape
from engine.labs.tasks import documents
from engine.labs.tokenizer import special_ids, train_tokenizer

LEAST = {"recall": (0.97, 1024), "copying": (0.95, 1024), "stories": (0.45, 64)}
"""Accuracy that every variant has at least, over documents of up to so many tokens: stories are hard for such a model,
and the harder the longer they are."""

FOLDER = Path(str(files("assets"))) / "trained"


@pytest.fixture(scope="module", params=VARIANTS)
def small(request: pytest.FixtureRequest) -> Checkpoint:
    return checkpoint.load(checkpoint.find(f"small-{request.param}"))


@pytest.fixture(scope="module")
def gqa() -> Checkpoint:
    return checkpoint.load(checkpoint.find("small-gqa"))


def tokenizer_of(loaded: Checkpoint) -> Tokenizer:
    assert loaded.tokenizer is not None
    return loaded.tokenizer


def test_they_answer_right(small: Checkpoint) -> None:
    for task, (least, longest) in LEAST.items():
        score = accuracy(small.model, tokenizer_of(small), exam(8, longest))[task]
        assert score.asked > 4
        assert score.share >= least, task


def test_attention_inside_blocks_spoils_the_answers(gqa: Checkpoint) -> None:
    """The answers are in the cache: a model that sees its last 16 tokens at most cannot know them."""
    questions = [document for document in exam(3, 512) if document.task == "recall"]
    scores = accuracy(
        gqa.model, tokenizer_of(gqa), questions, attention=lambda counts: BlockLocalAttention(counts, block_size=16)
    )
    assert scores["recall"].share < 0.2


def test_they_are_as_they_were_designed(small: Checkpoint) -> None:
    assert small.shape == small_shape(small.folder.name, 512)
    stored = load_file(small.folder / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    assert (small.folder / "model.safetensors").stat().st_size < 3e6
    assert small.eos == {1}
    assert special_ids(tokenizer_of(small)).items() <= small.config.items()


def test_tokenizer_is_the_one_that_is_trained_here(small: Checkpoint) -> None:
    assert json.loads(tokenizer_of(small).to_str()) == json.loads(train_tokenizer().to_str())


@torch.inference_mode()
def test_greedy_decoding_gives_the_answers(gqa: Checkpoint) -> None:
    """Token by token, with its own tokens fed back: what `accuracy` concludes from one look at the whole text."""
    tokenizer = tokenizer_of(gqa)
    right = 0
    for document in (document for task in LEAST for document in documents(task, [60, 90], seed=11)):
        asked = document.questions[0]
        ids = tokenizer.encode(document.context + asked.ask).ids
        begun = len(ids)
        while len(ids) < begun + len(tokenizer.encode(asked.answer, add_special_tokens=False).ids):
            logits = gqa.model(torch.tensor(ids), torch.arange(len(ids)), DenseAttention([len(ids)]))
            ids.append(int(logits[-1].argmax()))
        right += tokenizer.decode(ids[begun:]) == asked.answer
    assert right >= 5


def test_transformers_loads_them(small: Checkpoint) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(small.folder)
    assert theirs.dtype is torch.float32
    text = documents("stories", [200], seed=12)[0].text
    ids = AutoTokenizer.from_pretrained(small.folder)(text).input_ids
    assert ids == tokenizer_of(small).encode(text).ids
    with torch.inference_mode():
        expected = theirs(torch.tensor([ids])).logits[0]
        ours = small.model(torch.tensor(ids), torch.arange(len(ids)), DenseAttention([len(ids)]))
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4)


def test_command_prints_all_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "--documents", "2", "--longest", "96"]) == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split() for line in lines if line.strip().startswith("small-")]
    assert [(name, stored) for name, _, stored, *_ in rows] == [
        ("small-mha", "8,192"),
        ("small-gqa", "2,048"),
        ("small-mqa", "1,024"),
    ]
    assert all(share.endswith("%") for row in rows for share in row[3:])
    assert "2 in copying" in lines[-1]


def test_command_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["accuracy", "--documents", "2", "--longest", "96", "--json"]
    assert main(arguments) == 0
    first, second, third = json.loads(capsys.readouterr().out)
    assert [row["kv_heads"] for row in (first, second, third)] == [8, 2, 1]
    assert main([*arguments, "--model", "small-gqa"]) == 0
    assert json.loads(capsys.readouterr().out) == second
    assert main([*arguments, "--model", str(FOLDER / "gqa")]) == 0
    assert json.loads(capsys.readouterr().out) == {**second, "model": str(FOLDER / "gqa")}
    assert second["parameters"] == 984_192
    assert second["dtype"] == "float32"
    assert second["asked"]["copying"] == 2
    assert all(0 <= share <= 1 for share in second["accuracy"].values())


def test_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["accuracy", "--model", "small-xyz"]) == 2
    assert "small-xyz" in capsys.readouterr().err
    assert main(["accuracy", "--model", "small-gqa", "--longest", "2000", "--documents", "1"]) == 2
    assert "the model takes 1,024" in capsys.readouterr().err
    for path in (FOLDER / "gqa").iterdir():
        if path.name != "tokenizer.json":
            (tmp_path / path.name).write_bytes(path.read_bytes())
    assert main(["accuracy", "--model", str(tmp_path)]) == 2
    assert "has no tokenizer.json" in capsys.readouterr().err


def test_help_loads_no_torch() -> None:
    program = "import sys; from app.cli import main; main(['accuracy', '--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=60).returncode == 0

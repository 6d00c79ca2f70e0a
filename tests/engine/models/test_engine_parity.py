"""The same logits as transformers, in float64, from the same folders."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from engine import checkpoint
from engine.attention import DenseAttention, PagedAttention
from engine.batch import Batch
from engine.kv_cache import KVCache
from engine.sampling import Sampler, Sampling

VOCABULARY = 67
BLOCK = 4

GPT2 = {"vocab_size": VOCABULARY, "n_layer": 2, "n_head": 4, "n_embd": 24, "n_positions": 64}
LLAMA = {
    "vocab_size": VOCABULARY,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_size": 32,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("GPT2", GPT2),
    "gpt2, own head": ("GPT2", GPT2 | {"tie_word_embeddings": False}),
    "gpt2, narrow": ("GPT2", GPT2 | {"n_inner": 20, "activation_function": "relu"}),
    "llama, gqa": ("Llama", LLAMA),
    "llama, mqa": ("Llama", LLAMA | {"num_key_value_heads": 1, "tie_word_embeddings": True}),
    "llama, mha": ("Llama", LLAMA | {"num_key_value_heads": 4, "rms_norm_eps": 0.1}),
    "llama, wide heads": ("Llama", LLAMA | {"head_dim": 20}),
    "llama, biases": ("Llama", LLAMA | {"attention_bias": True, "mlp_bias": True}),
    "llama, llama3": ("Llama", LLAMA | {"rope_parameters": LLAMA3}),
    "llama, linear": ("Llama", LLAMA | {"rope_parameters": {"rope_type": "linear", "factor": 3.0, "rope_theta": 1e3}}),
    "mistral": ("Mistral", LLAMA | {"sliding_window": None, "head_dim": 12}),
    "mistral, window that never acts": ("Mistral", LLAMA | {"sliding_window": 64}),
    "qwen2": ("Qwen2", LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "qwen3": ("Qwen3", LLAMA | {"head_dim": 16}),
    "qwen3, biases": ("Qwen3", LLAMA | {"head_dim": 8, "attention_bias": True}),
}


def publish(name: str, folder: Path, **options: Any) -> transformers.PreTrainedModel:
    """A model of transformers with random weights, norms and biases too, saved in the folder."""
    family, numbers = MODELS[name]
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**numbers)
    architecture = f"{family}LMHeadModel" if family == "GPT2" else f"{family}ForCausalLM"
    model = getattr(transformers, architecture)._from_config(config, dtype=torch.float64, attn_implementation="sdpa")
    for parameter in model.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    model.save_pretrained(folder, **options)
    return model.eval()


@pytest.fixture(scope="module", params=MODELS)
def both(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of transformers, and the one that is read from its folder."""
    folder = tmp_path_factory.mktemp("model")
    theirs = publish(request.param, folder)
    return theirs, checkpoint.load(folder).model


def sequences(*lengths: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(VOCABULARY, (length,), generator=generator) for length in lengths]


def expected(theirs: transformers.PreTrainedModel, tokens: list[Tensor]) -> list[Tensor]:
    with torch.inference_mode():
        return [theirs(row[None]).logits[0] for row in tokens]


def assert_same(ours: Tensor, theirs: Tensor) -> None:
    assert theirs.abs().max() > 1
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-10)


def test_whole_sequences(both: Any) -> None:
    theirs, model = both
    rows = sequences(64, 1, 17)
    counts = [len(row) for row in rows]
    positions = torch.cat([torch.arange(count) for count in counts])
    with torch.inference_mode():
        logits = model(torch.cat(rows), positions, DenseAttention(counts))
    assert_same(logits, torch.cat(expected(theirs, rows)))


def test_chunks_and_single_tokens_in_mixed_steps_over_pages(both: Any) -> None:
    """Three sequences in steps that hold chunks of prompts and decoded tokens side by side."""
    theirs, model = both
    rows = sequences(30, 21, 9)
    shape = model.shape
    cache = KVCache(shape.layers, 40, BLOCK, shape.kv_heads, shape.head_dim, dtype=torch.float64)
    tables = [list(range(1 + row, 37, 3)) for row in range(3)]  # interleaved
    steps = [(13, 0, 0), (1, 9, 0), (1, 1, 8), (11, 7, 1), (1, 1, 0), (1, 1, 0), (1, 1, 0), (1, 1, 0)]
    assert [sum(step) for step in zip(*steps, strict=True)] == [len(row) for row in rows]
    found: list[list[Tensor]] = [[], [], []]
    done = [0, 0, 0]
    for step in steps:
        live = [row for row in range(3) if step[row]]
        starts, counts = [done[row] for row in live], [step[row] for row in live]
        tokens = torch.cat([rows[row][done[row] : done[row] + step[row]] for row in live])
        batch = Batch.of([tables[row] for row in live], starts, counts, tokens, BLOCK)
        with torch.inference_mode():
            logits = model(batch.tokens, batch.positions, PagedAttention(cache, batch))
        for row, part in zip(live, logits.split(counts), strict=True):
            found[row].append(part)
            done[row] += step[row]
    for ours, row in zip(found, expected(theirs, rows), strict=True):
        assert_same(torch.cat(ours), row)


def test_shards(tmp_path: Path) -> None:
    theirs = publish("llama, gqa", tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    model = checkpoint.load(tmp_path).model
    rows = sequences(40)
    assert_same(model(rows[0], torch.arange(40), DenseAttention([40])), expected(theirs, rows)[0])


@pytest.mark.parametrize("scaling", [LLAMA3, {"type": "linear", "factor": 3.0}], ids=["llama3", "linear"])
def test_rope_as_it_was_written_before_transformers_5(tmp_path: Path, scaling: dict[str, Any]) -> None:
    publish("llama, gqa", tmp_path)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    config |= {"rope_theta": 300.0, "rope_scaling": {k: v for k, v in scaling.items() if k != "rope_theta"}}
    path.write_text(json.dumps(config))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    rows = sequences(64)
    model = checkpoint.load(tmp_path).model
    assert_same(model(rows[0], torch.arange(64), DenseAttention([64])), expected(theirs, rows)[0])


def test_what_is_saved_here_is_the_same_model_there(both: Any, tmp_path: Path) -> None:
    theirs, model = both
    checkpoint.save(model, tmp_path, {"eos_token_id": 3})
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert again.config.eos_token_id == 3
    rows = sequences(33)
    assert_same(expected(again, rows)[0], expected(theirs, rows)[0])
    loaded = checkpoint.load(tmp_path)
    assert loaded.eos == {3}
    assert all(map(torch.equal, loaded.model.parameters(), model.parameters()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gpt2", "qwen3"])
def test_other_formats_round_as_transformers_does(tmp_path: Path, name: str, dtype: str) -> None:
    theirs = publish(name, tmp_path).to(getattr(torch, dtype))
    model = checkpoint.load(tmp_path, dtype=dtype).model
    exact = checkpoint.load(tmp_path, dtype="float64").model
    rows = sequences(24)
    given = rows[0], torch.arange(24), DenseAttention([24])
    ours, reference = model(*given).double(), exact(*given)
    error = (expected(theirs, rows)[0].double() - reference).abs().mean()
    assert 0 < error < 0.2
    assert (ours - reference).abs().mean() < 1.5 * error


@pytest.mark.parametrize(("temperature", "top_k", "top_p"), [(1.0, 5, 1.0), (0.7, 0, 0.8), (1.5, 20, 0.9)])
def test_probabilities_that_tokens_are_drawn_by(temperature: float, top_k: int, top_p: float) -> None:
    logits = torch.randn(50, VOCABULARY, generator=torch.Generator().manual_seed(3)) * 2
    warpers = transformers.LogitsProcessorList([transformers.TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(transformers.TopKLogitsWarper(top_k))
    warpers.append(transformers.TopPLogitsWarper(top_p))
    ours = Sampler(Sampling(temperature, top_k, top_p)).probabilities(logits)
    torch.testing.assert_close(ours / ours.sum(-1, keepdim=True), warpers(None, logits).softmax(-1))

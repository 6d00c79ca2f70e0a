"""Folders of models: what is read of them, and the sentence for everything that is wrong with one."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models

from engine import checkpoint
from engine.device import find_device
from engine.models import GPT2Shape, LinearScaling, Llama3Scaling, LlamaShape, ModelShape, Rope, build
from simcore.errors import InputError, UnsupportedError
from simcore.geometry import token_bytes

SIZES = {"layers": 2, "heads": 4, "hidden_size": 16, "intermediate_size": 24, "vocab_size": 31, "max_model_len": 64}
GPT2 = GPT2Shape(**SIZES, kv_heads=4, head_dim=4, tied=True, eps=1e-5, dtype=torch.float32, positions=64)
LLAMA = LlamaShape(**SIZES, kv_heads=2, head_dim=6, tied=False, eps=1e-6, dtype=torch.float32, rope=Rope(1e4))
SHAPES = {
    "gpt2": GPT2,
    "gpt2, own head": replace(GPT2, tied=False, eps=1e-3, dtype=torch.bfloat16, activation="gelu"),
    "llama": LLAMA,
    "llama, linear": replace(LLAMA, kv_heads=1, tied=True, dtype=torch.float64, rope=Rope(3.0, LinearScaling(2.0))),
    "llama, llama3": replace(
        LLAMA, dtype=torch.float16, qkv_bias=True, out_bias=True, mlp_bias=True,
        rope=Rope(3.0, Llama3Scaling(2.0, 1.0, 4.0, 32)),
    ),
    "qwen2": replace(LLAMA, head_dim=4, qkv_bias=True),
    "qwen3": replace(LLAMA, head_dim=2, qk_norm=True),
}  # fmt: skip


def write(folder: Path, shape: ModelShape = LLAMA) -> Path:
    model = build(shape)
    model.initialize(seed=0)
    checkpoint.save(model, folder)
    return folder


def set_config(folder: Path, **values: Any) -> None:
    """Change keys of config.json; ... takes one away."""
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def set_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors")


def shard(folder: Path, **changes: Any) -> None:
    """Two files and an index; `changes` are made to the index's weight_map."""
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {name: f"part-{i % 2}.safetensors" for i, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: tensor for name, tensor in tensors.items() if files[name] == file}, folder / file)
    index = {"metadata": {}, "weight_map": files | {name.replace("__", "."): file for name, file in changes.items()}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_a_model_comes_back_as_it_was_saved(tmp_path: Path, shape: ModelShape) -> None:
    model = build(shape)
    model.initialize(seed=0)
    checkpoint.save(model, tmp_path / "new" / "folder")
    loaded = checkpoint.load(tmp_path / "new" / "folder")
    assert loaded.shape == shape
    assert loaded.model.state_dict().keys() == model.state_dict().keys()
    assert all(map(torch.equal, loaded.model.parameters(), model.parameters()))
    assert loaded.tokenizer is None
    assert loaded.eos == frozenset()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_the_simulator_sees_the_same_model(tmp_path: Path, shape: ModelShape) -> None:
    model = checkpoint.load(write(tmp_path, shape)).section.resolve()
    assert token_bytes(model) == shape.layers * 2 * shape.kv_heads * shape.head_dim * shape.dtype.itemsize
    assert token_bytes(model) == shape.token_bytes
    assert (model.layers, model.query_heads, model.kv_heads) == (shape.layers, shape.heads, shape.kv_heads)
    assert (model.head_dim, model.hidden_size, model.vocab_size) == (shape.head_dim, shape.hidden_size, 31)
    assert (model.intermediate_size, model.max_model_len) == (24, 64)
    matrices = sum(p.numel() for name, p in build(shape).named_parameters() if p.dim() == 2 and "places" not in name)
    assert model.parameters == matrices


def test_the_simulator_counts_bytes_in_the_format_that_runs(tmp_path: Path) -> None:
    loaded = checkpoint.load(write(tmp_path), dtype="bfloat16", max_model_len=20)
    model = loaded.section.resolve()
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert token_bytes(model) == loaded.shape.token_bytes == 2 * 2 * 2 * 6 * 2
    assert model.max_model_len == 20


def test_a_shorter_limit_leaves_the_table_of_positions_whole(tmp_path: Path) -> None:
    loaded = checkpoint.load(write(tmp_path, GPT2), max_model_len=20)
    assert loaded.shape == replace(GPT2, max_model_len=20)
    checkpoint.save(loaded.model, tmp_path)
    assert checkpoint.load(tmp_path).shape == GPT2


def test_both_names_of_the_format_are_read(tmp_path: Path) -> None:
    write(tmp_path)
    set_config(tmp_path, dtype=..., torch_dtype="bfloat16")
    assert checkpoint.load(tmp_path).shape.dtype is torch.bfloat16
    set_config(tmp_path, torch_dtype=...)
    assert checkpoint.load(tmp_path).shape.dtype is torch.float32


def test_a_sharded_model_is_the_same(tmp_path: Path) -> None:
    whole = checkpoint.load(write(tmp_path)).model
    shard(tmp_path)
    assert all(map(torch.equal, checkpoint.load(tmp_path).model.parameters(), whole.parameters()))


@pytest.mark.parametrize("shape", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_a_model_saved_without_its_head_has_shorter_names(tmp_path: Path, shape: ModelShape) -> None:
    whole = checkpoint.load(write(tmp_path, shape)).model
    prefix = "transformer." if shape is GPT2 else "model."

    def shorten(tensors: dict[str, torch.Tensor]) -> None:
        for name in list(tensors):
            tensors[name.removeprefix(prefix)] = tensors.pop(name)

    set_tensors(tmp_path, shorten)
    assert all(map(torch.equal, checkpoint.load(tmp_path).model.parameters(), whole.parameters()))


def test_constants_of_old_files_are_passed_over(tmp_path: Path) -> None:
    write(tmp_path, GPT2)
    old = {"transformer.h.0.attn.bias": torch.ones(1, 1, 64, 64), "transformer.h.1.attn.masked_bias": torch.ones(())}
    set_tensors(tmp_path, lambda tensors: tensors.update(old))
    checkpoint.load(tmp_path)


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(tmp_path: Path) -> None:
    write(tmp_path, GPT2)
    set_tensors(tmp_path, lambda tensors: tensors.update({"lm_head.weight": tensors["transformer.wte.weight"].clone()}))
    checkpoint.load(tmp_path)
    set_tensors(tmp_path, lambda tensors: tensors["lm_head.weight"].add_(1))
    with pytest.raises(UnsupportedError, match=r"tie_word_embeddings is true, but lm_head\.weight is not"):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("generation", "config", "expected"),
    [
        (None, ..., set()),
        (None, 5, {5}),
        (None, [5, 6], {5, 6}),
        ({"eos_token_id": [1, 2]}, 5, {1, 2}),
        ({}, 5, {5}),
        (None, 50256, {50256}),  # of a tokenizer that is larger than the model
    ],
)
def test_what_ends_a_sequence(tmp_path: Path, generation: Any, config: Any, expected: set[int]) -> None:
    write(tmp_path)
    set_config(tmp_path, eos_token_id=config)
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert checkpoint.load(tmp_path).eos == expected


def test_the_tokenizer_is_read(tmp_path: Path) -> None:
    Tokenizer(models.WordLevel({"a": 0, "b": 1}, unk_token="a")).save(str(write(tmp_path) / "tokenizer.json"))
    tokenizer = checkpoint.load(tmp_path).tokenizer
    assert tokenizer is not None
    assert tokenizer.encode("b").ids == [1]


def test_a_window_that_never_acts_is_fine(tmp_path: Path) -> None:
    write(tmp_path)
    set_config(tmp_path, model_type="mistral", sliding_window=20)
    with pytest.raises(UnsupportedError, match=r"sliding_window is 20, .* at most that, not 64"):
        checkpoint.load(tmp_path)
    assert checkpoint.load(tmp_path, max_model_len=20).shape.max_model_len == 20
    set_config(tmp_path, sliding_window=64)
    checkpoint.load(tmp_path)
    set_config(tmp_path, sliding_window=None)
    checkpoint.load(tmp_path)


@pytest.mark.parametrize(
    ("values", "acts"),
    [
        ({"use_sliding_window": True, "max_window_layers": 1}, True),
        ({"use_sliding_window": True, "max_window_layers": 2}, False),
        ({"use_sliding_window": False, "max_window_layers": 0}, False),
        ({"layer_types": ["full_attention", "full_attention"]}, False),
        ({"layer_types": ["full_attention", "sliding_attention"]}, True),
    ],
)
def test_windows_of_qwen(tmp_path: Path, values: dict[str, Any], acts: bool) -> None:
    write(tmp_path, SHAPES["qwen3"])
    set_config(tmp_path, sliding_window=20, **values)
    if acts:
        with pytest.raises(UnsupportedError, match="sliding_window is 20"):
            checkpoint.load(tmp_path)
    else:
        checkpoint.load(tmp_path)


def truncate(path: Path, size: int) -> None:
    os.truncate(path, size)


def rope(folder: Path, **values: Any) -> None:
    set_config(folder, rope_parameters=..., rope_scaling=values)


Q = "model.layers.0.self_attn.q_proj.weight"
WRONG: dict[str, tuple[Callable[[Path], Any], str]] = {
    # the folder
    "empty": (lambda f: [path.unlink() for path in f.iterdir()], "FOLDER: has no config.json, so it is no model"),
    "no config": (lambda f: (f / "config.json").unlink(), "FOLDER: has no config.json"),
    "no weights": (
        lambda f: (f / "model.safetensors").unlink(),
        "FOLDER: has no weights, which would be model.safetensors",
    ),
    "pickle": (
        lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
        "FOLDER: has its weights in pytorch_model.bin, a pickle, which could run any program and is never read; "
        "convert it with transformers",
    ),
    # config.json
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "FOLDER/config.json: must hold one JSON object"),
    "no object": (lambda f: (f / "config.json").write_text("[]"), "FOLDER/config.json: must hold one JSON object"),
    "deep": (lambda f: (f / "config.json").write_text("[" * 10**6), "FOLDER/config.json: must hold one JSON object"),
    "no text": (lambda f: (f / "config.json").write_bytes(b"\xff\xfe{}"), "FOLDER/config.json: must hold one JSON"),
    "text for a number": (
        lambda f: set_config(f, hidden_size="16"),
        'FOLDER/config.json: hidden_size is "16", but must be a valid integer',
    ),
    "no layers": (
        lambda f: set_config(f, num_hidden_layers=0),
        "FOLDER/config.json: num_hidden_layers is 0, but must be greater than or equal to 1",
    ),
    "missing key": (lambda f: set_config(f, vocab_size=...), "FOLDER/config.json: vocab_size is missing"),
    "true for a number": (
        lambda f: set_config(f, num_key_value_heads=True),
        "FOLDER/config.json: num_key_value_heads is true, but must be a valid integer",
    ),
    "odd groups": (
        lambda f: set_config(f, num_key_value_heads=3),
        "FOLDER/config.json: num_key_value_heads is 3, but must divide num_attention_heads, 4",
    ),
    "odd heads": (lambda f: set_config(f, head_dim=7), "FOLDER/config.json: head_dim is 7, but must be even"),
    "no head_dim": (
        lambda f: set_config(f, head_dim=..., num_attention_heads=3),
        "FOLDER/config.json: head_dim is missing",
    ),
    "format": (
        lambda f: set_config(f, dtype="int8"),
        'FOLDER/config.json: dtype is "int8", but must be "float16", "bfloat16", "float32" or "float64"',
    ),
    "eos": (
        lambda f: set_config(f, eos_token_id="</s>"),
        'FOLDER/config.json: eos_token_id is "</s>", but must be the id of a token, or a list of ids',
    ),
    # what is right, but does not run
    "family": (
        lambda f: set_config(f, model_type="gemma2"),
        'FOLDER/config.json: model_type is "gemma2", but the models that run are gpt2, llama, mistral, qwen2, qwen3',
    ),
    "experts": (lambda f: set_config(f, model_type="mixtral"), 'FOLDER/config.json: model_type is "mixtral", but'),
    "no family": (lambda f: set_config(f, model_type=...), "FOLDER/config.json: model_type is not given, but"),
    "a list of families": (lambda f: set_config(f, model_type=["llama"]), "FOLDER/config.json: model_type is a list"),
    "quantized": (
        lambda f: set_config(f, quantization_config={"quant_method": "awq"}),
        "FOLDER/config.json: quantization_config is given, but quantized weights do not run",
    ),
    "activation": (
        lambda f: set_config(f, hidden_act="gelu"),
        'FOLDER/config.json: hidden_act is "gelu", but must be "silu"',
    ),
    "yarn": (
        lambda f: rope(f, rope_type="yarn", factor=4.0),
        'FOLDER/config.json: rope_scaling.rope_type is "yarn", but must be "default", "linear" or "llama3"',
    ),
    "dynamic": (
        lambda f: rope(f, type="dynamic", factor=4.0),
        'FOLDER/config.json: rope_scaling.type is "dynamic", but must be "default", "linear" or "llama3"',
    ),
    "no factor": (lambda f: rope(f, type="linear"), "FOLDER/config.json: rope_scaling.factor is missing"),
    "text for a factor": (
        lambda f: rope(f, type="linear", factor="2"),
        'FOLDER/config.json: rope_scaling.factor is "2", but must be a valid number',
    ),
    "factors": (
        lambda f: rope(f, rope_type="llama3", factor=8, low_freq_factor=4, high_freq_factor=4),
        "FOLDER/config.json: rope_scaling.low_freq_factor is 4.0, but must be below high_freq_factor, 4.0",
    ),
    "several ropes": (
        lambda f: set_config(f, rope_parameters={"full_attention": {"rope_theta": 1e4}}),
        "FOLDER/config.json: rope_parameters.full_attention is given, but all layers and positions must rotate alike",
    ),
    "rope is no table": (
        lambda f: set_config(f, rope_parameters=3),
        "FOLDER/config.json: rope_parameters is 3, but must be a valid dictionary",
    ),
    "part of a head": (
        lambda f: set_config(f, partial_rotary_factor=0.5),
        "FOLDER/config.json: partial_rotary_factor is 0.5, but must be",
    ),
    # the weights
    "truncated": (
        lambda f: truncate(f / "model.safetensors", 5000),
        "FOLDER/model.safetensors: is no safetensors file, or not all of one: incomplete metadata",
    ),
    "nothing": (
        lambda f: truncate(f / "model.safetensors", 0),
        "FOLDER/model.safetensors: is no safetensors file, or not all of one: header too small",
    ),
    "a pointer": (
        lambda f: (f / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
        "FOLDER/model.safetensors: is no safetensors file, or not all of one: header too large",
    ),
    "missing": (
        lambda f: set_tensors(f, lambda tensors: tensors.pop("model.norm.weight")),
        'FOLDER/model.safetensors: "model.norm.weight" is missing, which config.json makes part of the model',
    ),
    "two missing": (
        lambda f: set_tensors(f, lambda tensors: (tensors.pop("model.norm.weight"), tensors.pop("lm_head.weight"))),
        'FOLDER/model.safetensors: "lm_head.weight" and 1 more tensors are missing',
    ),
    "extra": (
        lambda f: set_tensors(f, lambda tensors: tensors.update({"model.layers.0.extra": torch.ones(1)})),
        'FOLDER/model.safetensors: "model.layers.0.extra" is there, which config.json makes no part of the model',
    ),
    "a layer more": (lambda f: set_config(f, num_hidden_layers=1), "FOLDER/model.safetensors: \"model.layers.1."),
    "shape": (
        lambda f: set_config(f, head_dim=8),
        f"FOLDER/model.safetensors: {Q} has the shape [24, 16], but config.json makes it [32, 16]",
    ),
    "integers": (
        lambda f: set_tensors(f, lambda tensors: tensors.update({Q: torch.ones(24, 16, dtype=torch.int8)})),
        f"FOLDER/model.safetensors: {Q} has the format I8, but must have one of F16, BF16, F32, F64",
    ),
    # the index
    "outside": (
        lambda f: shard(f, model__norm__weight="../part-0.safetensors"),
        'FOLDER/model.safetensors.index.json: weight_map has "model.norm.weight" in "../part-0.safetensors", but it',
    ),
    "outside, absolute": (
        lambda f: shard(f, model__norm__weight="/etc/part-0.safetensors"),
        'FOLDER/model.safetensors.index.json: weight_map has "model.norm.weight" in "/etc/part-0.safetensors", but it',
    ),
    "other kind": (
        lambda f: shard(f, model__norm__weight="part.bin"),
        'FOLDER/model.safetensors.index.json: weight_map has "model.norm.weight" in "part.bin", but it must be a',
    ),
    "not there": (
        lambda f: shard(f, model__norm__weight="part-9.safetensors"),
        "FOLDER/part-9.safetensors: cannot be read: no such file or directory",
    ),
    "not in its file": (
        lambda f: shard(f, model__extra__weight="part-1.safetensors", model__norm__weight="part-1.safetensors"),
        'FOLDER/model.safetensors.index.json: "model.norm.weight" is missing',
    ),
    "no map": (
        lambda f: (shard(f), (f / "model.safetensors.index.json").write_text("{}")),
        "FOLDER/model.safetensors.index.json: weight_map is not given, but must be a table",
    ),
    # what else is there
    "tokenizer": (
        lambda f: (f / "tokenizer.json").write_text("{}"),
        "FOLDER/tokenizer.json: is no tokenizer that is known: ",
    ),
    "generation": (
        lambda f: (f / "generation_config.json").write_text('{"eos_token_id": [1, true]}'),
        "FOLDER/generation_config.json: eos_token_id is true, but must be the id of a token",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said_in_one_sentence(tmp_path: Path, case: str) -> None:
    spoil, expected = WRONG[case]
    spoil(write(tmp_path))
    with pytest.raises(InputError) as caught:
        checkpoint.load(tmp_path)
    sentence = str(caught.value)
    assert sentence.startswith(expected.replace("FOLDER", str(tmp_path))), sentence
    assert "\n" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is true, but must be false"),
        ({"scale_attn_weights": False}, "scale_attn_weights is false, but must be true"),
        ({"add_cross_attention": True}, "add_cross_attention is true, but must be false"),
        ({"activation_function": "tanh"}, 'activation_function is "tanh", but must be "gelu", "gelu_new",'),
        ({"n_head": 3}, "n_embd is 16, but must be a multiple of n_head, 3"),
    ],
)
def test_gpt2_of_other_kinds_is_refused(tmp_path: Path, values: dict[str, Any], sentence: str) -> None:
    write(tmp_path, GPT2)
    set_config(tmp_path, **values)
    with pytest.raises(InputError) as caught:
        checkpoint.load(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: {sentence}")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dtype": "int8"}, 'dtype is "int8", but must be one of float16, bfloat16, float32, float64'),
        ({"max_model_len": 65}, "max_model_len is 65, but must be from 1 to 64, the positions of the model in "),
        ({"max_model_len": 0}, "max_model_len is 0, but must be from 1 to 64, the positions of the model in "),
        ({"device": "tpu"}, 'device is "tpu", but must be cpu, cuda or cuda:N'),
        ({"device": "cuda:x"}, 'device is "cuda:x", but must be cpu, cuda or cuda:N'),
    ],
)
def test_options_that_cannot_be(tmp_path: Path, options: dict[str, Any], sentence: str) -> None:
    write(tmp_path)
    with pytest.raises(InputError) as caught:
        checkpoint.load(tmp_path, **options)
    assert str(caught.value).startswith(sentence)


def test_a_folder_that_is_not_there() -> None:
    with pytest.raises(InputError, match="no-such-folder: cannot be read: no such file or directory"):
        checkpoint.load(Path("no-such-folder"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there() -> None:
    with pytest.raises(InputError, match=r'device is "cuda:0", but torch .* finds no CUDA device here'):
        find_device("cuda:0")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_a_model_on_cuda(tmp_path: Path) -> None:
    loaded = checkpoint.load(write(tmp_path), device="cuda")
    assert {tensor.device.type for tensor in (*loaded.model.parameters(), *loaded.model.buffers())} == {"cuda"}
    with pytest.raises(InputError, match="the last CUDA device here is cuda:"):
        find_device("cuda:99")


def test_models_are_found_by_path_or_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "files", lambda package: tmp_path)
    write(tmp_path / "trained" / "gqa")
    assert checkpoint.find("small-gqa") == tmp_path / "trained" / "gqa"
    assert checkpoint.find(str(tmp_path)) == tmp_path
    with pytest.raises(InputError, match=r'model is "small-mha", but that is no folder and none of small-gqa'):
        checkpoint.find("small-mha")

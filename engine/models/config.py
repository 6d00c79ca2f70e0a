"""Between a `config.json` as published on Hugging Face and a `ModelShape`.

The keys, and what they mean where they are missing, are those of transformers' configuration classes
(src/transformers/models/*/configuration_*.py). What is not known is refused: a model that runs with other numbers
than it was trained with answers all the same, only worse.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from engine.models.rope import LinearScaling, Llama3Scaling, Rope
from engine.models.shape import GPT2Shape, LlamaShape, ModelShape
from simcore.errors import InputError, UnsupportedError
from simcore.schema import shown

DTYPES = {name: getattr(torch, name) for name in ("float16", "bfloat16", "float32", "float64")}

MODEL_TYPES = ("gpt2", "llama", "mistral", "qwen2", "qwen3")

Count = Annotated[int, Field(ge=1, le=1 << 24)]
Layers = Annotated[int, Field(ge=1, le=10_000)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Unstretched = Annotated[float, Field(ge=1, le=1)]


class _Keys(BaseModel):
    """What is read of a JSON object; other keys say nothing about the arithmetic."""

    model_config = ConfigDict(strict=True, frozen=True, populate_by_name=True)


class _Config(_Keys):
    vocab_size: Count
    dtype: Literal["float16", "bfloat16", "float32", "float64"] = Field(
        "float32", validation_alias=AliasChoices("torch_dtype", "dtype")
    )


class _GPT2(_Config):
    n_layer: Layers
    n_head: Count
    n_embd: Count
    n_inner: Count | None = None
    n_positions: Count
    activation_function: Literal["gelu", "gelu_new", "gelu_pytorch_tanh", "relu"] = "gelu_new"
    layer_norm_epsilon: Positive = 1e-5
    tie_word_embeddings: bool = True
    scale_attn_weights: Literal[True] = True
    scale_attn_by_inverse_layer_idx: Literal[False] = False
    add_cross_attention: Literal[False] = False


class _Llama(_Config):
    num_hidden_layers: Layers
    num_attention_heads: Count
    num_key_value_heads: Count
    head_dim: Count
    hidden_size: Count
    intermediate_size: Count
    max_position_embeddings: Count
    original_max_position_embeddings: Count | None = None
    hidden_act: Literal["silu"] = "silu"
    rms_norm_eps: Positive = 1e-6
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    rope_theta: Positive = 10_000.0
    partial_rotary_factor: Unstretched = 1
    rope_scaling: dict[str, Any] | None = None
    rope_parameters: dict[str, Any] | None = None
    sliding_window: Count = 4096
    use_sliding_window: bool = False
    max_window_layers: Annotated[int, Field(ge=0)] = 28
    layer_types: list[Literal["full_attention", "sliding_attention"]] | None = None


class _Rope(_Keys):
    rope_type: Literal["default", "linear", "llama3"] = Field(
        "default", validation_alias=AliasChoices("rope_type", "type")
    )
    rope_theta: Positive | None = None
    partial_rotary_factor: Unstretched = 1


class _Linear(_Rope):
    factor: Positive


class _Llama3(_Linear):
    low_freq_factor: Positive
    high_freq_factor: Positive
    original_max_position_embeddings: Count | None = None


K = TypeVar("K", bound=_Keys)


def read_shape(
    path: Path, values: Mapping[str, Any], dtype: str | None = None, max_model_len: int | None = None
) -> ModelShape:
    """The shape of the model that the values of a `config.json` describe; `path` names it in the errors.

    dtype: the format to compute in, that of the file by default. max_model_len: the tokens that a sequence may have,
    by default as many as the model has positions. Raises InputError where a value is wrong or not known here.
    """
    if dtype is not None and dtype not in DTYPES:
        raise InputError(f"dtype is {shown(dtype)}, but must be one of {', '.join(DTYPES)}")
    kind = values.get("model_type")
    if kind not in MODEL_TYPES:
        raise UnsupportedError(
            f"{path}: model_type is {shown(kind)}, but the models that run are {', '.join(MODEL_TYPES)}"
        )
    if values.get("quantization_config") is not None:
        raise UnsupportedError(f"{path}: quantization_config is given, but quantized weights do not run")
    shape = _gpt2(path, values) if kind == "gpt2" else _llama(path, values)
    if dtype is not None:
        shape = replace(shape, dtype=DTYPES[dtype])
    if max_model_len is not None:
        if not 1 <= max_model_len <= shape.max_model_len:
            raise InputError(
                f"max_model_len is {max_model_len}, but must be from 1 to {shape.max_model_len}, the positions of the "
                f"model in {path.parent}"
            )
        shape = replace(shape, max_model_len=max_model_len)
    if isinstance(shape, LlamaShape) and 0 < shape.window < shape.max_model_len:
        raise UnsupportedError(
            f"{path}: sliding_window is {shape.window}, and windows do not run yet; ask for a max_model_len of at most "
            f"that, not {shape.max_model_len}"
        )
    return shape


def _gpt2(path: Path, values: Mapping[str, Any]) -> GPT2Shape:
    config = _parse(_GPT2, values, path)
    if config.n_embd % config.n_head:
        raise InputError(f"{path}: n_embd is {config.n_embd}, but must be a multiple of n_head, {config.n_head}")
    activation = config.activation_function
    return GPT2Shape(
        layers=config.n_layer,
        heads=config.n_head,
        kv_heads=config.n_head,
        head_dim=config.n_embd // config.n_head,
        hidden_size=config.n_embd,
        intermediate_size=config.n_inner or 4 * config.n_embd,
        vocab_size=config.vocab_size,
        max_model_len=config.n_positions,
        positions=config.n_positions,
        tied=config.tie_word_embeddings,
        eps=config.layer_norm_epsilon,
        dtype=DTYPES[config.dtype],
        activation="gelu_new" if activation == "gelu_pytorch_tanh" else activation,
    )


def _llama(path: Path, values: Mapping[str, Any]) -> LlamaShape:
    kind = values["model_type"]
    implied = {}
    hidden, heads = values.get("hidden_size"), values.get("num_attention_heads")
    if kind == "llama" and heads is not None:
        implied["num_key_value_heads"] = heads
    if kind != "qwen3" and isinstance(hidden, int) and isinstance(heads, int) and heads > 0 and hidden % heads == 0:
        implied["head_dim"] = hidden // heads
    config = _parse(_Llama, implied | {key: value for key, value in values.items() if value is not None}, path)
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    if heads % kv_heads:
        raise InputError(f"{path}: num_key_value_heads is {kv_heads}, but must divide num_attention_heads, {heads}")
    if config.head_dim % 2:
        raise InputError(f"{path}: head_dim is {config.head_dim}, but must be even to be rotated")
    return LlamaShape(
        layers=config.num_hidden_layers,
        heads=heads,
        kv_heads=kv_heads,
        head_dim=config.head_dim,
        hidden_size=config.hidden_size,
        intermediate_size=config.intermediate_size,
        vocab_size=config.vocab_size,
        max_model_len=config.max_position_embeddings,
        tied=config.tie_word_embeddings,
        eps=config.rms_norm_eps,
        dtype=DTYPES[config.dtype],
        rope=_rope(config, path),
        qkv_bias=kind == "qwen2" or (kind != "mistral" and config.attention_bias),
        out_bias=kind in ("llama", "qwen3") and config.attention_bias,
        mlp_bias=kind == "llama" and config.mlp_bias,
        qk_norm=kind == "qwen3",
        window=_window(kind, config, no_window="sliding_window" in values and values["sliding_window"] is None),
    )


def _rope(config: _Llama, path: Path) -> Rope:
    """From `rope_parameters`, as transformers 5 writes it, or from `rope_theta` and `rope_scaling` as before."""
    name = "rope_scaling" if config.rope_scaling else "rope_parameters"
    given = config.rope_scaling or config.rope_parameters or {}
    if nested := [key for key, value in given.items() if isinstance(value, dict | list)]:
        raise UnsupportedError(f"{path}: {name}.{nested[0]} is given, but all layers and positions must rotate alike")
    rope = _parse(_Rope, given, path, name)
    theta = rope.rope_theta or config.rope_theta
    match rope.rope_type:
        case "default":
            return Rope(theta)
        case "linear":
            return Rope(theta, LinearScaling(_parse(_Linear, given, path, name).factor))
        case "llama3":
            scaling = _parse(_Llama3, given, path, name)
            low, high = scaling.low_freq_factor, scaling.high_freq_factor
            if low >= high:
                raise InputError(f"{path}: {name}.low_freq_factor is {low}, but must be below high_freq_factor, {high}")
            original = config.original_max_position_embeddings or scaling.original_max_position_embeddings
            return Rope(theta, Llama3Scaling(scaling.factor, low, high, original or config.max_position_embeddings))


def _window(kind: str, config: _Llama, *, no_window: bool) -> int:
    """The last tokens that some layer attends to; 0: all."""
    if kind == "llama" or no_window:
        return 0
    if kind == "mistral":
        return config.sliding_window
    if config.layer_types is None:
        slides = config.use_sliding_window and config.max_window_layers < config.num_hidden_layers
    else:
        slides = "sliding_attention" in config.layer_types
    return config.sliding_window if slides else 0


def _parse(keys: type[K], values: Mapping[str, Any], path: Path, table: str = "") -> K:
    """Read some keys, and tell the first that is wrong in a sentence."""
    try:
        return keys.model_validate({key: value for key, value in values.items() if value is not None})
    except ValidationError as error:
        detail = error.errors(include_url=False)[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in (table, *detail["loc"])).strip(".")
    if detail["type"] == "missing":
        raise InputError(f"{path}: {key} is missing")
    allowed = detail["msg"].removeprefix("Input should be ")
    for ours, theirs in (('"', "'"), ("true", "True"), ("false", "False")):
        allowed = allowed.replace(theirs, ours)
    kind = UnsupportedError if detail["type"] == "literal_error" else InputError
    raise kind(f"{path}: {key} is {shown(detail['input'])}, but must be {allowed}")


def write_shape(shape: ModelShape) -> dict[str, Any]:
    """The values of a `config.json` of which `read_shape` makes this shape, and transformers the same model."""
    match shape:
        case GPT2Shape():
            own = _gpt2_keys(shape)
        case LlamaShape():
            own = _llama_keys(shape)
        case _:
            raise TypeError(f"{type(shape).__name__} is no family that is known")
    return own | {
        "vocab_size": shape.vocab_size,
        "tie_word_embeddings": shape.tied,
        "dtype": str(shape.dtype).removeprefix("torch."),
    }


def _gpt2_keys(shape: GPT2Shape) -> dict[str, Any]:
    return {
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_embd": shape.hidden_size,
        "n_inner": shape.intermediate_size,
        "n_positions": shape.positions or shape.max_model_len,
        "activation_function": shape.activation,
        "layer_norm_epsilon": shape.eps,
    }


def _llama_keys(shape: LlamaShape) -> dict[str, Any]:
    if shape.qk_norm:
        architecture, kind = "Qwen3ForCausalLM", "qwen3"
    elif shape.qkv_bias and not shape.out_bias:
        architecture, kind = "Qwen2ForCausalLM", "qwen2"
    else:
        architecture, kind = "LlamaForCausalLM", "llama"
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": shape.rope.theta}
    if shape.rope.scaling is not None:
        named = "linear" if isinstance(shape.rope.scaling, LinearScaling) else "llama3"
        rope |= {"rope_type": named, **asdict(shape.rope.scaling)}
    return {
        "architectures": [architecture],
        "model_type": kind,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "max_position_embeddings": shape.max_model_len,
        "hidden_act": "silu",
        "rms_norm_eps": shape.eps,
        "attention_bias": shape.out_bias,
        "mlp_bias": shape.mlp_bias,
        "rope_parameters": rope,
    }

"""A model's numbers out of a Hugging Face `config.json`, in the words of `[model]`.

The keys are those of transformers' configuration classes (src/transformers/models/*/configuration_*.py). An
architecture that is not known by name is read by the usual keys, or refused for the one that is missing. Parameters
are counted matrix by matrix; norms, biases and learned positions are left out, less than 1 % of any model.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from simcore.errors import InputError

MAX_BYTES = 2**24
"""A larger file is no configuration."""

WIDEST = 100_000_000
"""Channels of a state-space layer at most, as `state_width` has it."""

PLAIN_MLP = {
    "bloom", "codegen", "falcon", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gptj", "mpt", "nemotron",
    "nemotron_h", "opt", "phi", "starcoder2",
}  # fmt: skip
"""Model types whose feed-forward network has no gate."""
TIED = {
    "bloom", "cohere", "cohere2", "falcon", "gemma", "gemma2", "gemma3_text", "gpt2", "gpt_bigcode", "gpt_neo",
    "mamba", "mpt", "opt", "starcoder2",
}  # fmt: skip
"""Model types that share one embedding table unless they say otherwise."""
OMITTED: dict[str, dict[str, Any]] = {
    "gemma2": {"sliding_window": 4096, "sliding_window_pattern": 2},
    "gemma3_text": {
        "vocab_size": 262208, "max_position_embeddings": 131072, "num_attention_heads": 8, "num_key_value_heads": 4,
        "head_dim": 256, "sliding_window": 4096, "sliding_window_pattern": 6,
    },
}  # fmt: skip
"""What published files of a model type leave to the defaults of its class."""

DTYPE_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


def read_config(path: Path) -> dict[str, Any]:
    """The numbers of the model that a `config.json` describes, by their keys in `[model]`.

    Raises InputError if the file is unreadable, is no configuration, or describes what `[model]` cannot say.
    """
    config = _read(path)
    hidden_size = config.count("hidden_size", "n_embd", "d_model")
    vocab_size = config.count("vocab_size")
    tied = config.flag("tie_word_embeddings", config.type in TIED)
    numbers: dict[str, Any] = {
        "layers": config.count("num_hidden_layers", "n_layer", "n_layers", most=100_000),
        "hidden_size": hidden_size,
        "vocab_size": vocab_size,
        "tied_embeddings": tied,
        "gated_mlp": config.type not in PLAIN_MLP,
    }
    if positions := config.count("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", default=0):
        numbers["max_model_len"] = positions

    layers = _layers(config, numbers["layers"], positions)
    embeddings = vocab_size * hidden_size * (1 if tied else 2)
    matrices = experts = idle = 0
    states: dict[str, int] = {}
    if attention := sum(layer.attention for layer in layers):
        shape, parameters = _attention(config, hidden_size)
        numbers |= shape
        matrices += attention * parameters
    if state_space := sum(layer.state for layer in layers):
        states, parameters = _state_space(config, hidden_size)
        matrices += state_space * parameters
        numbers["intermediate_size"] = states["state_width"]
    if dense := sum(layer.mlp == "dense" for layer in layers):
        numbers["intermediate_size"] = config.count("intermediate_size", "ffn_dim", "n_inner", default=4 * hidden_size)
        matrices += dense * _mlp(config, hidden_size, numbers["intermediate_size"])
    if routed := sum(layer.mlp == "experts" for layer in layers):
        shape, shared = _experts(config, hidden_size)
        numbers |= shape
        expert = _mlp(config, hidden_size, shape["intermediate_size"])
        experts = routed * shape["experts"] * expert
        idle = routed * (shape["experts"] - shape["experts_per_token"]) * expert
        matrices += routed * shared
    numbers["parameters"] = embeddings + matrices + experts
    numbers["active_parameters"] = numbers["parameters"] - idle
    kept = sorted(Counter((layer.state, layer.window, layer.attention) for layer in layers).items())
    numbers["layer_groups"] = [
        {"layers": count, "window": window, "attention": attends} | (states if state else {})
        for (state, window, attends), count in kept
    ]
    return numbers | _formats(config, experts, matrices, embeddings)


@dataclass(frozen=True, slots=True)
class _Config:
    """A configuration's values, checked as they are read."""

    path: Path
    values: dict[str, Any]

    @property
    def type(self) -> str:
        return str(self.values.get("model_type", ""))

    @property
    def dtype(self) -> str:
        """The format that the weights were published in; float32 where the file does not say."""
        dtype = self.values.get("torch_dtype", self.values.get("dtype", "float32"))
        if not isinstance(dtype, str) or dtype not in DTYPE_BYTES:
            raise self.error(f"torch_dtype must be one of {', '.join(DTYPE_BYTES)}, not {_short(dtype)}")
        return dtype

    def error(self, problem: str) -> InputError:
        return InputError(f"{self.path}: {problem}")

    def count(self, *names: str, default: int | None = None, least: int = 1, most: int = 2**24) -> int:
        """The whole number under the first of these names that is there."""
        for name in names:
            if name in self.values:
                value = self.values[name]
                if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                    raise self.error(f"{name} must be a whole number from {least:,} to {most:,}, not {_short(value)}")
                return value
        if default is None:
            raise self.error(f"{names[0]} is missing, so this is no model that is known")
        return default

    def flag(self, name: str, default: bool = False) -> bool:
        value = self.values.get(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false, not {_short(value)}")
        return value

    def kinds(self, name: str, layers: int, known: Mapping[str, "_Layer"]) -> list["_Layer"]:
        """What a list, or a text of one letter a layer, says that each layer is."""
        given = self.values.get(name)
        if not isinstance(given, list | str) or len(given) != layers:
            raise self.error(f"{name} must have one entry for each of the {layers} layers")
        if unknown := [kind for kind in given if not isinstance(kind, str) or kind not in known]:
            raise self.error(f"{name} must hold {', '.join(known)} only, not {_short(unknown[0])}")
        return [known[kind] for kind in given]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:36]} ..."


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError where there is none."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_BYTES + 1)
        values = json.loads(text) if len(text) <= MAX_BYTES else None
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold one JSON object")
    return values


def _read(path: Path) -> _Config:
    values = read_json(path)
    for wrapper in ("text_config", "llm_config", "language_config"):  # of models that also see or hear
        if isinstance(values.get(wrapper), dict):
            values = values | values[wrapper]
    values = {name: value for name, value in values.items() if value is not None}
    if "ssm_cfg" in values:
        values |= _of_mamba_ssm(_Config(path, values))
    config = _Config(path, OMITTED.get(str(values.get("model_type", "")), {}) | values)
    if config.flag("is_encoder_decoder"):
        raise config.error("describes an encoder and a decoder; only decoders are known")
    return config


MAMBA_SSM = {
    "d_state": "state_size", "d_conv": "conv_kernel", "expand": "expand", "headdim": "head_dim", "ngroups": "n_groups",
}  # fmt: skip
"""What the authors of Mamba call it, and transformers."""


def _of_mamba_ssm(config: _Config) -> dict[str, Any]:
    """A file of Mamba's authors (https://github.com/state-spaces/mamba), as transformers would have it."""
    given = config.values["ssm_cfg"]
    if not isinstance(given, dict):
        raise config.error(f"ssm_cfg must be an object, not {_short(given)}")
    if config.values.get("attn_layer_idx"):
        raise config.error("attn_layer_idx names layers with attention among Mamba's, which cannot be read yet")
    rounded = config.count("pad_vocab_size_multiple", default=8)
    found = {"vocab_size": -(-config.count("vocab_size") // rounded) * rounded, "model_type": "mamba"}
    found["tie_word_embeddings"] = config.flag("tie_embeddings", True)
    if given.get("layer") == "Mamba2":
        found |= {"model_type": "mamba2", "head_dim": 64, "n_groups": 1}
    return found | {name: given[theirs] for theirs, name in MAMBA_SSM.items() if theirs in given}


class _Layer(NamedTuple):
    attention: bool = True
    window: int = 0
    state: bool = False
    mlp: Literal["dense", "experts", ""] = "dense"


def _layers(config: _Config, layers: int, positions: int) -> list[_Layer]:
    """What each layer is made of."""
    if config.type in ("mamba", "mamba2", "falcon_mamba"):
        return [_Layer(attention=False, state=True, mlp="")] * layers
    if config.type == "nemotron_h":
        kinds = {
            "M": _Layer(attention=False, state=True, mlp=""),
            "*": _Layer(mlp=""),
            "-": _Layer(attention=False),
            "E": _Layer(attention=False, mlp="experts"),
        }
        return config.kinds("hybrid_override_pattern", layers, kinds)
    routed = _routed(config, layers)
    return [
        mixer._replace(mlp="experts" if layer in routed else "dense")
        for layer, mixer in enumerate(_mixers(config, layers, positions))
    ]


def _mixers(config: _Config, layers: int, positions: int) -> list[_Layer]:
    """How the tokens of each layer meet: full attention, a window, a state."""
    full, state = _Layer(), _Layer(attention=False, state=True)
    if config.type == "falcon_h1":  # both, side by side
        return [_Layer(state=True)] * layers
    if config.type == "jamba":
        period = config.count("attn_layer_period", default=8)
        offset = config.count("attn_layer_offset", default=4, least=0)
        return [full if layer % period == offset else state for layer in range(layers)]
    if config.type == "bamba":
        attention = config.values.get("attn_layer_indices", [])
        if not isinstance(attention, list) or not set(map(str, attention)) <= set(map(str, range(layers))):
            raise config.error(f"attn_layer_indices must be a list of layers below {layers}, not {_short(attention)}")
        return [full if layer in attention else state for layer in range(layers)]
    window = config.count("sliding_window", default=0, least=0)
    if not config.flag("use_sliding_window", not config.type.startswith("qwen")) or window >= positions > 0:
        window = 0
    sliding = _Layer(window=window)
    kinds = {"full_attention": full, "attention": full, "sliding_attention": sliding, "mamba": state}
    for name in ("layer_types", "layers_block_type"):
        if name in config.values:
            return config.kinds(name, layers, kinds)
    pattern = config.count("sliding_window_pattern", default=layers + 1)
    first = config.count("max_window_layers", default=1) if config.type.startswith("qwen") else 0
    return [full if (layer + 1) % pattern == 0 or layer < first else sliding for layer in range(layers)]


def _routed(config: _Config, layers: int) -> set[int]:
    """The layers that have experts."""
    if config.count("num_local_experts", "num_experts", "n_routed_experts", default=0, least=0) < 2:
        return set()
    period = config.count(
        "expert_layer_period", "decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_freq", default=1
    )
    offset = config.count(
        "expert_layer_offset", default=0 if config.type.startswith("deepseek") else period - 1, least=0
    )
    first = config.count("first_k_dense_replace", default=0, least=0)
    dense = config.values.get("mlp_only_layers", [])
    if not isinstance(dense, list):
        raise config.error(f"mlp_only_layers must be a list, not {_short(dense)}")
    return {layer for layer in range(first, layers) if layer % period == offset % period and layer not in dense}


def _attention(config: _Config, hidden_size: int) -> tuple[dict[str, Any], int]:
    """The shape of an attention layer, and its parameters."""
    query_heads = config.count("num_attention_heads", "n_head", "n_heads")
    if latent := config.count("kv_lora_rank", default=0, least=0):
        rope = config.count("qk_rope_head_dim")
        key_dim, value_dim = config.count("qk_nope_head_dim"), config.count("v_head_dim")
        queries = query_heads * (key_dim + rope)
        if query_latent := config.count("q_lora_rank", default=0, least=0):
            parameters = query_latent * (hidden_size + queries)
        else:
            parameters = hidden_size * queries
        parameters += hidden_size * (latent + rope) + latent * query_heads * (key_dim + value_dim)
        parameters += query_heads * value_dim * hidden_size
        shape = {"kv_heads": query_heads, "head_dim": value_dim, "kv_lora_rank": latent, "rope_head_dim": rope}
    else:
        kv_heads = config.count("num_key_value_heads", "num_kv_heads", default=query_heads)
        if config.flag("multi_query") and not config.flag("new_decoder_architecture"):  # the first Falcon, StarCoder
            kv_heads = 1
        head_dim = config.count("head_dim", "attention_head_dim", default=max(hidden_size // query_heads, 1))
        parameters = hidden_size * head_dim * 2 * (query_heads + kv_heads)
        shape = {"kv_heads": kv_heads, "head_dim": head_dim}
    return shape | {"query_heads": query_heads}, parameters


def _state_space(config: _Config, hidden_size: int) -> tuple[dict[str, int], int]:
    """The shape of a state-space layer, as a group of layers has it, and its parameters."""
    convolution = config.count("conv_kernel", "mamba_d_conv", default=4, most=100_000)
    heads = config.count("mamba_num_heads", "mamba_n_heads", default=0)
    expanded = config.count("expand", "mamba_expand", default=2) * hidden_size
    if config.type == "mamba2":
        heads = config.count("num_heads", default=max(expanded // config.count("head_dim", default=64), 1))
    groups = 0
    if not heads:  # Mamba 1: https://arxiv.org/abs/2312.00752
        state = config.count("state_size", "mamba_d_state", default=16, most=1_000_000)
        width = config.count("intermediate_size", default=expanded) if config.type == "mamba" else expanded
        rank = -(-hidden_size // 16)
        parameters = 3 * hidden_size * width + width * (convolution + 2 * rank + 3 * state)
    else:  # Mamba 2: https://arxiv.org/abs/2405.21060
        state = config.count("ssm_state_size", "mamba_d_state", "state_size", default=128, most=1_000_000)
        groups = config.count("n_groups", "mamba_n_groups", default=1, most=100_000)
        width = heads * config.count("mamba_head_dim", "mamba_d_head", "head_dim", default=max(expanded // heads, 1))
        mixed = width + 2 * groups * state
        parameters = hidden_size * (2 * width + mixed + heads) + mixed * convolution
    if width > WIDEST:
        raise config.error(f"its state-space layers would have {width:,} channels, and at most {WIDEST:,} are known")
    shape = {"state_size": state, "state_width": width, "state_groups": groups, "conv_kernel": convolution}
    return shape, parameters


def _experts(config: _Config, hidden_size: int) -> tuple[dict[str, Any], int]:
    """The shape of a mixture of experts, and the parameters of what every token meets beside its experts."""
    width = config.count("moe_intermediate_size", "intermediate_size")
    shape = {
        "experts": config.count("num_local_experts", "num_experts", "n_routed_experts", most=10_000),
        "experts_per_token": config.count("num_experts_per_tok", "num_experts_per_token", "moe_top_k"),
        "intermediate_size": width,
    }
    shared = config.count(
        "shared_expert_intermediate_size",
        "moe_shared_expert_intermediate_size",
        default=config.count("n_shared_experts", default=0, least=0) * width,
        least=0,
    )
    return shape, _mlp(config, hidden_size, shared) + hidden_size * shape["experts"]


def _mlp(config: _Config, hidden_size: int, width: int) -> int:
    """Parameters of a feed-forward network."""
    return (2 if config.type in PLAIN_MLP else 3) * hidden_size * width


def _formats(config: _Config, experts: int, matrices: int, embeddings: int) -> dict[str, Any]:
    """The formats of weights and cache, and the bytes of quantized weights."""
    quantization = config.values.get("quantization_config", {})
    method = quantization.get("quant_method") if isinstance(quantization, dict) else quantization
    size = DTYPE_BYTES[config.dtype]
    match method:
        case None:
            return {"dtype": config.dtype}
        case "fp8":
            return {"dtype": "float8", "kv_dtype": config.dtype}
        case "mxfp4":  # the experts: 4 bits, and 8 bits of scale for every 32 weights
            return {"dtype": config.dtype, "weight_bytes": experts * 17 // 32 + (matrices + embeddings) * size}
        case "awq" | "gptq":  # all but the embeddings: a scale of 16 bits and a zero point for every group
            quantized = _Config(config.path, quantization)
            bits, group = quantized.count("bits"), quantized.count("group_size", default=128)
            stored = (experts + matrices) * (bits + (bits + 16) / group) / 8
            return {"dtype": config.dtype, "weight_bytes": round(stored) + embeddings * size}
    raise config.error(f"the quantization {_short(method)} is not known; fp8, mxfp4, awq and gptq are")

"""`[model]`: the shape of the model that is served, by preset, by a Hugging Face `config.json`, or by its numbers."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, NoReturn, Self, cast

from pydantic import Strict, field_validator, model_validator

from simcore.errors import InputError
from simcore.scenario.huggingface import read_config
from simcore.scenario.presets import ABOUT, read_preset
from simcore.schema import FilePath, Misfit, Section, key

Dtype = Literal["float16", "bfloat16", "float32", "float64", "float8"]
CacheDtype = Literal["float16", "bfloat16", "float32", "float64", "float8", "int4"]
DTYPE_BYTES: dict[CacheDtype, int] = {"float8": 1, "float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}

_SHORT = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "fp8": "float8"}
"""as servers' flags call formats"""

DEFAULT_PRESET = "tinyllama-1.1b"

_COUNTED = {"parameters", "active_parameters", "weight_bytes"}
"""Numbers that belong to a shape: those of a preset are dropped once a number of its shape is overridden."""
_SHAPELESS = _COUNTED | {"layer_groups", "max_model_len", "dtype", "kv_dtype"}
"""Numbers that can be overridden while the shape stays the preset's."""


STATE = -1
"""In place of a window: the layers keep a state of constant size, and a sequence has one block for them."""


class LayerGroup(Section):
    """Layers that keep the same of a sequence: keys and values of all its tokens or of the last ones, or a state."""

    layers: int = key(help="Layers in the group.", unit="layers", ge=1, le=100_000)
    window: int = key(
        0, help="The layers attend to this many last tokens; 0: to all of them.", unit="tokens", ge=0, le=2**31 - 1
    )
    attention: bool = key(True, help="The layers have attention and keep keys and values.")
    state_bytes: int = key(
        0,
        help="State of constant size that each of the layers keeps for a sequence, as state-space layers do; by "
        "default it follows from `state_size`.",
        unit="bytes",
        ge=0,
        le=2**53,
    )
    state_size: int = key(
        0,
        help="Numbers of state for each channel of a state-space layer (Mamba's d_state); 0: the layers have no state "
        "but what `state_bytes` says.",
        unit="elements",
        ge=0,
        le=1_000_000,
    )
    state_width: int = key(
        0,
        help="Channels of a state-space layer: expand x hidden_size, in Mamba-2 heads x their width; 0: twice "
        "hidden_size.",
        unit="elements",
        ge=0,
        le=100_000_000,
    )
    state_groups: int = key(
        0,
        help="Groups of heads of Mamba-2, whose inputs pass the convolution too (n_groups); 0: Mamba 1.",
        unit="groups",
        ge=0,
        le=100_000,
    )
    conv_kernel: int = key(
        4,
        help="Inputs that the convolution of a state-space layer sees (d_conv): all but the current one are kept.",
        unit="tokens",
        ge=1,
        le=100_000,
    )

    def state_elements(self, hidden_size: int) -> int:
        """Numbers that a state-space layer keeps of a sequence, as its shape has it: the state and the last inputs of
        the convolution. 0 without `state_size`, or where the width is not known.

        Mamba 1 (https://arxiv.org/abs/2312.00752): width x (state + kernel - 1). Mamba 2
        (https://arxiv.org/abs/2405.21060): width x state + (width + 2 x groups x state) x (kernel - 1).
        """
        if not self.state_size:
            return 0
        width = self.state_width or 2 * hidden_size
        mixed = width + 2 * self.state_groups * self.state_size
        return width * self.state_size + mixed * (self.conv_kernel - 1)


@dataclass(frozen=True, slots=True)
class Model:
    """Every number of a model. A number that is not known, or that the model has no use for, is 0."""

    name: str
    """the preset's, or `the model`"""
    layers: int
    layer_groups: tuple[LayerGroup, ...]
    """what the layers keep; together they are all layers"""
    query_heads: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    kv_lora_rank: int = 0
    """width of MLA's latent vector; 0: keys and values are kept as they are"""
    rope_head_dim: int = 0
    hidden_size: int = 0
    intermediate_size: int = 0
    """inside the feed-forward network, or one expert of it"""
    gated_mlp: bool = True
    vocab_size: int = 0
    tied_embeddings: bool = False
    experts: int = 0
    experts_per_token: int = 0
    max_model_len: int = 0
    """positions"""
    dtype: Dtype = "bfloat16"
    kv_dtype: CacheDtype = "bfloat16"
    parameters: float = 0
    active_parameters: float = 0
    weight_bytes: float = 0
    """of all weights as stored"""

    @property
    def attention_layers(self) -> int:
        """Layers that keep keys and values."""
        return sum(group.layers for group in self.layer_groups if group.attention)

    @property
    def state_bytes(self) -> int:
        """The state that a layer keeps of a sequence, of the layers with the largest one; 0: no layer has any."""
        return max((group.state_bytes for group in self.layer_groups), default=0)

    @property
    def table_layers(self) -> int:
        """Layers that share a block table, and whose part of a block's tokens, or states, is one block of the pool.

        As vLLM's kv_cache_planning.py (_get_kv_cache_groups_uniform_page_size): all layers, if they are alike.
        Otherwise as many as the rarest kind has, or as the most frequent one has where that is less than half as many
        again; so pages are equally large, and a kind that does not come out even leaves some of its last one empty.
        """
        layers = self.layers_by_kind.values()
        most, least = max(layers, default=0), min(layers, default=0)
        return most if most < 1.5 * least else least

    @property
    def windows(self) -> tuple[int, ...]:
        """The kind of each block table that a sequence has: the window, 0: full attention, or STATE; in the order of
        their first layers."""
        size, seen, windows = self.table_layers, dict[int, int](), list[int]()
        for kind, layers in self._kinds():
            before = seen.get(kind, 0)
            seen[kind] = before + layers
            windows += [kind] * (-(-seen[kind] // size) - -(-before // size))
        return tuple(windows)

    @property
    def layers_by_kind(self) -> dict[int, int]:
        """Layers of each kind: attention layers by their window, 0: full attention, and under STATE those with a
        state. Layers that have both count in both."""
        layers: dict[int, int] = {}
        for kind, count in self._kinds():
            layers[kind] = layers.get(kind, 0) + count
        return layers

    def _kinds(self) -> Iterator[tuple[int, int]]:
        for group in self.layer_groups:
            if group.attention:
                yield group.window, group.layers
            if group.state_bytes:
                yield STATE, group.layers

    def unsupported(self) -> str | None:
        """One sentence on what of this model cannot be simulated; its bytes can be computed all the same."""
        if not any(self._kinds()):
            return f"no layer of {self.name} keeps anything of a sequence, so there is nothing to simulate"
        return None


class ModelSection(Section):
    """A preset or a `config.json`, and numbers that win over it; or the numbers alone.

    The section stays as it was written, with the preset's canonical name; `resolve` looks the numbers up.
    """

    preset: str | None = key(
        None, help=f"Name or alias of a known model; {DEFAULT_PRESET} where neither a config nor a shape is given."
    )
    config: FilePath | None = key(None, help="A `config.json` as published on Hugging Face.")
    layers: int | None = key(None, help="Layers of the model.", unit="layers", ge=1, le=100_000)
    query_heads: int | None = key(None, help="Query heads of an attention layer.", unit="heads", ge=1, le=1_000_000)
    kv_heads: int | None = key(
        None,
        help="Key and value heads of an attention layer, by default one per query head; 1 is multi-query, anything "
        "between is grouped-query attention.",
        unit="heads",
        ge=1,
        le=1_000_000,
    )
    head_dim: int | None = key(
        None, help="Width of one head, by default hidden_size / query_heads.", unit="elements", ge=1, le=1_000_000
    )
    kv_lora_rank: int | None = key(
        None,
        help="Width of the latent vector that multi-head latent attention (MLA) keeps per token and layer in place of "
        "keys and values; 0: no MLA.",
        unit="elements",
        ge=0,
        le=1_000_000,
    )
    rope_head_dim: int | None = key(
        None,
        help="Width of the rotated key that MLA keeps beside the latent vector.",
        unit="elements",
        ge=0,
        le=1_000_000,
    )
    hidden_size: int | None = key(
        None, help="Width of the hidden state between the layers.", unit="elements", ge=1, le=10_000_000
    )
    intermediate_size: int | None = key(
        None,
        help="Width inside the feed-forward network, or inside one expert of it; where there is none, inside the "
        "state-space layers.",
        unit="elements",
        ge=1,
        le=100_000_000,
    )
    gated_mlp: bool | None = key(
        None, help="The feed-forward network has a gate: three matrices, not two; true by default."
    )
    vocab_size: int | None = key(None, help="Tokens in the vocabulary.", unit="tokens", ge=1, le=100_000_000)
    tied_embeddings: bool | None = key(None, help="One embedding table is both input and output; false by default.")
    experts: int | None = key(
        None, help="Experts that a layer chooses from; 0: no mixture of experts.", unit="experts", ge=0, le=10_000
    )
    experts_per_token: int | None = key(
        None, help="Experts that a layer sends a token to.", unit="experts", ge=1, le=10_000
    )
    layer_groups: Annotated[tuple[LayerGroup, ...], Strict(False)] | None = key(
        None, help="Which layers keep what of a sequence; by default all have full attention."
    )
    max_model_len: int | None = key(
        None, help="The longest sequence that the model was made for.", unit="tokens", ge=1, le=2**31 - 1
    )
    dtype: Dtype | None = key(None, help="Format of the weights and the arithmetic; bfloat16 by default.")
    kv_dtype: CacheDtype | None = key(
        None,
        help="Format of the keys and values in the cache; `dtype` by default. int4 has, besides, a scale and a zero "
        "point of 16 bits each for every token's key and value of a head.",
    )
    parameters: float | None = key(
        None,
        help="Weights of the model; by default counted from the shape, norms and biases left out.",
        unit="parameters",
        ge=1,
        le=1e15,
    )
    active_parameters: float | None = key(
        None,
        help="Weights that one token meets: in a mixture of experts fewer than `parameters`.",
        unit="parameters",
        ge=1,
        le=1e15,
    )
    weight_bytes: float | None = key(
        None,
        help="Bytes of all weights as they are stored, by default `parameters` in `dtype`; give it for quantized ones.",
        unit="bytes",
        ge=1,
        le=1e16,
    )

    @model_validator(mode="before")
    @classmethod
    def _default(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.keys() <= _SHAPELESS:
            return {"preset": DEFAULT_PRESET, **data}
        return data

    @field_validator("preset")
    @classmethod
    def _canonical(cls, preset: str | None) -> str | None:
        return None if preset is None else str(read_preset("models", preset)["name"])

    @field_validator("dtype", "kv_dtype", mode="before")
    @classmethod
    def _spelled_out(cls, dtype: Any) -> Any:
        return _SHORT.get(dtype, dtype) if isinstance(dtype, str) else dtype

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.preset is not None and self.config is not None:
            raise Misfit(self, {"config": "model.preset is given already; leave one of them out"})
        self.resolve()
        return self

    def resolve(self) -> Model:
        """Every number: as given, else as the preset or the `config.json` has it, else as it follows from the others.

        Raises InputError where a number is missing or the `config.json` is unusable, Misfit where numbers contradict
        each other.
        """
        numbers = self._numbers()
        heads = numbers.setdefault("query_heads", 0)
        numbers.setdefault("kv_heads", heads)
        numbers.setdefault("head_dim", numbers.get("hidden_size", 0) // heads if heads else 0)
        numbers.setdefault("kv_dtype", numbers.setdefault("dtype", "bfloat16"))
        groups = tuple(LayerGroup.model_validate(group) for group in numbers.pop("layer_groups", ()))
        layers = numbers.setdefault("layers", sum(group.layers for group in groups))
        if layers and not groups:
            groups = (LayerGroup(layers=layers),)
        number = max(DTYPE_BYTES[cast(Dtype, numbers["dtype"])], 2)  # float8 is a format of matrices
        groups = tuple(
            group.model_copy(update={"state_bytes": elements * number})
            if (elements := group.state_elements(numbers.get("hidden_size", 0))) and not group.state_bytes
            else group
            for group in groups
        )
        model = Model(name=self.preset or "the model", layer_groups=groups, **numbers)
        self._check(model)
        parameters = model.parameters or _matrices(model)
        return replace(
            model,
            parameters=parameters,
            active_parameters=model.active_parameters or max(parameters - _idle_experts(model), 0),
            weight_bytes=model.weight_bytes or parameters * DTYPE_BYTES[model.dtype],
        )

    def _numbers(self) -> dict[str, Any]:
        """The numbers of the section over those that it refers to."""
        given = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        given.pop("preset", None)
        given.pop("config", None)
        base: dict[str, Any] = {}
        if self.preset is not None:
            preset = read_preset("models", self.preset)
            base = {name: value for name, value in preset.items() if name not in ABOUT}
        elif self.config is not None:
            base = read_config(self.config)
        if any(base.get(name) != value for name, value in given.items() if name not in _SHAPELESS):
            base = {name: value for name, value in base.items() if name not in _COUNTED}
        return base | given

    def _check(self, model: Model) -> None:
        required = {"layers": model.layers}
        if model.attention_layers:
            required |= {"query_heads": model.query_heads, "head_dim": model.head_dim}
        if any(group.state_size and not group.state_width for group in model.layer_groups):
            required["hidden_size"] = model.hidden_size
        for name, number in required.items():
            if not number:
                raise InputError(f"{name} is missing: without a preset or a config it has to be given")
        grouped = sum(group.layers for group in model.layer_groups)
        if grouped != model.layers:
            self._refuse(f"model.layer_groups has {grouped} layers, not {model.layers}", "layers", "layer_groups")
        if model.kv_heads and model.query_heads % model.kv_heads:
            problem = f"{model.query_heads} query heads cannot share {model.kv_heads} KV heads evenly"
            self._refuse(problem, "kv_heads", "query_heads")
        if model.experts and not 0 < model.experts_per_token <= model.experts:
            problem = f"model.experts_per_token must be from 1 to {model.experts}, not {model.experts_per_token}"
            self._refuse(problem, "experts_per_token", "experts")
        if model.active_parameters > model.parameters > 0:
            problem = f"model.parameters is {model.parameters:,.0f}, and those active are some of them"
            self._refuse(problem, "active_parameters", "parameters")

    def _refuse(self, problem: str, *names: str) -> NoReturn:
        """Tell a problem of the first of these keys that was given, or of the file that the numbers come from."""
        given = [name for name in names if getattr(self, name) is not None]
        raise Misfit(self, {given[0]: problem}) if given else InputError(f"{self.config}: {problem}")


def _matrices(model: Model) -> float:
    """Parameters of a transformer's matrices; 0 where the shape does not tell (MLA, state-space layers).

    Norms and biases are left out: less than 0.2 % of any model here. Learned positions too: 0.6 % of GPT-2 small.
    """
    known = model.hidden_size and model.intermediate_size and model.vocab_size
    if not known or model.kv_lora_rank or model.attention_layers < model.layers:
        return 0
    attention = model.hidden_size * model.head_dim * 2 * (model.query_heads + model.kv_heads)
    embeddings = model.vocab_size * model.hidden_size * (1 if model.tied_embeddings else 2)
    return model.layers * (attention + max(model.experts, 1) * _mlp(model)) + embeddings


def _idle_experts(model: Model) -> float:
    """Parameters of the experts that one token does not meet."""
    return model.layers * (model.experts - model.experts_per_token) * _mlp(model)


def _mlp(model: Model) -> int:
    """Parameters of one layer's feed-forward network, or of one expert of it."""
    return (3 if model.gated_mlp else 2) * model.hidden_size * model.intermediate_size

"""The Llama family: Llama 2 and 3, Mistral, Qwen2, Qwen2.5 and Qwen3."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.attention.base import Attend
from engine.models.base import CausalLM
from engine.models.rope import Rotary, rotate
from engine.models.shape import LlamaShape


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """https://arxiv.org/abs/1910.07467 over the last dimension: normed in float32 whatever the format, then weighted.

    As transformers' LlamaRMSNorm, which rounds to the format before the weight, and narrows float64 to float32.
    """
    if x.dtype is torch.float32 and weight.dim() == 1:
        return functional.rms_norm(x, weight.shape, weight, eps)
    normed = functional.rms_norm(x.float() if x.dtype is torch.float64 else x, x.shape[-1:], None, eps)
    return weight * normed.to(x.dtype)


class RMSNorm(nn.Module):
    """See `rms_norm`."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


class Layer(nn.Module):
    """Attention, then a gated feed-forward network."""

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__()
        self.shape = shape
        self.turned = shape.heads + shape.kv_heads  # heads of q and k, which are rotated together
        query, both = shape.heads * shape.head_dim, (self.turned + shape.kv_heads) * shape.head_dim
        self.attention_norm = RMSNorm(shape.hidden_size, shape.eps)
        self.qkv = nn.Linear(shape.hidden_size, both, bias=shape.qkv_bias)
        if shape.qk_norm:
            self.q_norm = RMSNorm(shape.head_dim, shape.eps)
            self.k_norm = RMSNorm(shape.head_dim, shape.eps)
        self.out = nn.Linear(query, shape.hidden_size, bias=shape.out_bias)
        self.mlp_norm = RMSNorm(shape.hidden_size, shape.eps)
        self.gate_up = nn.Linear(shape.hidden_size, 2 * shape.intermediate_size, bias=shape.mlp_bias)
        self.down = nn.Linear(shape.intermediate_size, shape.hidden_size, bias=shape.mlp_bias)

    def forward(
        self, x: Tensor, layer: int, rotation: tuple[Tensor, Tensor], attend: Attend, wanted: Tensor | None
    ) -> Tensor:
        """x [tokens, hidden_size] -> [tokens or wanted, hidden_size]."""
        heads, turned = self.shape.heads, self.turned
        qkv = self.qkv(self.attention_norm(x)).unflatten(1, (-1, self.shape.head_dim))
        qk = qkv[:, :turned]
        if self.shape.qk_norm:
            weights = (self.q_norm.weight.expand(heads, -1), self.k_norm.weight.expand(turned - heads, -1))
            qk = rms_norm(qk, torch.cat(weights), self.shape.eps)
        qk = rotate(qk, rotation)
        attended = attend(layer, qk[:, :heads], qk[:, heads:], qkv[:, turned:]).flatten(1)
        if wanted is not None:
            x, attended = x[wanted], attended[wanted]
        x = x + self.out(attended)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, -1)
        down: Tensor = self.down(functional.silu(gate) * up)
        return x + down


class Llama(CausalLM):
    """See `LlamaShape` for what differs between its members."""

    shape: LlamaShape
    PREFIX = "model."
    PUBLISHED: ClassVar = {
        "embed": ("model.embed_tokens",),
        "attention_norm": ("model.layers.{}.input_layernorm",),
        "qkv": tuple(f"model.layers.{{}}.self_attn.{part}_proj" for part in "qkv"),
        "q_norm": ("model.layers.{}.self_attn.q_norm",),
        "k_norm": ("model.layers.{}.self_attn.k_norm",),
        "out": ("model.layers.{}.self_attn.o_proj",),
        "mlp_norm": ("model.layers.{}.post_attention_layernorm",),
        "gate_up": ("model.layers.{}.mlp.gate_proj", "model.layers.{}.mlp.up_proj"),
        "down": ("model.layers.{}.mlp.down_proj",),
        "norm": ("model.norm",),
        "head": ("lm_head",),
    }

    def __init__(self, shape: LlamaShape) -> None:
        super().__init__(shape)
        self.rotary = Rotary(shape.rope, shape.head_dim)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = RMSNorm(shape.hidden_size, shape.eps)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None = None) -> Tensor:
        x = self.embed(tokens)
        rotation = self.rotary(positions, x.dtype)
        last = self.shape.layers - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, number, rotation, attend, wanted if number == last else None)
        return self._logits(self.norm(x))

    def _rows(self, module: str, rows: int) -> list[int]:
        if module != "qkv":
            return super()._rows(module, rows)
        query, key = self.shape.heads * self.shape.head_dim, self.shape.kv_heads * self.shape.head_dim
        return [query, key, key]

"""The numbers of a model that runs."""

from dataclasses import dataclass
from typing import Literal

import torch

from engine.models.rope import Rope


@dataclass(frozen=True, kw_only=True)
class ModelShape:
    """What all families have in common: how large everything is, and in which format it is computed."""

    layers: int
    heads: int
    """query heads of a layer"""
    kv_heads: int
    """key and value heads of a layer: heads / kv_heads query heads share one"""
    head_dim: int
    hidden_size: int
    intermediate_size: int
    """inside the feed-forward network"""
    vocab_size: int
    max_model_len: int
    """positions, in tokens"""
    tied: bool
    """the embedding table is the head too"""
    eps: float
    """what norms add to the variance"""
    dtype: torch.dtype
    """of weights, arithmetic and cache"""

    @property
    def token_bytes(self) -> int:
        """What all layers keep of one token: a key and a value for each KV head."""
        return self.layers * 2 * self.kv_heads * self.head_dim * self.dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class GPT2Shape(ModelShape):
    """https://github.com/openai/gpt-2: learned positions, LayerNorm, biases everywhere."""

    positions: int = 0
    """rows of the table of learned positions; 0: max_model_len"""
    activation: Literal["gelu", "gelu_new", "relu"] = "gelu_new"


@dataclass(frozen=True, kw_only=True)
class LlamaShape(ModelShape):
    """https://arxiv.org/abs/2302.13971 and its descendants: rotated keys, RMSNorm, a gate."""

    rope: Rope
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    """each head of q and k is normed before it is rotated (Qwen3)"""
    window: int = 0
    """the last tokens that the model was made to attend to; it never acts, being no shorter than max_model_len"""

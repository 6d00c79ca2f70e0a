"""The small models that come with the product: one design, and three ways to share keys and values among heads."""

import torch

from engine.models import LlamaShape, Rope

LAYERS, HIDDEN, HEADS, HEAD_DIM = 4, 128, 8, 32
CONTEXT = 1024
"""tokens"""

VARIANTS = {"mha": (8, 256), "gqa": (2, 384), "mqa": (1, 408)}
"""KV heads, and the width of the feed-forward network, which gets the parameters that K and V leave over."""


def small_shape(variant: str, vocab_size: int) -> LlamaShape:
    """The shape of a variant: a Llama (https://arxiv.org/abs/2307.09288) of about a million parameters.

    Multi-head attention, grouped-query attention (https://arxiv.org/abs/2305.13245) or multi-query attention
    (https://arxiv.org/abs/1911.02150). Some of each head's pairs turn so slowly (theta = 100,000) that keys can be
    told apart by content over the whole context.
    """
    kv_heads, width = VARIANTS[variant]
    return LlamaShape(
        layers=LAYERS,
        heads=HEADS,
        kv_heads=kv_heads,
        head_dim=HEAD_DIM,
        hidden_size=HIDDEN,
        intermediate_size=width,
        vocab_size=vocab_size,
        max_model_len=CONTEXT,
        tied=True,
        eps=1e-5,
        dtype=torch.float32,
        rope=Rope(100_000.0),
    )

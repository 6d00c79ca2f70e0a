"""Rotary position embeddings (https://arxiv.org/abs/2104.09864): a head's two halves are rotated against each other."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Llama3Scaling:
    """Slow frequencies are divided by `factor`, fast ones kept, those between interpolated (Llama 3.1).

    https://github.com/meta-llama/llama-models/blob/main/models/llama3/model.py, apply_scaling
    """

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_position_embeddings: int
    """tokens that the model had seen at most before it was stretched"""

    def __call__(self, frequencies: Tensor) -> Tensor:
        turns = self.original_max_position_embeddings / (2 * math.pi / frequencies)
        smooth = (turns - self.low_freq_factor) / (self.high_freq_factor - self.low_freq_factor)
        slow, fast = turns < self.low_freq_factor, turns > self.high_freq_factor
        between = (1 - smooth) * frequencies / self.factor + smooth * frequencies
        return torch.where(slow, frequencies / self.factor, torch.where(fast, frequencies, between))


@dataclass(frozen=True, slots=True)
class LinearScaling:
    """All positions are divided by `factor`: https://arxiv.org/abs/2306.15595."""

    factor: float

    def __call__(self, frequencies: Tensor) -> Tensor:
        return frequencies / self.factor


@dataclass(frozen=True, slots=True)
class Rope:
    """How fast each pair of elements turns."""

    theta: float
    """base of the wavelengths"""
    scaling: Llama3Scaling | LinearScaling | None = None

    def frequencies(self, head_dim: int) -> Tensor:
        """[head_dim / 2] float32: radians per position."""
        exponents = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu") / head_dim
        frequencies = 1.0 / (self.theta**exponents)
        return frequencies if self.scaling is None else self.scaling(frequencies)


class Rotary(nn.Module):
    """The rotation of each position, computed once a step for all layers and heads."""

    frequencies: Tensor

    def __init__(self, rope: Rope, head_dim: int) -> None:
        super().__init__()
        self.rope = rope
        self.head_dim = head_dim
        self.register_buffer("frequencies", rope.frequencies(head_dim), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Rotary":
        """Go to another device, but stay float32 in a model of any format: a position has more digits than half has."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self.frequencies = self.rope.frequencies(self.head_dim).to(self.frequencies.device)
        return self

    def forward(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosine and signed sine [tokens, 1, head_dim] of the angles at positions [tokens], computed in float32."""
        angles = positions[:, None, None].float() * self.frequencies
        cos, sin = angles.cos(), angles.sin()
        return torch.cat((cos, cos), -1).to(dtype), torch.cat((-sin, sin), -1).to(dtype)


def rotate(x: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate heads x [tokens, heads, head_dim]: (a, b) becomes (a cos - b sin, b cos + a sin)."""
    cos, sin = rotation
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)

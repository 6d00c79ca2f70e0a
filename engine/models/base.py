"""What every model is: tokens and positions in, logits out, attention left to somebody else."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from engine.attention.base import Attend
from engine.models.shape import ModelShape


class Source(NamedTuple):
    """A tensor of a published checkpoint that becomes rows of a parameter here."""

    name: str
    rows: int
    transposed: bool = False
    """published as [in, out]"""


class CausalLM(nn.Module, ABC):
    """A decoder. It knows its tokens and their positions, but neither sequences nor pages: `attend` does.

    Matrices that are applied to the same input are one parameter (q, k and v; gate and up); `sources` tells how they
    are published.
    """

    PREFIX: ClassVar[str]
    """What the published names begin with, unless the head was left out"""
    PUBLISHED: ClassVar[dict[str, tuple[str, ...]]]
    """The published names of what each module here is made of, {} standing for the layer"""
    TRANSPOSED: ClassVar[frozenset[str]] = frozenset()
    """Modules whose matrices are published as [in, out]"""

    def __init__(self, shape: ModelShape) -> None:
        super().__init__()
        self.shape = shape
        self.embed = nn.Embedding(shape.vocab_size, shape.hidden_size)
        if not shape.tied:
            self.head = nn.Linear(shape.hidden_size, shape.vocab_size, bias=False)

    @abstractmethod
    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None = None) -> Tensor:
        """Logits [wanted, vocab_size] of what follows the tokens whose indices are in `wanted` (None: all, in order).

        tokens, positions: [tokens] int64. Other tokens leave the last layer once their keys and values are stored.
        """

    def sources(self) -> dict[str, list[Source]]:
        """Where the rows of each parameter come from, in order, by the parameter's name."""
        found = {}
        for name, parameter in self.named_parameters():
            *layer, module, kind = name.split(".")
            published = [f"{place.format(*layer[1:])}.{kind}" for place in self.PUBLISHED[module]]
            transposed = kind == "weight" and module in self.TRANSPOSED
            rows = self._rows(module, len(parameter))
            found[name] = [Source(place, count, transposed) for place, count in zip(published, rows, strict=True)]
        return found

    def _rows(self, module: str, rows: int) -> list[int]:
        """How the rows of a module's parameters are split among what it is made of."""
        parts = len(self.PUBLISHED[module])
        return [rows // parts] * parts

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Random weights to train from, as GPT-2's: normal(0, 0.02), less in what is added to the residual stream."""
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
                continue
            added = name.endswith(("out.weight", "down.weight"))
            std = 0.02 / (2 * self.shape.layers) ** 0.5 if added else 0.02
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * std)

    def _logits(self, hidden: Tensor) -> Tensor:
        return functional.linear(hidden, self.embed.weight if self.shape.tied else self.head.weight)

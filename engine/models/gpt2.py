"""GPT-2."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from engine.attention.base import Attend
from engine.models.base import CausalLM
from engine.models.shape import GPT2Shape


class Layer(nn.Module):
    """Attention, then a feed-forward network."""

    def __init__(self, shape: GPT2Shape) -> None:
        super().__init__()
        self.shape = shape
        self.attention_norm = nn.LayerNorm(shape.hidden_size, shape.eps)
        self.qkv = nn.Linear(shape.hidden_size, 3 * shape.hidden_size)
        self.out = nn.Linear(shape.hidden_size, shape.hidden_size)
        self.mlp_norm = nn.LayerNorm(shape.hidden_size, shape.eps)
        self.up = nn.Linear(shape.hidden_size, shape.intermediate_size)
        self.down = nn.Linear(shape.intermediate_size, shape.hidden_size)

    def forward(self, x: Tensor, layer: int, attend: Attend, wanted: Tensor | None) -> Tensor:
        """x [tokens, hidden_size] -> [tokens or wanted, hidden_size]."""
        q, k, v = self.qkv(self.attention_norm(x)).view(len(x), 3, self.shape.heads, self.shape.head_dim).unbind(1)
        attended = attend(layer, q, k, v).flatten(1)
        if wanted is not None:
            x, attended = x[wanted], attended[wanted]
        x = x + self.out(attended)
        down: Tensor = self.down(self._activate(self.up(self.mlp_norm(x))))
        return x + down

    def _activate(self, x: Tensor) -> Tensor:
        match self.shape.activation:
            case "relu":
                return functional.relu(x)
            case "gelu":
                return functional.gelu(x)
            case "gelu_new":
                return functional.gelu(x, approximate="tanh")


class GPT2(CausalLM):
    """See `GPT2Shape`."""

    shape: GPT2Shape
    PREFIX = "transformer."
    PUBLISHED: ClassVar = {
        "embed": ("transformer.wte",),
        "places": ("transformer.wpe",),
        "attention_norm": ("transformer.h.{}.ln_1",),
        "qkv": ("transformer.h.{}.attn.c_attn",),
        "out": ("transformer.h.{}.attn.c_proj",),
        "mlp_norm": ("transformer.h.{}.ln_2",),
        "up": ("transformer.h.{}.mlp.c_fc",),
        "down": ("transformer.h.{}.mlp.c_proj",),
        "norm": ("transformer.ln_f",),
        "head": ("lm_head",),
    }
    TRANSPOSED = frozenset({"qkv", "out", "up", "down"})

    def __init__(self, shape: GPT2Shape) -> None:
        super().__init__(shape)
        self.places = nn.Embedding(shape.positions or shape.max_model_len, shape.hidden_size)
        self.layers = nn.ModuleList(Layer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.hidden_size, shape.eps)

    def forward(self, tokens: Tensor, positions: Tensor, attend: Attend, wanted: Tensor | None = None) -> Tensor:
        x = self.embed(tokens) + self.places(positions)
        last = self.shape.layers - 1
        for number, layer in enumerate(self.layers):
            x = layer(x, number, attend, wanted if number == last else None)
        return self._logits(self.norm(x))

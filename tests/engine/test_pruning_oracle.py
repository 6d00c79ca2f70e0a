"""Each pruning policy keeps the very tokens that other implementations keep: of a prompt, and during an answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.models import CausalLM, LlamaShape, Rope, build
from simcore.policies.pruning import (
    H2O,
    TOVA,
    ChunkKV,
    CurDKV,
    KeyDiff,
    KeyNorm,
    LagKV,
    ObservedAttention,
    Pruning,
    SnapKV,
    StreamingLLM,
    ValueOverKey,
    View,
    keep_highest,
)

DATA = Path(__file__).parents[1] / "data" / "pruning"
PREFILL = json.loads((DATA / "prefill.json").read_text())
DECODE = json.loads((DATA / "decode.json").read_text())
SHAPE = LlamaShape(
    layers=4,
    heads=4,
    kv_heads=2,
    head_dim=16,
    hidden_size=64,
    intermediate_size=128,
    vocab_size=500,
    max_model_len=2048,
    tied=False,
    eps=1e-6,
    dtype=torch.float32,
    rope=Rope(1e4),
)
TOKENS, BUDGET, PAGE = 192, 64, 16
PROMPT = torch.from_numpy(np.random.default_rng(99).integers(0, SHAPE.vocab_size, TOKENS))

KEPT: dict[str, Pruning] = {
    "streaming_llm": StreamingLLM(sinks=4),
    "sliding_window": StreamingLLM(sinks=0),
    "knorm": KeyNorm(),
    "keydiff": KeyDiff(),
    "tova": TOVA(recent=1),
    "snapkv_default": SnapKV(window=64),
    "snapkv_w16_k5": SnapKV(window=16),
    "pyramidkv_w16_b20": SnapKV(window=16),
    "pyramidkv_w8_b4": SnapKV(window=8),
    "adakv_snapkv": SnapKV(window=16),
    "lagkv_l32": LagKV(lag=32),
    "chunkkv_snapkv_c16": ChunkKV(window=16, chunk=16),
    "chunkkv_snapkv_c20": ChunkKV(window=16, chunk=20),
    "observed_attention_h2o": ObservedAttention(),
    "cur": CurDKV(),
    "kvcf_streaming_llm": StreamingLLM(sinks=4),
    "kvcf_l2norm": KeyNorm(),
    "kvcf_snapkv_avg": SnapKV(window=16),
    "kvcf_snapkv_max7": SnapKV(window=16, kernel=7, pooling="max"),
    "kvcf_pyramidkv_b20": SnapKV(window=16),
    "kvcf_adakv_avg": SnapKV(window=16),
}
"""PyramidKV and AdaKV give layers and heads budgets of their own, which are recorded; their scores are SnapKV's."""
POOLED_MAXIMA = "kvcf_snapkv_max7"
"""Neighbours share a maximum, and which of them their code takes is left open: only the scores can be compared."""

As = Callable[[Tensor], Any]
BOTH = pytest.mark.parametrize("as_array", [Tensor.numpy, Tensor.clone], ids=["numpy", "torch"])


class Cache:
    """What is stored of one sequence, layer by layer, in tensors without pages."""

    def __init__(self) -> None:
        none = torch.zeros(SHAPE.kv_heads, 0, SHAPE.head_dim)
        self.keys, self.values = [none] * SHAPE.layers, [none] * SHAPE.layers
        self.positions = [torch.zeros(SHAPE.kv_heads, 0, dtype=torch.int64)] * SHAPE.layers
        self.attended = [torch.zeros(SHAPE.kv_heads, 0)] * SHAPE.layers
        self.queries = [torch.zeros(SHAPE.heads, 0, SHAPE.head_dim)] * SHAPE.layers
        self.tokens = 0

    def step(self, model: CausalLM, tokens: Tensor) -> int:
        """The likeliest token after some more."""
        positions = torch.arange(self.tokens, self.tokens + len(tokens))

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            new = positions.expand(SHAPE.kv_heads, -1)
            for stored, more in (
                (self.keys, k.transpose(0, 1)),
                (self.values, v.transpose(0, 1)),
                (self.positions, new),
                (self.attended, torch.zeros(new.shape)),
                (self.queries, q.transpose(0, 1)),
            ):
                stored[layer] = torch.cat([stored[layer], more], 1)
            weights = self.view(layer, len(tokens)).weights()
            self.attended[layer] += weights.sum((1, 2))
            return (weights @ self.values[layer][:, None]).flatten(0, 1).transpose(0, 1)

        with torch.inference_mode():
            logits = model(tokens, positions, attend, torch.tensor([len(tokens) - 1]))
        self.tokens += len(tokens)
        return int(logits.argmax())

    def view(self, layer: int, window: int, keep: int | None = None, as_array: As = Tensor.clone) -> View:
        stored = (self.positions, self.keys, self.values)
        arrays = [as_array(each[layer].contiguous()) for each in stored]
        queries = self.queries[layer][:, self.queries[layer].shape[1] - window :]
        return View(layer, SHAPE.layers, *arrays, as_array(queries.contiguous()), as_array(self.attended[layer]), keep)

    def retain(self, layer: int, places: Any) -> None:
        at = torch.as_tensor(places)
        for stored in (self.positions, self.attended):
            stored[layer] = stored[layer].gather(1, at)
        for stored in (self.keys, self.values):
            stored[layer] = stored[layer].gather(1, at[:, :, None].expand(-1, -1, SHAPE.head_dim))


@pytest.fixture(scope="module")
def model() -> CausalLM:
    """All weights from one stream of NumPy, in the order of their published names."""
    made = build(SHAPE)
    sources = [(source.name, source.rows, name) for name, each in made.sources().items() for source in each]
    random, weights = np.random.default_rng(1234), {}
    for name, rows, parameter in sorted(sources):
        if made.get_parameter(parameter).dim() == 1:
            weights[name] = torch.ones(rows)
            continue
        columns = made.get_parameter(parameter).shape[1]
        scale = 1.0 if "embed" in name else (2.0 if "q_proj" in name or "k_proj" in name else 1.0) / columns**0.5
        weights[name] = torch.from_numpy(random.standard_normal((rows, columns)).astype(np.float32) * np.float32(scale))
    with torch.no_grad():
        for parameter, each in made.sources().items():
            made.get_parameter(parameter).copy_(torch.cat([weights[source.name] for source in each]))
    return made


@pytest.fixture(scope="module")
def prompt(model: CausalLM) -> Cache:
    """After the prompt; not to be pruned."""
    cache = Cache()
    cache.step(model, PROMPT)
    return cache


def positions(recorded: str) -> list[int]:
    """From the number that stands for them."""
    bits = int(recorded, 16)
    return [place for place in range(bits.bit_length()) if bits >> place & 1]


@BOTH
@pytest.mark.parametrize("name", KEPT)
def test_the_same_tokens_of_a_prompt(name: str, as_array: As, prompt: Cache) -> None:
    policy = KEPT[name]
    for recorded in PREFILL[name].values():
        for layer, heads in enumerate(recorded):
            for head, theirs in enumerate(map(positions, heads)):
                scores = policy.score(prompt.view(layer, policy.window, len(theirs), as_array))
                ours = keep_highest(scores, len(theirs))[head].tolist()
                if name == POOLED_MAXIMA:
                    ours, theirs = (sorted(scores[head][kept].tolist()) for kept in (ours, theirs))
                assert ours == theirs


@BOTH
def test_h2o_keeps_as_many_newest_as_it_is_told(as_array: As, prompt: Cache) -> None:
    for count, recorded in PREFILL["kvcf_h2o"].items():
        policy = H2O(recent=16 / int(count))
        for layer, heads in enumerate(recorded):
            kept = keep_highest(policy.score(prompt.view(layer, 0, int(count), as_array)), int(count))
            assert kept.tolist() == list(map(positions, heads))


@BOTH
def test_key_diff_block_by_block(as_array: As, prompt: Cache) -> None:
    """As the paper has it: the prompt is pruned whenever another 64 tokens of it are stored."""
    for ratio, recorded in PREFILL["block_keydiff_b64"].items():
        count = int(TOKENS * (1 - float(ratio)))
        for layer, heads in enumerate(recorded):
            kept = torch.arange(count).expand(SHAPE.kv_heads, -1)
            for first in range(count, TOKENS, 64):
                new = torch.arange(first, min(first + 64, TOKENS)).expand(SHAPE.kv_heads, -1)
                kept = torch.cat([kept, new], 1)
                keys = prompt.keys[layer].gather(1, kept[:, :, None].expand(-1, -1, SHAPE.head_dim))
                scores = KeyDiff().score(View(layer, SHAPE.layers, as_array(kept), as_array(keys)))
                kept = kept.gather(1, torch.as_tensor(keep_highest(scores, count)))
            assert kept.tolist() == list(map(positions, heads))


def by_token(policy: Pruning) -> Callable[[Cache, int, As], None]:
    def prune(cache: Cache, layer: int, as_array: As) -> None:
        cache.retain(layer, keep_highest(policy.score(cache.view(layer, policy.window, BUDGET, as_array)), BUDGET))

    return prune


def by_page(cache: Cache, layer: int, as_array: As) -> None:
    """The prompt token by token; then, when another page is full, one of those before it."""
    tokens = cache.positions[layer].shape[1]
    if tokens > BUDGET + PAGE:
        by_token(ValueOverKey())(cache, layer, as_array)
    elif tokens == BUDGET + PAGE:
        scores = ValueOverKey().score(cache.view(layer, 0, BUDGET, as_array))
        pages = torch.tensor(scores.tolist()).unflatten(1, (-1, PAGE)).mean(2)
        pages[:, -1] = torch.inf
        kept = keep_highest(pages, BUDGET // PAGE)
        cache.retain(layer, (kept[:, :, None] * PAGE + torch.arange(PAGE)).flatten(1))


RULES = {
    "streaming": by_token(StreamingLLM(sinks=4)),
    "h2o": by_token(H2O(recent=0.5)),
    "tova": by_token(TOVA()),
    "knorm": by_token(KeyNorm(recent=8)),
    "paged_vk": by_page,
}


@BOTH
@pytest.mark.parametrize("name", DECODE)
def test_the_same_tokens_during_an_answer(name: str, as_array: As, model: CausalLM) -> None:
    recorded, prune, cache = DECODE[name], RULES[name], Cache()
    answer = [cache.step(model, PROMPT)]
    for step, expected in enumerate([*recorded["tokens"][1:], None]):
        for layer in range(SHAPE.layers):
            prune(cache, layer, as_array)
        if str(step) in recorded["kept"]:
            theirs = [list(map(positions, heads)) for heads in recorded["kept"][str(step)]]
            assert [each.tolist() for each in cache.positions] == theirs, step
        if expected is not None:
            answer.append(cache.step(model, torch.tensor(answer[-1:])))
    assert answer == recorded["tokens"]

"""Pruning: what dropping tokens from a cache frees in pages, and what it costs in answers.

A small model reads a prompt, each head forgets some of its tokens, and what follows is computed without them. Whoever
prunes decides by how the prompt's last tokens looked at the others, or by nothing. Pages are counted, not moved: a page
is free when all who share its table have dropped all of its tokens.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax
from torch.nn.functional import scaled_dot_product_attention as sdpa

from engine.attention.dense import causal
from engine.checkpoint import Checkpoint
from engine.labs.accuracy import LONGEST, exam, expect_room
from engine.labs.progress import Progress, silent
from engine.labs.tasks import Document
from engine.labs.tokenizer import encode
from simcore.errors import InputError

Kept = NDArray[np.bool_]
"""[layers, kv_heads, tokens] whether a head keeps a token."""

Scores = NDArray[np.float64]
"""[layers, kv_heads, tokens] how much attention a token gets."""

EVERYTHING = "all tokens"

SINKS = 4
"""First tokens that `ends` keeps: https://arxiv.org/abs/2309.17453."""
RECENT = 16
"""Last tokens that judge the others, and stay."""
EXAMPLE = 256
"""About as many tokens has the prompt that is shown."""
PAGE = 16
"""Tokens of a page that is kept or dropped as a whole."""


def anything(scores: Scores, count: int) -> Kept:
    """Any tokens, others in each head."""
    return _highest(np.random.default_rng(0).random(scores.shape), count)


def ends(scores: Scores, count: int) -> Kept:
    """The first tokens and the last ones, as StreamingLLM does: https://arxiv.org/abs/2309.17453."""
    kept = np.zeros(scores.shape, np.bool_)
    first = min(SINKS, count)
    kept[..., :first] = True
    kept[..., scores.shape[-1] - (count - first) :] = True
    return kept


def own(scores: Scores, count: int) -> Kept:
    """Each head what it looks at itself, as SnapKV does: https://arxiv.org/abs/2404.14469."""
    return _highest(_with_recent(scores), count)


def common(scores: Scores, count: int) -> Kept:
    """All heads the same: what they look at on average."""
    mean = np.broadcast_to(scores.mean((0, 1)), scores.shape)
    return _highest(_with_recent(mean), count)


def pages(scores: Scores, count: int) -> Kept:
    """The same in all heads, in whole pages: https://arxiv.org/abs/2509.04377. The last page stays."""
    tokens = scores.shape[-1]
    starts = np.arange(0, tokens, PAGE)
    each = np.add.reduceat(scores.mean((0, 1)), starts)
    each[-1] = np.inf
    sizes = np.diff(np.append(starts, tokens))
    order = np.argsort(-each, kind="stable")
    chosen = order[np.cumsum(sizes[order]) <= max(count, sizes[-1])]
    kept = np.repeat(np.isin(np.arange(len(starts)), chosen), sizes)
    return np.broadcast_to(kept, scores.shape)


WAYS: dict[str, Callable[[Scores, int], Kept]] = {
    "random": anything,
    "first and last": ends,
    "each head its own": own,
    "all heads the same": common,
    "whole pages": pages,
}
"""How to choose the tokens that stay, by their scores and how many they may be."""


def _highest(scores: Scores, count: int) -> Kept:
    kept = np.zeros(scores.shape, np.bool_)
    np.put_along_axis(kept, np.argsort(-scores, axis=-1, kind="stable")[..., :count], True, axis=-1)
    return kept


def _with_recent(scores: Scores) -> Scores:
    scores = scores.copy()
    scores[..., -RECENT:] = np.inf
    return scores


@dataclass(frozen=True, slots=True)
class Freed:
    """Shares of the pages, from 0 to 1, by who shares a table: the mean of the tables."""

    head: float
    """each head of each layer has one of its own"""
    layer: float
    """one a layer"""
    one: float
    """one for all layers and heads, as vLLM has it"""
    compacted: float
    """a table a head, after what stays has been moved together"""


def freed(kept: Kept, block: int) -> Freed:
    """The pages of `block` tokens that hold nothing any more."""
    tokens = kept.shape[-1]
    total = math.ceil(tokens / block)
    used = np.logical_or.reduceat(kept, np.arange(0, tokens, block), axis=-1)  # [layers, kv_heads, pages]
    dense = np.ceil(kept.sum(-1) / block)
    return Freed(
        1 - float(used.mean()),
        1 - float(used.any(1).mean()),
        1 - float(used.any((0, 1)).mean()),
        1 - float(dense.mean()) / total,
    )


@dataclass(frozen=True, slots=True)
class Pruned:
    """What one way to prune does."""

    way: str
    keep: float
    """share of the tokens that stay"""
    freed: dict[int, Freed]
    """by tokens of a block: the mean of the prompts"""
    right: dict[str, float]
    """share of right answers by task"""
    divergence: float
    """nats: KL divergence of the next token's probabilities from those with the whole cache, mean over the answers"""
    example: Kept
    """what one of the prompts keeps"""


def prune(
    loaded: Checkpoint,
    *,
    keeps: Sequence[float] = (0.75, 0.5, 0.25),
    blocks: Sequence[int] = (1, 8, 16, 32),
    documents: int = 8,
    progress: Progress = silent,
) -> Iterator[Pruned]:
    """All tokens first, then each way with each share of them. Raises InputError."""
    if loaded.tokenizer is None:
        raise InputError(f"{loaded.folder}: has no tokenizer, so that nothing can be asked")
    asked = exam(documents, min(loaded.shape.max_model_len, LONGEST))
    cases = [(way, keep) for way in WAYS for keep in keeps]
    sums = {case: _Sum() for case in [(EVERYTHING, 1.0), *cases]}
    for number, document in enumerate(asked):
        progress(number / len(asked), document.task)
        prompt = Prompt(loaded, document)
        sums[EVERYTHING, 1.0].add(prompt, np.ones(prompt.scores.shape, np.bool_), prompt.whole, blocks)
        for way, keep in cases:
            kept = WAYS[way](prompt.scores, max(round(keep * prompt.tokens), 1))
            sums[way, keep].add(prompt, kept, prompt.without(kept), blocks)
    for (way, keep), each in sums.items():
        yield each.result(way, keep)


class Prompt:
    """The context of a document, and what is asked about it afterwards."""

    def __init__(self, loaded: Checkpoint, document: Document) -> None:
        """Reads all of it once, with the whole cache. Raises InputError where the model is too small for it."""
        assert loaded.tokenizer is not None
        asked = encode(loaded.tokenizer, [document])[0]
        expect_room(loaded.model, len(asked.ids), int(asked.ids.max()))
        self.task = document.task
        self.answers = asked.answers
        self.tokens = len(loaded.tokenizer.encode(document.context).ids)
        """of the prompt"""
        self._model = loaded.model
        self._ids = torch.from_numpy(asked.ids)
        self._wanted = torch.cat([torch.arange(each.start - 1, each.stop - 1) for each in self.answers])
        shape = loaded.shape
        self.scores: Scores = np.zeros((shape.layers, shape.kv_heads, self.tokens))
        self.whole = self._run(self._look)
        """logits [tokens of the answers, vocab_size], each where its token comes next"""

    def without(self, kept: Kept) -> Tensor:
        """The same with what is kept of the prompt, for all that comes after it."""
        stays = torch.from_numpy(kept.copy())

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            at = self.tokens
            later, total = len(q) - at, len(q)
            seen = torch.ones(later, total, dtype=torch.bool).tril(at).expand(k.shape[1], -1, -1).clone()
            seen[:, :, :at] &= stays[layer][:, None]
            group = q.shape[1] // k.shape[1]
            mask = seen.repeat_interleave(group, 0)
            keys, values = (x.repeat_interleave(group, 1).transpose(0, 1) for x in (k, v))
            before = causal(*(x[None, :at] for x in (q, k, v)))[0]
            after = sdpa(q[at:].transpose(0, 1), keys, values, attn_mask=mask).transpose(0, 1)
            return torch.cat([before, after])

        return self._run(attend)

    @torch.inference_mode()
    def _run(self, attend: Callable[[int, Tensor, Tensor, Tensor], Tensor]) -> Tensor:
        logits: Tensor = self._model(self._ids, torch.arange(len(self._ids)), attend, self._wanted)
        return logits

    def _look(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention to all, and how the prompt's last tokens share theirs."""
        first = max(self.tokens - RECENT, 0)
        keys = k[: self.tokens].repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = torch.einsum("qhd,khd->hqk", q[first : self.tokens], keys) / q.shape[-1] ** 0.5
        seen = torch.ones(scores.shape[1:], dtype=torch.bool).tril(first)
        weights = scores.masked_fill(~seen, float("-inf")).softmax(-1).mean(1)
        self.scores[layer] = weights.view(k.shape[1], -1, self.tokens).mean(1).numpy()
        return causal(q[None], k[None], v[None])[0]

    def right(self, logits: Tensor) -> list[bool]:
        """For each answer, whether each of its tokens is the likeliest one."""
        good = logits.argmax(-1) == self._ids[self._wanted + 1]
        lengths = [each.stop - each.start for each in self.answers]
        return [bool(each.all()) for each in torch.split(good, lengths)]

    def divergence(self, logits: Tensor) -> float:
        """nats: see `Pruned`."""
        ours, whole = log_softmax(logits.double(), -1), log_softmax(self.whole.double(), -1)
        return float(kl_div(ours, whole, log_target=True, reduction="none").sum(-1).mean())


class _Sum:
    """What one way to prune did so far."""

    def __init__(self) -> None:
        self.freed: dict[int, list[Freed]] = {}
        self.right: dict[str, list[bool]] = {}
        self.divergences: list[float] = []
        self.kept: list[Kept] = []

    def add(self, prompt: Prompt, kept: Kept, logits: Tensor, blocks: Sequence[int]) -> None:
        """One more prompt."""
        for block in blocks:
            self.freed.setdefault(block, []).append(freed(kept, block))
        self.right.setdefault(prompt.task, []).extend(prompt.right(logits))
        self.divergences.append(prompt.divergence(logits))
        self.kept.append(kept)

    def result(self, way: str, keep: float) -> Pruned:
        """The means."""
        shares = {
            block: Freed(*np.mean([astuple(each) for each in all], axis=0).tolist())
            for block, all in self.freed.items()
        }
        right = {task: float(np.mean(each)) for task, each in self.right.items()}
        example = min(self.kept, key=lambda kept: abs(kept.shape[-1] - EXAMPLE))
        return Pruned(way, keep, shares, right, float(np.mean(self.divergences)), example)

"""Answers to one prompt, token by token, over pages: which token lies where, and how much each page is looked at."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from torch import Tensor

from engine.attention import Attend, PagedAttention
from engine.batch import Batch
from engine.checkpoint import TOKENIZER, Checkpoint
from engine.kv_cache import KVCache
from engine.sampling import Sampler, Sampling
from simcore.errors import InputError
from simcore.geometry import as_binary
from simcore.memory.pool import BlockPool
from simcore.policies.eviction import LRU

MAX_TOKENS = 64
"""Of an answer, unless more are asked for."""
CHUNK = 2048
"""Tokens of a prompt that go through the model at once: bounds what a step needs besides the cache."""

Ending = Literal["", "end of sequence", "max tokens"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """A token that went through the model, and the place of its keys and values."""

    sample: int
    """whose token it is; those of the prompt are all samples'"""
    id: int
    page: int
    """which of the sequence's pages, from 0"""
    block: int
    """of the pool"""
    offset: int
    """in the block"""
    opened: bool
    """the page is new: all before it are full"""
    copied: int
    """the block was copied from this one, which other samples hold too; 0: it was not"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """The token that follows."""

    sample: int
    id: int
    text: str
    """what it adds to the answer: nothing, as long as it is part of a letter"""
    ended: Ending


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the model over all samples that have not ended."""

    pushed: list[Pushed]
    drawn: list[Drawn]
    """one a sample; none as long as the prompt goes on"""
    attention: list[list[float]]
    """of each row's last token: how much of its attention each page gets; empty if it was not asked for"""


@dataclass(slots=True)
class Sample:
    """One answer, and what is stored of it."""

    table: list[int] = field(default_factory=list)
    """its block table"""
    stored: int = 0
    """tokens of prompt and answer whose keys and values are kept: of the last one drawn they are not yet known"""
    answer: list[int] = field(default_factory=list)
    ended: Ending = ""


class Generation:
    """Samples that answer one prompt. They share its pages; who writes into a shared one takes a copy first.

    Iterating over it generates.
    """

    def __init__(
        self,
        loaded: Checkpoint,
        prompt: str,
        *,
        sampling: Sampling | None = None,
        samples: int = 1,
        max_tokens: int | None = None,
        block_size: int = 16,
        watch: bool = False,
    ) -> None:
        """Raises InputError where the prompt, or what is asked for, does not fit the model.

        max_tokens: of each answer, by default MAX_TOKENS, or as many as the model has room for. watch: tell where
        attention goes, in the last layer.
        """
        self.loaded, self._model = loaded, loaded.model
        self._sampler = Sampler(sampling)
        if samples > 1 and self._sampler.sampling.greedy:
            raise InputError(f"samples is {samples}, but without a temperature all of them would be the same")
        self.tokenizer = _tokenizer(loaded)
        self.prompt = _encode(prompt, self.tokenizer, loaded)
        self.max_tokens = _fit(len(self.prompt), max_tokens, loaded.shape.max_model_len)
        self.samples = [Sample()]
        """one as long as the prompt is read, then all"""
        self._count = samples
        self._streams = [DecodeStream(ids=self.prompt, skip_special_tokens=True) for _ in range(samples)]
        self._watch = watch

        shape = loaded.shape
        self.block_size = block_size
        self.block_bytes = block_size * shape.token_bytes
        self.contiguous_bytes = samples * shape.max_model_len * shape.token_bytes
        """what it would take to reserve all positions of the model for each sample"""
        shared = len(self.prompt) // block_size
        longest = -(-(len(self.prompt) + self.max_tokens) // block_size)
        blocks = 1 + shared + samples * (longest - shared)
        self._pool = BlockPool(blocks, LRU())
        self._device = loaded.model.embed.weight.device
        try:
            self._cache = KVCache(
                shape.layers, blocks, block_size, shape.kv_heads, shape.head_dim, shape.dtype, self._device
            )
        except RuntimeError:  # torch says so where memory is missing
            raise InputError(
                f"up to {blocks:,} pages of {block_size} tokens take {as_binary(blocks * self.block_bytes)}, more than "
                "there is; ask for fewer tokens"
            ) from None

    @property
    def pages(self) -> int:
        """Blocks in use, each counted once."""
        return self._pool.blocks - 1 - self._pool.free

    @property
    def tokens(self) -> int:
        """Tokens that are stored, those in shared blocks counted once."""
        size = self.block_size
        filled: dict[int, int] = {}
        for sample in self.samples:
            for page, block in enumerate(sample.table):
                filled[block] = max(filled.get(block, 0), min(sample.stored - page * size, size))
        return sum(filled.values())

    def text(self, sample: int) -> str:
        """The answer of a sample so far."""
        return str(self.tokenizer.decode([id for id in self.samples[sample].answer if id not in self.loaded.eos]))

    def __iter__(self) -> Iterator[Step]:
        first = self.samples[0]
        while first.stored < len(self.prompt):
            yield self._step([0], [self.prompt[first.stored : first.stored + CHUNK]])
        while live := [number for number, sample in enumerate(self.samples) if not sample.ended]:
            yield self._step(live, [self.samples[number].answer[-1:] for number in live])

    @torch.inference_mode()
    def _step(self, live: Sequence[int], new: Sequence[Sequence[int]]) -> Step:
        """Push new tokens of some samples through the model, and draw what follows."""
        starts = [self.samples[number].stored for number in live]
        counts = [len(ids) for ids in new]
        pushed = [token for number, ids in zip(live, new, strict=True) for token in self._place(number, ids)]
        tables = [self.samples[number].table for number in live]
        batch = Batch.of(tables, starts, counts, [token.id for token in pushed], self.block_size, self._device)
        attend = _Watched(PagedAttention(self._cache, batch), self.loaded.shape.layers - 1)
        last = batch.cu_q[1:].long() - 1
        logits = self._model(batch.tokens, batch.positions, attend, last)
        attention = []
        if self._watch:
            rows = zip(attend.q[last], tables, batch.ends, strict=True)
            attention = [page_shares(self._cache, attend.layer, q, table, end) for q, table, end in rows]
        return Step(pushed, self._draw(live, logits), attention)

    def _place(self, number: int, ids: Sequence[int]) -> Iterator[Pushed]:
        """Find room for a sample's new tokens: on its last page, a copy of it if others hold it too, or a new one."""
        sample, pool = self.samples[number], self._pool
        for id in ids:
            page, offset = divmod(sample.stored, self.block_size)
            opened, copied = page == len(sample.table), 0
            if opened:
                sample.table += pool.take(1, number)
            elif pool.holders(sample.table[page]) > 1:
                copied = sample.table[page]
                sample.table[page] = pool.copy(copied, number)
                self._cache.copy([copied], [sample.table[page]])
            sample.stored += 1
            yield Pushed(number, id, page, sample.table[page], offset, opened, copied)

    def _draw(self, live: Sequence[int], logits: Tensor) -> list[Drawn]:
        """Draw the next token of each sample by its logits; after the prompt, of all samples by the same ones."""
        first = self.samples[0]
        if first.stored < len(self.prompt):
            return []
        if first.stored == len(self.prompt) and not first.answer:
            for number in range(1, self._count):
                self._pool.fork(first.table, number)
                self.samples.append(Sample(first.table.copy(), first.stored))
            live, logits = range(self._count), logits.expand(self._count, -1)
        positions = [self.samples[number].stored for number in live]
        ids = self._sampler(logits, live, positions).tolist()
        return [self._append(number, id) for number, id in zip(live, ids, strict=True)]

    def _append(self, number: int, id: int) -> Drawn:
        sample = self.samples[number]
        sample.answer.append(id)
        if id in self.loaded.eos:
            sample.ended = "end of sequence"
            return Drawn(number, id, "", sample.ended)
        if len(sample.answer) == self.max_tokens:
            sample.ended = "max tokens"
        return Drawn(number, id, self._streams[number].step(self.tokenizer, id) or "", sample.ended)


class _Watched:
    """Attention that keeps the queries of one layer, to be looked at."""

    q: Tensor

    def __init__(self, attend: Attend, layer: int) -> None:
        self.attend = attend
        self.layer = layer

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if layer == self.layer:
            self.q = q
        return self.attend(layer, q, k, v)


def page_shares(cache: KVCache, layer: int, q: Tensor, table: Sequence[int], length: int) -> list[float]:
    """How much of a query's attention in a layer each page of its sequence gets, averaged over heads; the sum is 1.

    q [heads, head_dim], which looks at the first `length` tokens of the table.
    """
    size = cache.block_size
    keys = cache.data[layer, 0, torch.tensor(table, device=q.device)].flatten(0, 1)[:length]
    grouped = q.view(keys.shape[1], -1, q.shape[-1])  # [kv_heads, group, head_dim]
    scores = torch.einsum("hgd,thd->hgt", grouped.double(), keys.double()) / math.sqrt(q.shape[-1])
    weights = scores.softmax(-1).mean((0, 1))
    return [part.sum().item() for part in torch.split(weights, size)]


def _tokenizer(loaded: Checkpoint) -> Tokenizer:
    if loaded.tokenizer is None:
        raise InputError(f"{loaded.folder}: has no {TOKENIZER}, so the model cannot read text")
    return loaded.tokenizer


def _encode(prompt: str, tokenizer: Tokenizer, loaded: Checkpoint) -> list[int]:
    """The prompt's tokens, with those that the tokenizer begins every text with."""
    ids: list[int] = tokenizer.encode(prompt).ids if prompt else []
    if not ids:
        raise InputError("the prompt is empty, so there is nothing to go on from")
    if max(ids) >= loaded.shape.vocab_size:
        raise InputError(
            f"{loaded.folder / TOKENIZER}: makes {max(ids)} of a part of the prompt, but the model has tokens up to "
            f"{loaded.shape.vocab_size - 1}"
        )
    return ids


def _fit(prompt: int, max_tokens: int | None, max_model_len: int) -> int:
    """The tokens that an answer may have after a prompt of so many."""
    room = max_model_len - prompt
    if room < 1:
        raise InputError(
            f"the prompt has {prompt:,} tokens, but the model takes {max_model_len:,} with the answer; shorten it"
        )
    if max_tokens is None:
        return min(MAX_TOKENS, room)
    if not 1 <= max_tokens <= room:
        raise InputError(
            f"max-tokens is {max_tokens:,}, but must be from 1 to {room:,}, the room that is left after a prompt of "
            f"{prompt:,} tokens"
        )
    return max_tokens

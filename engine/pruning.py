"""Pruning on tensors: what a policy is shown of each sequence, and what its choice does to keys and values.

Each head of each layer drops tokens of its own, but all of a sequence keep equally many. What stays is packed into the
first slots of the sequence's table, in the order of its positions. So attention needs not know of it: a pruned sequence
is a shorter one, whose new tokens have positions beyond its slots. Keys were rotated where they stood, and stay so.

What is seen of a sequence are the queries that it computed itself. Those of tokens that were found in the prefix cache
were another's, and are not computed again.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import torch
from torch import Tensor
from torch.nn.functional import pad

from engine.attention import Attend
from engine.attention.dense import CHUNK
from engine.attention.gather import row_slots
from engine.batch import Batch
from engine.kv_cache import KVCache
from simcore.errors import InputError
from simcore.policies.pruning import Pruning, View, keep_highest
from simcore.schema import shown
from simcore.serving.plan import Keep, Seq


@dataclass(slots=True)
class Memory:
    """What is remembered of a sequence so that it can be pruned."""

    until: float
    """a policy is shown the queries of tokens before this position"""
    kept: Tensor
    """[layers, kv_heads, tokens] int64: the positions that were kept when it was last pruned; none: it never was"""
    attended: Tensor | None
    """[layers, kv_heads, stored]: see `View.attended`"""
    queries: deque[Tensor] = field(default_factory=deque)
    """[layers, tokens, heads, head_dim] each, of a step: together the policy's window, and no step more"""
    dropped: int = 0
    """tokens that it has lost so far: its slots are its positions less these"""

    def positions(self, stored: int) -> Tensor:
        """[layers, kv_heads, stored] int64: where in the text each stored token stands."""
        later = torch.arange(self.kept.shape[-1], stored, device=self.kept.device) + self.dropped
        return torch.cat((self.kept, later.expand(*self.kept.shape[:2], -1)), -1)


class Pruner:
    """Carries out what plans say of pruning, for all sequences of an executor."""

    def __init__(self, policy: Pruning, cache: KVCache, heads: int, *, outputs: bool) -> None:
        """`heads`: query heads; `outputs`: sequences may be pruned while they decode, not after their prompts alone."""
        self.memories: dict[Seq, Memory] = {}
        """of the sequences that have a table"""
        self._policy = policy
        self._cache = cache
        self._heads = heads
        self._outputs = outputs
        if not isinstance(policy.window, int) or policy.window < 0:
            raise InputError(
                f"pruning policy {policy.name}: its window is {shown(policy.window)}, but must be a whole number, "
                "at least 0 (tokens)"
            )
        self._looks = policy.window > 0 or policy.sums_attention

    def open(self, seq: Seq, computed: int, known: int) -> None:
        """A sequence is new or back, with so many tokens that are computed already out of those that are known."""
        layers, _, _, _, kv_heads, _ = self._cache.data.shape
        kept = torch.empty(layers, kv_heads, 0, dtype=torch.int64, device=self._cache.data.device)
        attended = None
        if self._policy.sums_attention:
            precision = torch.promote_types(self._cache.dtype, torch.float32)
            attended = kept.new_zeros(layers, kv_heads, computed, dtype=precision)
        self.memories[seq] = Memory(math.inf if self._outputs else known, kept, attended)

    def close(self, seq: Seq) -> None:
        """A sequence has ended, or given way: when it is back, it has all its tokens again."""
        del self.memories[seq]

    def put_off(self, seqs: Sequence[Seq]) -> None:
        """These are pruned later than they were to be: what they compute until then counts too."""
        for seq in seqs:
            self.memories[seq].until = math.inf

    def slots(self, seqs: Sequence[Seq], positions: Sequence[int]) -> list[int]:
        """In which slot of its table the token at a position is, for each of some sequences."""
        return [position - self.memories[seq].dropped for seq, position in zip(seqs, positions, strict=True)]

    def watches(self, seqs: Sequence[Seq], starts: Sequence[int]) -> list[int]:
        """Which rows of a step, whose new tokens begin at these positions, are to be watched."""
        if not self._looks:
            return []
        return [row for row, seq in enumerate(seqs) if starts[row] < self.memories[seq].until]

    def watch(self, attend: Attend, batch: Batch, seqs: Sequence[Seq], rows: Sequence[int]) -> Attend:
        """Attention of a step that remembers what it must of some of its rows."""
        if not rows:
            return attend
        memories = [self.memories[seqs[row]] for row in rows]
        edges = [0, *accumulate(batch.counts)]
        spans = [slice(edges[row], edges[row + 1]) for row in rows]
        watched = _Watched(attend, self._cache)
        if self._policy.window:
            watched.tails, watched.queries = self._remember(memories, spans)
        if self._policy.sums_attention:
            for memory, row, span in zip(memories, rows, spans, strict=True):
                assert memory.attended is not None
                memory.attended = pad(memory.attended, (0, batch.counts[row]))
                slots, _ = row_slots(batch, [row], batch.ends[row])
                watched.sums.append((memory.attended, span, slots[0]))
        return watched

    def _remember(self, memories: Sequence[Memory], spans: Sequence[slice]) -> tuple[Tensor, Tensor]:
        """Which tokens' queries go where: [tails] int64 and [layers, tails, heads, head_dim], a part for each memory.

        Whatever the window has passed is forgotten.
        """
        data, window = self._cache.data, self._policy.window
        tails = [torch.arange(max(span.start, span.stop - window), span.stop) for span in spans]
        sizes = [len(tail) for tail in tails]
        queries = data.new_empty(data.shape[0], sum(sizes), self._heads, data.shape[-1])
        for memory, own in zip(memories, torch.split(queries, sizes, 1), strict=True):
            memory.queries.append(own)
            total = sum(each.shape[1] for each in memory.queries)
            while total - memory.queries[0].shape[1] >= window:
                total -= memory.queries.popleft().shape[1]
        return torch.cat(tails).to(data.device), queries

    def prune(self, keep: Keep, table: Sequence[int], stored: int) -> None:
        """A sequence whose first `stored` slots of a table are written keeps some of them, in its new table.

        Raises InputError where a policy's scores are not a number for each token.
        """
        memory, tokens = self.memories[keep.seq], keep.tokens
        positions = memory.positions(stored)
        queries = torch.cat(tuple(memory.queries), 1)[:, -self._policy.window :] if memory.queries else None
        slots = self._cache.slots_of(table)[:stored]
        chosen = []
        for layer, where in enumerate(positions):
            keys, values = self._cache.layer(layer)[:, slots].transpose(1, 2)
            view = View(
                layer=layer,
                layers=len(positions),
                positions=where.clone(),  # what is remembered is not for others to write to
                keys=keys,
                values=values,
                queries=None if queries is None else queries[layer].transpose(0, 1),
                attended=None if memory.attended is None else memory.attended[layer].clone(),
                keep=tokens,
            )
            scores = self._policy.score(view)
            if problem := _problem(scores, view):
                raise InputError(
                    f"pruning policy {self._policy.name}: a score for each stored token of each head is wanted, "
                    f"{list(where.shape)} of them, but {problem}"
                )
            chosen.append(keep_highest(scores, tokens))
        places = torch.stack(chosen)
        self._cache.compact(table, keep.table, places)
        memory.kept = positions.gather(-1, places)
        memory.dropped += stored - tokens
        if memory.attended is not None:
            memory.attended = memory.attended.gather(-1, places)
        if not self._outputs:  # nobody will ask again
            memory.until, memory.attended = 0, None
            memory.queries.clear()


def _problem(scores: object, view: View) -> str:
    """What is wrong with a policy's scores, as a sentence ends; empty: nothing.

    Where it was shown what is no number already, so may they be: that is not the policy's doing.
    """
    if not isinstance(scores, Tensor):
        return f"it gave {type(scores).__module__}.{type(scores).__name__}".replace("builtins.", "")
    if scores.shape != view.positions.shape:
        return f"it gave {list(scores.shape)}"
    given = (each for each in (view.keys, view.values, view.queries, view.attended) if each is not None)
    if scores.is_complex() or (scores.isnan().any() and not any(each.isnan().any() for each in given)):
        return "some that it gave are no real numbers"
    return ""


class _Watched:
    """Attention of a step, and what is remembered of it. See `Attend`."""

    tails: Tensor | None = None
    """[tails] int64: the tokens of the step whose queries are remembered"""
    queries: Tensor
    """[layers, tails, heads, head_dim]"""

    def __init__(self, attend: Attend, cache: KVCache) -> None:
        self._attend = attend
        self._cache = cache
        self.sums: list[tuple[Tensor, slice, Tensor]] = []
        """of each row: what its tokens have been paid [layers, kv_heads, stored], its new ones, and its slots"""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = self._attend(layer, q, k, v)
        if self.tails is not None:
            self.queries[layer] = q[self.tails]
        for attended, span, slots in self.sums:
            attended[layer] += paid(q[span], self._cache.layer(layer)[0, slots])
        return out


def paid(q: Tensor, k: Tensor) -> Tensor:
    """[kv_heads, tokens]: the attention that a sequence's last tokens pay each, summed over them and the query heads.

    q [new, heads, head_dim]; k [tokens, kv_heads, head_dim], those of the new tokens last. Half precision is summed in
    float32.
    """
    new, tokens, kv_heads = len(q), len(k), k.shape[1]
    precision = torch.promote_types(q.dtype, torch.float32)
    q = (q.to(precision) * q.shape[-1] ** -0.5).unflatten(1, (kv_heads, -1)).permute(1, 2, 0, 3)
    k = k.to(precision).permute(1, 2, 0)[:, None]
    places = torch.arange(tokens, device=q.device)
    total = torch.zeros(kv_heads, tokens, dtype=precision, device=q.device)
    for first in range(0, new, CHUNK):
        scores = q[:, :, first : first + CHUNK] @ k  # [kv_heads, group, queries, tokens]
        unseen = places > places[tokens - new + first :][: scores.shape[2], None]
        total += scores.masked_fill_(unseen, float("-inf")).softmax(-1).sum((1, 2))
    return total

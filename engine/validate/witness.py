"""What the engine shows of itself, step by step, without asking the scheduler or the pool.

Counting blocks with the same code on both sides would prove nothing. So what is counted here is what is there: slots
whose numbers are no longer NaN, tokens that came in at the model's door, blocks that the engine's own tables list, and
what each slot was written for.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engine.batch import Batch
from engine.executor import Branch, EngineExecutor
from engine.kv_cache import KVCache
from simcore.memory.base import MoveKind
from simcore.record.rows import Rows
from simcore.serving.plan import Seq, StepPlan

COLUMNS = (
    "step",
    "blocks_used",
    "tokens_stored",
    "numbers_stored",
    "tokens_pushed",
    "slots_written",
    "slots_overwritten",
    "hit_tokens",
    "copies",
    "swaps_out",
    "swaps_in",
    "strange_slots",
    "nan_logits",
)
"""blocks_used: listed by some table, or about to be by that of a sequence that is pruned after the step. tokens_stored:
slots of these blocks with numbers in every layer; numbers_stored: those numbers. tokens_pushed: that came in at the
model's door. slots_written: that held nothing before the step and hold a token after it; slots_overwritten: that held
one before. hit_tokens: of sequences that are new or back, those before the first token that they pushed which were not
fetched from the host. copies, swaps_out, swaps_in: blocks that were moved, counted where tensors are. strange_slots:
that a row looked at, though they were written for another position or another token, or hold what was kept of another
sequence."""

PRUNING_COLUMNS = ("step", "known", "left", "lost")
"""known: tokens that the sequence had when it was admitted. left: slots of its table with numbers in every layer, after
it was pruned; lost: by how many these are fewer than before."""


@dataclass(slots=True)
class Life:
    """What a branch is told between its admission and its end, or the moment when it has to give way."""

    first: int
    """the number of its first answer of this life"""
    kept: dict[int, Tensor] = field(default_factory=dict)
    """by how many tokens there were when it was pruned, which stayed: [layers, kv_heads, stayed] int64 positions"""


class Witness:
    """Watches an executor; a context in which the model's door is watched too."""

    def __init__(self, model: nn.Module, *, logit_bytes: int = 1 << 29) -> None:
        """Logits are kept for the answers of the first requests, up to so many bytes."""
        self.steps = Rows(len(COLUMNS))
        self.prunings = Rows(len(PRUNING_COLUMNS))
        self.logits: dict[Branch, list[Tensor]] = {}
        """of each branch [vocab_size] for each token it was given, float32 or the model's float64, on the host"""
        self.hits: dict[int, int] = {}
        """tokens of each request that were found, over all its admissions"""
        self.copied: set[Branch] = set()
        self.swapped: set[Branch] = set()
        """branches that were swapped in again"""
        self.lives: dict[Branch, list[Life]] = {}
        """of each branch"""
        self.recomputed: set[Branch] = set()
        """branches that came back, and had to compute some of what they had already"""
        self._model = model
        self._room = logit_bytes
        self._skipped: set[Branch] = set()
        self._pushed = 0
        self._slots: _Slots | None = None
        self._fetched: dict[Seq, int] = {}
        self._known: dict[Seq, int] = {}
        self._packed: dict[Seq, tuple[int, int, int]] = {}  # of the pruned: a name, tokens that were kept, and lost
        self._before: list[int] = []  # slots with numbers, of each whom the plan prunes
        self._moved: Counter[MoveKind] = Counter()
        self._seen: set[Branch] = set()
        self._handle: torch.utils.hooks.RemovableHandle | None = None

    def __enter__(self) -> Self:
        def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._pushed += len(inputs[0])

        embed = self._model.get_submodule("embed")
        self._handle = embed.register_forward_pre_hook(count)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._handle is not None
        self._handle.remove()

    def columns(self) -> dict[str, NDArray[np.int64]]:
        """A column of [steps] for each of COLUMNS."""
        return self.steps.columns(COLUMNS)

    def last(self) -> dict[str, int]:
        """What it saw of the last step, by the names of COLUMNS."""
        return dict(zip(COLUMNS, self.steps.table(len(self.steps) - 1)[0].tolist(), strict=True))

    def prepared(self, plan: StepPlan, executor: EngineExecutor) -> None:
        """See `engine.executor.Witness`. Blocks that were just taken become NaN, whatever was in them."""
        if self._slots is None:
            self._slots = _Slots(executor.cache)
        self._pushed = 0
        fresh = [block for growth in plan.grown.values() for _, blocks in growth for block in blocks]
        size = executor.cache.block_size
        for seq, opening in plan.opened.items():
            branch = (opening.request, opening.branch)
            self.lives.setdefault(branch, []).append(Life(len(self.logits.get(branch, ()))))
            self._known[seq] = executor.texts[branch].length
            if opening.parent is None:
                fresh += opening.tables[0][-(-opening.computed // size) :]
        for keep in plan.keeps:
            fresh += set(keep.table).difference(executor.tables[keep.seq])
        for seq in plan.closed:
            self._packed.pop(seq, None)
        for move in plan.moves:
            self._slots.move(move.kind, move.source, move.target)
        if fresh:
            self._slots.clear(fresh)
        self._fetched = {}
        for move in plan.moves:
            if move.kind is MoveKind.SWAP_IN:
                held = self._slots.held_in(move.target)
                self._fetched[move.sequence] = self._fetched.get(move.sequence, 0) + held
                self.swapped.add(executor.branches[move.sequence])
            elif move.kind is MoveKind.COPY and move.sequence in executor.branches:
                self.copied.add(executor.branches[move.sequence])

    def done(self, plan: StepPlan, executor: EngineExecutor, batch: Batch, logits: Tensor) -> None:
        """See `engine.executor.Witness`."""
        slots = self._slots
        assert slots is not None
        ids = batch.tokens.cpu().numpy()
        written, overwritten = slots.write(batch.slots.cpu().numpy(), batch.positions.cpu().numpy(), ids)
        tables = [*executor.tables.values(), *(keep.table for keep in plan.keeps)]
        used = sorted({block for table in tables for block in table})
        stored, numbers = slots.stored(used)
        moved = executor.moved - self._moved
        self._moved = executor.moved.copy()
        self.steps.append(
            plan.index,
            len(used),
            stored,
            numbers,
            self._pushed,
            written,
            overwritten,
            self._found(plan, executor, batch),
            moved[MoveKind.COPY],
            moved[MoveKind.SWAP_OUT],
            moved[MoveKind.SWAP_IN],
            self._strange(executor, plan, batch),
            int(logits.isnan().sum()),
        )
        self._keep(executor, logits)
        self._before = [slots.held_in(executor.tables[keep.seq]) for keep in plan.keeps]

    def pruned(self, plan: StepPlan, executor: EngineExecutor) -> None:
        """See `engine.executor.Witness`."""
        slots, pruner = self._slots, executor.pruner
        assert slots is not None
        assert pruner is not None
        for keep, before in zip(plan.keeps, self._before, strict=True):
            name = -2 - len(self.prunings)  # which is the id of no token
            _, _, dropped = self._packed.get(keep.seq, (0, 0, 0))
            self._packed[keep.seq] = name, keep.tokens, dropped + keep.dropped
            slots.pack(executor.tables[keep.seq], keep.tokens, name)
            left = slots.held_in(executor.tables[keep.seq])
            self.prunings.append(plan.index, self._known[keep.seq], left, before - left)
            branch, memory = executor.branches[keep.seq], pruner.memories[keep.seq]
            if branch in self.logits:
                kept = memory.kept.to("cpu", copy=True)
                self.lives[branch][-1].kept[kept.shape[-1] + memory.dropped] = kept
                self._room -= kept.nbytes

    def _found(self, plan: StepPlan, executor: EngineExecutor, batch: Batch) -> int:
        """Tokens that new sequences had when they pushed their first one, but for those fetched from the host."""
        total = 0
        first = dict(zip(plan.seqs, _first_positions(batch), strict=True))
        for seq, opening in plan.opened.items():
            if opening.parent is not None or seq not in first:
                continue
            branch = executor.branches[seq]
            fetched = self._fetched.get(seq, 0)
            found = first[seq] - fetched
            total += found
            self.hits[branch[0]] = self.hits.get(branch[0], 0) + found
            if branch in self._seen and not fetched:
                self.recomputed.add(branch)
            self._seen.add(branch)
        return total

    def _strange(self, executor: EngineExecutor, plan: StepPlan, batch: Batch) -> int:
        assert self._slots is not None
        count = 0
        for seq, end in zip(plan.seqs, batch.ends, strict=True):
            name, kept, dropped = self._packed.get(seq, (0, 0, 0))
            positions = np.arange(end)
            positions[kept:] += dropped
            ids = executor.texts[executor.branches[seq]].ids[positions]
            ids[:kept] = name
            count += self._slots.strange(executor.tables[seq], positions, ids)
        return count

    def _keep(self, executor: EngineExecutor, logits: Tensor) -> None:
        if not executor.sampled:
            return
        kept = logits.detach().to("cpu", torch.float64 if logits.dtype == torch.float64 else torch.float32)
        for branch, row in zip(executor.sampled, executor.sampled_from, strict=True):
            if branch in self._skipped:
                continue
            if branch not in self.logits and self._room <= 0:
                self._skipped.add(branch)
                continue
            self.logits.setdefault(branch, []).append(kept[row].clone())
            self._room -= kept[row].nbytes


def _first_positions(batch: Batch) -> list[int]:
    first = batch.cu_q[:-1].long()
    positions: list[int] = batch.positions[first].tolist()
    return positions


class _Slots:
    """What lies in each slot of a cache, as its numbers say: [blocks, block_size]."""

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        blocks, size = cache.data.shape[2:4]
        self._size = size
        self._held = np.zeros((blocks, size), np.bool_)
        self._position = np.full((blocks, size), -1, np.int64)
        self._id = np.full((blocks, size), -1, np.int64)
        self._host: dict[int, tuple[NDArray[np.int64], NDArray[np.int64]]] = {}
        layers, two, _, _, heads, width = cache.data.shape
        self._numbers = layers * two * heads * width

    def clear(self, blocks: Sequence[int]) -> None:
        self._cache.poison(blocks)
        self._held[blocks] = False
        self._position[blocks] = self._id[blocks] = -1

    def move(self, kind: MoveKind, source: int, target: int) -> None:
        """A block was moved: what was written for it goes along; whether there are numbers is looked up."""
        if kind is MoveKind.SWAP_OUT:
            self._host[target] = self._position[source].copy(), self._id[source].copy()
            return
        position, id = self._host[source] if kind is MoveKind.SWAP_IN else (self._position[source], self._id[source])
        self._position[target], self._id[target] = position, id
        self._held[target] = self._there(np.arange(target * self._size, (target + 1) * self._size))

    def write(self, slots: NDArray[np.int64], positions: NDArray[np.int64], ids: NDArray[np.int64]) -> tuple[int, int]:
        """Slots that were empty before and are full now, and slots that were full before."""
        held, position, id = self._held.reshape(-1), self._position.reshape(-1), self._id.reshape(-1)
        before = held[slots]
        held[slots] = self._there(slots)
        position[slots], id[slots] = positions, ids
        return int((held[slots] & ~before).sum()), int(before.sum())

    def pack(self, table: Sequence[int], kept: int, name: int) -> None:
        """The first slots of a table hold so many tokens now, others in each head: they go by a name and a number."""
        slots = (np.asarray(table)[:, None] * self._size + np.arange(self._size)).reshape(-1)
        self._held.reshape(-1)[slots] = self._there(slots)
        self._position.reshape(-1)[slots[:kept]] = np.arange(kept)
        self._id.reshape(-1)[slots[:kept]] = name

    def held_in(self, blocks: int | Sequence[int]) -> int:
        return int(self._held[blocks].sum())

    def stored(self, blocks: Sequence[int]) -> tuple[int, int]:
        """Slots of some blocks that hold a token, and their numbers."""
        slots = int(self._held[blocks].sum())
        return slots, slots * self._numbers

    def strange(self, table: Sequence[int], positions: NDArray[np.int64], ids: NDArray[np.int64]) -> int:
        """How many of a table's first slots do not hold these ids of these positions."""
        blocks = table[: -(-len(ids) // self._size)]
        held = self._held[blocks].reshape(-1)[: len(ids)]
        position = self._position[blocks].reshape(-1)[: len(ids)]
        id = self._id[blocks].reshape(-1)[: len(ids)]
        return int((~held | (position != positions) | (id != ids)).sum())

    def _there(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots have a number in every place of every layer's keys and values."""
        cache = self._cache
        index = torch.from_numpy(slots).to(cache.data.device)
        full = torch.ones(len(slots), dtype=torch.bool, device=index.device)
        for layer in range(cache.data.shape[0]):
            full &= ~cache.layer(layer)[:, index].isnan().flatten(2).any(-1).any(0)
        there: NDArray[np.bool_] = full.cpu().numpy()
        return there

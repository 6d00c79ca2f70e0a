"""What the engine shows of itself, step by step, without asking the scheduler or the pool.

Counting blocks with the same code on both sides would prove nothing. So what is counted here is what is there: slots
whose numbers are no longer NaN, tokens that came in at the model's door, blocks that the engine's own tables list, and
what each slot was written for.
"""

from collections import Counter
from collections.abc import Sequence
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
"""blocks_used: listed by some table. tokens_stored: slots of these blocks with numbers in every layer; numbers_stored:
those numbers. tokens_pushed: that came in at the model's door. slots_written: that held nothing before the step and
hold a token after it; slots_overwritten: that held one before. hit_tokens: of sequences that are new or back, those
before the first token that they pushed which were not fetched from the host. copies, swaps_out, swaps_in: blocks that
were moved, counted where tensors are. strange_slots: that a row looked at,
though they were written for another position or another token."""


class Witness:
    """Watches an executor; a context in which the model's door is watched too."""

    def __init__(self, model: nn.Module, *, logit_bytes: int = 1 << 29) -> None:
        """Logits are kept for the answers of the first requests, up to so many bytes."""
        self.steps = Rows(len(COLUMNS))
        self.logits: dict[Branch, list[Tensor]] = {}
        """of each branch [vocab_size] for each token it was given, float32 or the model's float64, on the host"""
        self.hits: dict[int, int] = {}
        """tokens of each request that were found, over all its admissions"""
        self.copied: set[Branch] = set()
        self.swapped: set[Branch] = set()
        """branches that were swapped in again"""
        self.recomputed: set[Branch] = set()
        """branches that came back, and had to compute some of what they had already"""
        self._model = model
        self._room = logit_bytes
        self._skipped: set[Branch] = set()
        self._pushed = 0
        self._slots: _Slots | None = None
        self._fetched: dict[Seq, int] = {}
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
        for opening in plan.opened.values():
            if opening.parent is None:
                fresh += opening.tables[0][-(-opening.computed // size) :]
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
        used = sorted({block for table in executor.tables.values() for block in table})
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
            ids = executor.texts[executor.branches[seq]].ids[:end]
            count += self._slots.strange(executor.tables[seq], ids)
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

    def held_in(self, block: int) -> int:
        return int(self._held[block].sum())

    def stored(self, blocks: Sequence[int]) -> tuple[int, int]:
        """Slots of some blocks that hold a token, and their numbers."""
        slots = int(self._held[blocks].sum())
        return slots, slots * self._numbers

    def strange(self, table: Sequence[int], ids: NDArray[np.int64]) -> int:
        """How many of a table's first slots do not hold these ids at their positions."""
        blocks = table[: -(-len(ids) // self._size)]
        held = self._held[blocks].reshape(-1)[: len(ids)]
        position = self._position[blocks].reshape(-1)[: len(ids)]
        id = self._id[blocks].reshape(-1)[: len(ids)]
        return int((~held | (position != np.arange(len(ids))) | (id != ids)).sum())

    def _there(self, slots: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which slots have a number in every place of every layer's keys and values."""
        cache = self._cache
        index = torch.from_numpy(slots).to(cache.data.device)
        full = torch.ones(len(slots), dtype=torch.bool, device=index.device)
        for layer in range(cache.data.shape[0]):
            full &= ~cache.layer(layer)[:, index].isnan().flatten(2).any(-1).any(0)
        there: NDArray[np.bool_] = full.cpu().numpy()
        return there

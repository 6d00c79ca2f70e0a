"""The engine's executor: carries step plans out on block tensors with a model, and measures how long each takes."""

from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, MutableSequence, Sequence
from contextlib import nullcontext
from time import perf_counter
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from engine.attention import Attend, PagedAttention
from engine.attention.paged import decode_path
from engine.batch import Batch
from engine.graphs import DecodeGraph, DecodeGraphs
from engine.kv_cache import HostBlocks, KVCache
from engine.models import CausalLM
from engine.pruning import Pruner
from engine.sampling import Sampler
from engine.threads import DecodeThreads
from engine.tokens import Ids, TokenIds
from simcore.errors import UnsupportedError
from simcore.memory.base import Move, MoveKind
from simcore.policies.pruning import Pruning
from simcore.scenario.workload import MOST_SAMPLES
from simcore.serving.plan import Outcome, Seq, StepPlan
from simcore.ticks import to_ticks
from simcore.workload.columns import Workload


class Text:
    """The tokens of one branch of a request, as far as they are known."""

    __slots__ = ("drawn", "ids", "length")

    def __init__(self, ids: Ids, length: int) -> None:
        self.ids = ids
        """[prompt_len + output_len] what is fed to the model; meaningless from `length` on"""
        self.length = length
        self.drawn: list[int] = []
        """what the model said, token by token"""


_NOTHING = np.empty(0, np.int64)

Branch = tuple[int, int]
"""Row of a request in the workload, and which of its samples."""


class ImpossiblePlan(Exception):  # noqa: N818
    """A plan that no executor could carry out: the scheduler, or what is below it, is wrong."""


class Witness(Protocol):
    """Looks at what the engine does, outside of the time that is measured."""

    def prepared(self, plan: StepPlan, executor: "EngineExecutor") -> None:
        """Blocks have been moved and tables brought up to date; nothing is written yet."""

    def done(self, plan: StepPlan, executor: "EngineExecutor", batch: Batch, logits: Tensor) -> None:
        """The model has run: logits [sampling rows, vocab_size]; see `executor.sampled` and `executor.sampled_from`."""

    def pruned(self, plan: StepPlan, executor: "EngineExecutor") -> None:
        """The sequences of `plan.keeps` have lost tokens; without any, this is not called."""


class EngineExecutor:
    """Runs plans on a model. What it knows of tables it knows from the plans; it shares nothing with the scheduler.

    It takes what it feeds from the workload, whose names become ids of the vocabulary: the model's own choice is noted
    in `texts` and not used, so that lengths, later turns and hits are the workload's. With `generate` it feeds what the
    model chose, and a sequence ends with an id of `eos`.
    """

    def __init__(
        self,
        model: CausalLM,
        workload: Workload,
        ids: TokenIds,
        *,
        blocks: int,
        block_size: int,
        host_blocks: int = 0,
        generate: bool = False,
        sampler: Sampler | None = None,
        eos: frozenset[int] = frozenset(),
        pruning: Pruning | None = None,
        prune_outputs: bool = False,
        path: str = "auto",
        graphs: bool = False,
        tune_threads: bool = False,
        clock: Callable[[], float] = perf_counter,
        witnesses: Iterable[Witness] = (),
    ) -> None:
        """A pool of so many blocks, the null block included, and room for `host_blocks` that are swapped out.

        `pruning`: chooses which tokens stay, where plans say that some must go; `prune_outputs`: they may say so while
        a sequence decodes. `path`: how decode reads the cache, see `engine.attention.decode_path`. `graphs`: launch the
        kernels of a decode step all at once, where that path is Triton's and pruning has nothing to look at.
        `tune_threads`: find out on how many threads decode steps are quickest. `clock`: seconds by which steps are
        timed; where others use the machine too, a model on one thread is better timed by that thread's own.
        """
        shape = model.shape
        self.device = model.embed.weight.device
        self.cache = KVCache(shape.layers, blocks, block_size, shape.kv_heads, shape.head_dim, shape.dtype, self.device)
        self.host: HostBlocks | None = self.cache.host(host_blocks + 1) if host_blocks else None
        self._model = model
        self._generate = generate
        self._sampler = sampler or Sampler()
        self._eos = eos
        self._pruning = pruning
        self._prune_outputs = prune_outputs
        self.path = decode_path(self.cache, path)
        """how decode reads the cache"""
        self.graphs = DecodeGraphs(model, self.cache) if graphs and self.path == "triton" else None
        self._threads = DecodeThreads() if tune_threads else None
        self._witnesses = tuple(witnesses)
        self._clock = clock
        self.begin(workload, ids)

    def begin(self, workload: Workload, ids: TokenIds) -> None:
        """Forget all sequences, and take the plans of another run, or of the same one again."""
        if workload.beam_switch:
            raise UnsupportedError("workload.beam_switch is above 0, but the engine cannot search with beams yet")
        self.tables: dict[Seq, MutableSequence[int]] = {}
        self.branches: dict[Seq, Branch] = {}
        """of the sequences that have a table"""
        self.texts: dict[Branch, Text] = {}
        """of all requests so far, those that have ended and those that were preempted included"""
        self.sampled: list[Branch] = []
        """whose tokens the last step chose"""
        self.sampled_from: list[int] = []
        """from which row of its logits, each"""
        self.moved: Counter[MoveKind] = Counter()
        """blocks of tensors that were moved so far"""
        self.pruner: Pruner | None = None
        """what is known of sequences that are pruned"""
        if self._pruning is not None:
            heads = self._model.shape.heads
            self.pruner = Pruner(self._pruning, self.cache, heads, outputs=self._prune_outputs)
        self._workload = workload
        self._ids = ids
        self._outcomes: deque[Outcome] = deque()

    @torch.inference_mode()
    def submit(self, plan: StepPlan) -> None:
        """Carry a plan out."""
        for opening in plan.opened.values():  # a server is sent ids: making them takes none of its time
            branch = (opening.request, opening.branch)
            if branch not in self.texts:
                self.texts[branch] = self._open(branch, self._ids.prompt(opening.request))
        begun = self._now()
        self._update(plan)
        spent = self._now() - begun
        for witness in self._witnesses:
            witness.prepared(plan, self)
        graph = self._graph(plan)  # recording one is no part of the step
        begun = self._now()
        with self._threads.step(len(plan.seqs)) if self._threads and _only_decodes(plan) else nullcontext():
            batch, logits = self._run(plan, graph)
        ended = self._choose(logits)
        spent += self._now() - begun
        for witness in self._witnesses:
            witness.done(plan, self, batch, logits)
        if plan.keeps:
            begun = self._now()
            self._prune(plan, batch)
            spent += self._now() - begun
            for witness in self._witnesses:
                witness.pruned(plan, self)
        self._outcomes.append(Outcome(plan.index, to_ticks(spent), ended))

    def collect(self) -> Outcome:
        """The outcome of the oldest plan."""
        return self._outcomes.popleft()

    def _graph(self, plan: StepPlan) -> DecodeGraph | None:
        """What the kernels of a step can be launched with at once, if it is one of decode alone."""
        if self.graphs is None or not _only_decodes(plan):
            return None
        if self.pruner is not None and self.pruner.watches(plan.seqs, plan.starts):
            return None
        return self.graphs.find(len(plan.seqs), max(len(self.tables[seq]) for seq in plan.seqs))

    def _run(self, plan: StepPlan, graph: DecodeGraph | None) -> tuple[Batch, Tensor]:
        """Push the rows' tokens through the model: logits [sampling rows, vocab_size]."""
        texts = [self.texts[self.branches[seq]] for seq in plan.seqs]
        tables = [self.tables[seq] for seq in plan.seqs]
        ends = [start + count for start, count in zip(plan.starts, plan.counts, strict=True)]
        starts, positions = plan.starts, None
        if self.pruner is not None:
            starts = self.pruner.slots(plan.seqs, plan.starts)
            positions = np.concatenate([_NOTHING, *map(np.arange, plan.starts, ends)])
        size = self.cache.block_size
        for seq, table, start, count in zip(plan.seqs, tables, starts, plan.counts, strict=True):
            if len(table) * size < start + count:
                raise ImpossiblePlan(f"step {plan.index}: sequence {seq} has no block for its token {start + count}")
        spans = zip(texts, plan.starts, ends, strict=True)
        fed = np.concatenate([text.ids[start:end] for text, start, end in spans] or [_NOTHING])
        rows = [row for row, (text, end) in enumerate(zip(texts, ends, strict=True)) if end == text.length]
        self._note_sampled([self.branches[plan.seqs[row]] for row in rows])
        if graph is not None:
            batch = graph.inputs.fill(tables, starts, fed, positions)
            logits = graph(len(tables))
            return batch, logits if len(rows) == len(tables) else logits[torch.tensor(rows, device=self.device)]
        tokens = torch.from_numpy(fed)
        batch = Batch.of(tables, starts, plan.counts, tokens, size, self.device, positions=positions)
        if not plan.seqs:
            return batch, self.cache.data.new_empty(0, self._model.shape.vocab_size)
        wanted = None
        if len(rows) < len(fed):
            wanted = torch.from_numpy(np.cumsum(plan.counts)[rows] - 1).to(self.device)
        attend: Attend = PagedAttention(self.cache, batch, path=self.path)
        if self.pruner is not None:
            attend = self.pruner.watch(attend, batch, plan.seqs, self.pruner.watches(plan.seqs, plan.starts))
        return batch, self._model(batch.tokens, batch.positions, attend, wanted)

    def _prune(self, plan: StepPlan, batch: Batch) -> None:
        """Let sequences keep some of their tokens only, one after another: one may write where another one was."""
        if self.pruner is None:
            raise ImpossiblePlan(f"step {plan.index}: sequences are pruned, but there is no policy to prune them by")
        stored = dict(zip(plan.seqs, batch.ends, strict=True))
        for keep in plan.keeps:
            there = stored.get(keep.seq, 0)
            if keep.tokens > min(there, len(keep.table) * self.cache.block_size):
                raise ImpossiblePlan(
                    f"step {plan.index}: sequence {keep.seq} keeps {keep.tokens} of {there} tokens in "
                    f"{len(keep.table)} blocks"
                )
            self.pruner.prune(keep, self.tables[keep.seq], there)
            self.tables[keep.seq] = array("i", keep.table)

    def _now(self) -> float:
        """Seconds, once all that was asked of the device is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return self._clock()

    def _update(self, plan: StepPlan) -> None:
        """Bring the tables up to date and move blocks, in the plan's order."""
        for seq, opening in plan.opened.items():
            self.tables[seq] = array("i", opening.tables[0])  # a list takes NumPy longer to read
            self.branches[seq] = (opening.request, opening.branch)
            if self.pruner is not None:
                self.pruner.open(seq, opening.computed, opening.known)
        for move in plan.moves:
            if move.kind is MoveKind.COPY:
                self.tables[move.sequence][move.place] = move.target
        for run in _runs(plan.moves):
            self._move(run)
        for seq, growth in plan.grown.items():
            for _, blocks in growth:
                self.tables[seq].extend(blocks)
        for seq in plan.closed:
            del self.tables[seq], self.branches[seq]
            if self.pruner is not None:
                self.pruner.close(seq)
        if self.pruner is not None:
            self.pruner.put_off(plan.put_off)

    def _open(self, branch: Branch, prompt: Ids) -> Text:
        return Text(np.concatenate((prompt, self._ids.output(*branch))), len(prompt))

    def _move(self, run: Sequence[Move]) -> None:
        sources, targets = [move.source for move in run], [move.target for move in run]
        match run[0].kind:
            case MoveKind.COPY:
                self.cache.copy(sources, targets)
            case MoveKind.SWAP_OUT:
                assert self.host is not None
                self.cache.swap_out(self.host, sources, targets)
            case MoveKind.SWAP_IN:
                assert self.host is not None
                self.cache.swap_in(self.host, sources, targets)
        self.moved[run[0].kind] += len(targets)

    def _note_sampled(self, branches: Sequence[Branch]) -> None:
        """Who is given a token in this step: these, and where the samples of a prompt begin, all of them."""
        if self._workload.samples is None:
            self.sampled, self.sampled_from = list(branches), list(range(len(branches)))
            return
        self.sampled, self.sampled_from = [], []
        for place, (row, first) in enumerate(branches):
            text, samples = self.texts[row, first], 1
            if first == 0 and text.length == self._workload.prompt_len[row]:
                samples = int(self._workload.samples[row])
            for branch in range(first, first + samples):
                self.sampled.append((row, branch))
                self.sampled_from.append(place)
                if branch != first:
                    self.texts[row, branch] = self._open((row, branch), text.ids[: text.length])

    def _choose(self, logits: Tensor) -> frozenset[Branch]:
        """A token for each of those who are given one. Who has ended with it."""
        if not self.sampled:
            return frozenset()
        if len(self.sampled) != len(logits):
            logits = logits[torch.tensor(self.sampled_from, device=logits.device)]
        names = [row * MOST_SAMPLES + branch for row, branch in self.sampled]
        chosen = self._sampler(logits, names, [self.texts[branch].length for branch in self.sampled]).tolist()
        ended: set[Branch] = set()
        for key, token in zip(self.sampled, chosen, strict=True):
            text = self.texts[key]
            text.drawn.append(token)
            if self._generate:
                text.ids[text.length] = token
                if token in self._eos:
                    ended.add(key)
            text.length += 1
        return frozenset(ended)


def _only_decodes(plan: StepPlan) -> bool:
    """There are rows, and each has one new token."""
    return max(plan.counts, default=0) == 1


def _runs(moves: Sequence[Move]) -> Iterator[list[Move]]:
    """The moves in groups of one kind, in each of which all may be read before any is written."""
    run: list[Move] = []
    targets: set[int] = set()
    for move in moves:
        if run and (move.kind is not run[0].kind or move.target in targets or move.source in targets):
            yield run
            run, targets = [], set()
        run.append(move)
        targets.add(move.target)
    if run:
        yield run

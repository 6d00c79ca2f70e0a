"""Pruned sequences on the engine: what a policy is shown, what its choice does to the cache, and to the answers.

The plans are made here, at random: chunks of any size, tables in any order.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine.attention import DenseAttention, PrunedAttention
from engine.batch import Batch
from engine.checkpoint import Checkpoint
from engine.executor import EngineExecutor, ImpossiblePlan
from engine.pruning import paid
from engine.tokens import TokenIds
from simcore.errors import InputError
from simcore.policies.pruning import PRUNING, Pruning, View
from simcore.serving.plan import Keep, Opening, StepPlan
from simcore.workload.columns import Workload
from tests.engine.validate.small_runs import checkpoint

LAYERS, HEADS, KV_HEADS, SIZE = 2, 4, 2, 4
PROMPT, OUTPUT = 23, 14


@dataclass(eq=False)
class AtRandom(Pruning):
    """Any tokens; remembers what it was shown."""

    window_: int = 0
    seen: list[View] = field(default_factory=list)

    @property
    def window(self) -> int:
        return self.window_

    def score(self, view: View) -> Tensor:
        self.seen.append(view)
        draw = torch.Generator().manual_seed(len(self.seen))
        return torch.rand(view.positions.shape, generator=draw)


class SumsToo(AtRandom):
    sums_attention = True


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint(tmp_path_factory.mktemp("model"))


class Server:
    """Plans by chance, for a few sequences."""

    def __init__(
        self, loaded: Checkpoint, policy: Pruning | None, seed: int, sequences: int = 3, **options: Any
    ) -> None:
        ones = np.ones(sequences, np.int64)
        workload = Workload("pruned", np.zeros(sequences), PROMPT * ones, OUTPUT * ones)
        self.rng = Random(seed)
        self.executor = EngineExecutor(
            loaded.model, workload, TokenIds(workload, loaded.shape.vocab_size), blocks=64, block_size=SIZE,
            pruning=policy, witnesses=[self], **options,
        )  # fmt: skip
        self.free = self.rng.sample(range(1, 64), 63)
        self.stored = dict.fromkeys(range(sequences), 0)
        self.computed = dict.fromkeys(range(sequences), 0)
        self.index = 0
        self.kept: dict[int, dict[int, Tensor]] = {seq: {} for seq in self.stored}
        """of each sequence, by how many tokens there were, what stayed"""
        self.logits: dict[int, list[Tensor]] = {seq: [] for seq in self.stored}

    def prepared(self, plan: StepPlan, executor: EngineExecutor) -> None:
        pass

    def done(self, plan: StepPlan, executor: EngineExecutor, batch: Batch, logits: Tensor) -> None:
        for (row, _), place in zip(executor.sampled, executor.sampled_from, strict=True):
            self.logits[row].append(logits[place].clone())

    def pruned(self, plan: StepPlan, executor: EngineExecutor) -> None:
        assert executor.pruner is not None
        for keep in plan.keeps:
            self.kept[keep.seq][self.computed[keep.seq]] = executor.pruner.memories[keep.seq].kept.clone()

    def step(self, budget: int = 0, outputs: bool = False, late: int = 0) -> None:
        """Some of the sequences go on, in chunks of chance; who has more than `budget` tokens then keeps so many.

        `late`: for so many steps after its prompt a sequence finds no room to be pruned.
        """
        plan = StepPlan(self.index, 0, [])
        self.index += 1
        rows = [seq for seq in self.stored if self.computed[seq] < PROMPT + OUTPUT - 1 and self.rng.random() < 0.8]
        plan.seqs, plan.starts = rows, [self.computed[seq] for seq in rows]
        plan.counts = [min(self.rng.randint(1, 9), PROMPT - at) if at < PROMPT else 1 for at in plan.starts]
        keeps = []
        for seq, count in zip(rows, plan.counts, strict=True):
            self.computed[seq] += count
            self.stored[seq] += count
            table = list(self.executor.tables.get(seq, ()))
            more = [self.free.pop() for _ in range(-(-self.stored[seq] // SIZE) - len(table))]
            if seq in self.executor.tables:
                plan.grown[seq] = [(0, more)]
            else:
                plan.opened[seq] = Opening(seq, 0, None, [more], 0, 0, PROMPT)
            due = self.computed[seq] == PROMPT + late or (outputs and self.computed[seq] > PROMPT + late)
            if budget and due and self.stored[seq] > budget:
                table += more
                left = table[: -(-budget // SIZE)]
                left = [self.free.pop() if self.rng.random() < 0.3 else block for block in left]
                self.free[:0] = [block for block in table if block not in left]
                keeps.append(Keep(seq, budget, left, self.stored[seq] - budget))
                self.stored[seq] = budget
        plan.keeps = keeps
        plan.put_off = [seq for seq in rows if PROMPT <= self.computed[seq] < PROMPT + late]
        self.executor.submit(plan)
        self.executor.collect()

    def run(self, budget: int = 0, outputs: bool = False, late: int = 0) -> None:
        while min(self.computed.values()) < PROMPT + OUTPUT - 1:
            self.step(budget, outputs, late)


class Remembers:
    """Attention that keeps what it was given, by layer."""

    def __init__(self, attend: Any) -> None:
        self.attend = attend
        self.given: dict[int, tuple[Tensor, Tensor, Tensor]] = {}

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.given[layer] = q, k, v
        out: Tensor = self.attend(layer, q, k, v)
        return out


class Masked:
    """`PrunedAttention` as it is written down: a mask for each head."""

    def __init__(self, tokens: int, kept: Mapping[int, Tensor]) -> None:
        self.seen = torch.ones(tokens, tokens, dtype=torch.bool).tril().expand(LAYERS, KV_HEADS, -1, -1).clone()
        for end, stays in sorted(kept.items()):
            gone = torch.ones(LAYERS, KV_HEADS, end, dtype=torch.bool).scatter_(-1, stays, False)
            self.seen[:, :, end:, :end] &= ~gone[:, :, None]

    def weights(self, layer: int, q: Tensor, k: Tensor) -> Tensor:
        """[kv_heads, group, tokens, tokens]"""
        scores = torch.einsum("qhgd,khd->hgqk", q.reshape(len(q), KV_HEADS, -1, q.shape[-1]), k) / math.sqrt(
            q.shape[-1]
        )
        weights: Tensor = scores.masked_fill(~self.seen[layer][:, None], -math.inf).softmax(-1)
        return weights

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out: Tensor = torch.einsum("hgqk,khd->qhgd", self.weights(layer, q, k), v).flatten(1, 2)
        return out


@torch.inference_mode()
def dense(loaded: Checkpoint, ids: np.ndarray, attend: Any) -> Tensor:
    """Logits [tokens, vocab_size] without a cache."""
    logits: Tensor = loaded.model(torch.from_numpy(ids), torch.arange(len(ids)), attend)
    return logits


@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_answers_are_those_of_attention_that_masks_what_was_dropped(
    loaded: Checkpoint, seed: int, outputs: bool
) -> None:
    server = Server(loaded, AtRandom(), seed)
    server.run(budget=9 + seed, outputs=outputs)
    for seq, kept in server.kept.items():
        assert len(kept) == (OUTPUT if outputs else 1)
        ids = server.executor.texts[seq, 0].ids[: PROMPT + OUTPUT - 1]
        found = torch.stack(server.logits[seq])
        for form in (Masked, PrunedAttention):
            torch.testing.assert_close(found, dense(loaded, ids, form(len(ids), kept))[PROMPT - 1 :], atol=1e-9, rtol=0)
        whole = dense(loaded, ids, DenseAttention([len(ids)]))[PROMPT - 1 :]
        assert (found - whole)[0].abs().max() < 1e-9, "the token after the prompt is chosen before anything is dropped"
        assert (found - whole)[1:].abs().max() > 1e-3


@pytest.mark.parametrize("late", [0, 3])
@pytest.mark.parametrize("outputs", [False, True])
@pytest.mark.parametrize("window", [1, 5, 50])
def test_a_policy_is_shown_what_is_stored_and_how_it_was_looked_at(
    loaded: Checkpoint, window: int, outputs: bool, late: int
) -> None:
    policy = SumsToo(window)
    server = Server(loaded, policy, window, sequences=1, prune_outputs=outputs)
    server.run(budget=11, outputs=outputs, late=late)
    ((seq, kept),) = server.kept.items()
    assert next(iter(kept)) == PROMPT + late
    assert len(policy.seen) == LAYERS * len(kept)
    ids = server.executor.texts[seq, 0].ids[: PROMPT + OUTPUT - 1]
    masked = Masked(len(ids), kept)
    whole = Remembers(masked)
    dense(loaded, ids, whole)
    for place, view in enumerate(policy.seen):
        number, layer = divmod(place, LAYERS)
        end = list(kept)[number]
        q, k, v = whole.given[layer]
        assert (view.layer, view.layers) == (layer, LAYERS)
        assert (view.positions.diff() > 0).all()
        before = [end for end in kept if end < list(kept)[number]]
        old = kept[before[-1]][layer] if before else torch.empty(KV_HEADS, 0, dtype=torch.int64)
        since = torch.arange(before[-1] if before else 0, end).expand(KV_HEADS, -1)
        assert torch.equal(view.positions, torch.cat((old, since), -1))
        for head, positions in enumerate(view.positions):
            torch.testing.assert_close(view.keys[head], k[positions, head])
            torch.testing.assert_close(view.values[head], v[positions, head])
        torch.testing.assert_close(view.queries, q[max(end - window, 0) : end].transpose(0, 1))
        paid = masked.weights(layer, q, k)[:, :, :end].sum((1, 2))
        torch.testing.assert_close(view.attended, paid.gather(-1, view.positions))


def test_what_scores_highest_stays_and_of_equals_the_earlier(loaded: Checkpoint) -> None:
    class Even(Pruning):
        def score(self, view: View) -> Tensor:
            return torch.where(view.positions % 5 == 1, math.inf, view.positions % 2)

    server = Server(loaded, Even(), 0)
    server.run(budget=7)
    for kept in server.kept.values():
        assert (kept[PROMPT] == torch.tensor([1, 3, 5, 6, 11, 16, 21])).all()


@pytest.mark.parametrize("name", PRUNING)
def test_every_policy_prunes_a_live_sequence_again_and_again(loaded: Checkpoint, name: str) -> None:
    policy = PRUNING[name]()
    server = Server(loaded, policy, 0, prune_outputs=True)
    server.run(budget=12, outputs=True)
    assert server.executor.pruner is not None
    for seq, memory in server.executor.pruner.memories.items():
        assert memory.dropped == PROMPT + OUTPUT - 1 - 12
        assert len(server.kept[seq]) == OUTPUT
        assert memory.kept.shape == (LAYERS, KV_HEADS, 12)
        assert (memory.kept.diff() > 0).all()


def test_a_budget_that_is_never_reached_changes_not_a_bit(loaded: Checkpoint) -> None:
    pruned, whole = (Server(loaded, policy, 3) for policy in (SumsToo(4), None))
    for server in (pruned, whole):
        server.run(budget=PROMPT + OUTPUT if server is pruned else 0, outputs=True)
    for seq, logits in whole.logits.items():
        assert torch.equal(torch.stack(logits), torch.stack(pruned.logits[seq]))


def test_keeping_everything_changes_not_a_bit(loaded: Checkpoint) -> None:
    """Though all of it is moved to other blocks."""
    pruned, whole = (Server(loaded, policy, 3, sequences=1) for policy in (AtRandom(), None))
    for server in (pruned, whole):
        while server.computed[0] < PROMPT:
            server.step()
    assert pruned.executor.pruner is not None
    table, fresh = list(pruned.executor.tables[0]), [pruned.free.pop() for _ in range(6)]
    pruned.executor.pruner.prune(Keep(0, PROMPT, fresh, 0), table, PROMPT)
    pruned.executor.tables[0] = fresh
    for server in (pruned, whole):
        server.run()
    assert torch.equal(torch.stack(pruned.logits[0]), torch.stack(whole.logits[0]))


def test_blocks_that_a_table_loses_stay_as_they_are(loaded: Checkpoint) -> None:
    server = Server(loaded, AtRandom(), 1, sequences=1)
    while server.computed[0] < PROMPT:
        server.step()
    executor = server.executor
    table, before = list(executor.tables[0]), executor.cache.data.clone()
    fresh = [server.free.pop() for _ in range(2)]
    assert executor.pruner is not None
    executor.pruner.prune(Keep(0, 10, [fresh[0], table[1], fresh[1]], PROMPT - 10), table, PROMPT)
    lost = [block for block in table if block != table[1]]
    assert executor.cache.data[:, :, lost].numpy().tobytes() == before[:, :, lost].numpy().tobytes()
    assert executor.cache.data[:, :, fresh[1], 2:].isnan().all()


def test_only_what_may_be_asked_for_is_remembered(loaded: Checkpoint) -> None:
    server = Server(loaded, SumsToo(6), 5, sequences=1)
    while server.computed[0] < PROMPT:
        server.step()
    assert server.executor.pruner is not None
    memory = server.executor.pruner.memories[0]
    assert memory.attended is not None
    sizes = [each.shape[1] for each in memory.queries]
    assert sum(sizes) >= 6 > sum(sizes[1:])
    server.run()
    assert memory.attended.shape[-1] == PROMPT, "its outputs are nobody's business"
    server = Server(loaded, SumsToo(6), 5, sequences=1)
    server.run(budget=9)
    assert server.executor.pruner is not None
    memory = server.executor.pruner.memories[0]
    assert (memory.attended, len(memory.queries), memory.dropped) == (None, 0, PROMPT - 9)


@pytest.mark.parametrize(("new", "tokens"), [(1, 9), (7, 7), (1100, 1300)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_attention_that_is_paid(new: int, tokens: int, dtype: torch.dtype) -> None:
    """In parts of a chunk too, as one softmax says it; in half precision it is summed in float32."""
    draw = torch.Generator().manual_seed(tokens)
    q = torch.randn(new, 6, 8, generator=draw, dtype=torch.float64).to(dtype)
    k = torch.randn(tokens, 2, 8, generator=draw, dtype=torch.float64).to(dtype)
    scores = torch.einsum("qhgd,khd->hgqk", q.double().view(new, 2, 3, 8), k.double()) / math.sqrt(8)
    seen = torch.ones(new, tokens, dtype=torch.bool).tril(tokens - new)
    expected = scores.masked_fill(~seen, -math.inf).softmax(-1).sum((1, 2))
    found = paid(q, k)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)


def test_plans_that_cannot_be_carried_out(loaded: Checkpoint) -> None:
    server = Server(loaded, None, 0, sequences=1)
    with pytest.raises(ImpossiblePlan, match="no policy to prune them by"):
        server.run(budget=9)
    server = Server(loaded, AtRandom(), 0, sequences=1)
    plan = StepPlan(0, 0, [])
    plan.seqs, plan.starts, plan.counts = [0], [0], [PROMPT]
    plan.opened[0] = Opening(0, 0, None, [[1, 2, 3, 4, 5, 6]], 0, 0, PROMPT)
    for keep in (Keep(0, PROMPT + 1, [1, 2, 3, 4, 5, 6], -1), Keep(0, 9, [1, 2], PROMPT - 9)):
        plan.keeps = [keep]
        with pytest.raises(ImpossiblePlan, match=f"sequence 0 keeps {keep.tokens} of {PROMPT} tokens in"):
            server.executor.submit(plan)


@pytest.mark.parametrize(
    ("scores", "found"),
    [
        (lambda view: view.values[0, :, 0], rf"it gave \[{PROMPT}\]"),
        (lambda view: view.values[:, 1:, 0], rf"it gave \[2, {PROMPT - 1}\]"),
        (lambda view: view.values[:, :, 0].tolist(), "it gave list"),
        (lambda view: view.values[:, :, 0].numpy(), "it gave numpy.ndarray"),
        (lambda view: view.attended, "it gave NoneType"),
        (lambda view: view.values[:, :, 0].log(), "some that it gave are no real numbers"),
        (lambda view: view.positions * 1j, "some that it gave are no real numbers"),
    ],
)
def test_scores_that_are_not_one_for_each_token_are_a_sentence(
    loaded: Checkpoint, scores: Callable[[View], Any], found: str
) -> None:
    class Wrong(Pruning):
        name = "wrong"

        def score(self, view: View) -> Any:
            return scores(view)

    server = Server(loaded, Wrong(), 0, sequences=1)
    with pytest.raises(InputError, match=rf"pruning policy wrong: .* \[2, {PROMPT}\] of them, but {found}"):
        server.run(budget=9)


@pytest.mark.parametrize("window", [-1, 2.5, "all"])
def test_a_window_that_is_no_number_of_tokens_is_a_sentence(loaded: Checkpoint, window: Any) -> None:
    with pytest.raises(InputError, match=r"pruning policy .* its window is .*, but must be a whole number, at least 0"):
        Server(loaded, AtRandom(window), 0)


def test_queries_that_were_not_asked_for_are_a_sentence(loaded: Checkpoint) -> None:
    class Looks(Pruning):
        def score(self, view: View) -> Tensor:
            weights: Tensor = view.weights()
            return weights.sum((1, 2))

    with pytest.raises(ValueError, match="there are no queries: a policy's class says by its `window` of how many"):
        Server(loaded, Looks(), 0).run(budget=9)


def test_a_policy_that_writes_to_what_it_is_shown_harms_nobody(loaded: Checkpoint) -> None:
    class Writes(SumsToo):
        def score(self, view: View) -> Tensor:
            scores = super().score(view)
            for each in (view.positions, view.keys, view.values, view.attended):
                each[:] = 0
            return scores

    runs = Server(loaded, SumsToo(), 0, prune_outputs=True), Server(loaded, Writes(), 0, prune_outputs=True)
    for server in runs:
        server.run(budget=9, outputs=True)
    for seq, logits in runs[0].logits.items():
        assert torch.equal(torch.stack(logits), torch.stack(runs[1].logits[seq]))
        memories = [server.executor.pruner.memories[seq] for server in runs if server.executor.pruner is not None]
        assert torch.equal(memories[0].kept, memories[1].kept)
        torch.testing.assert_close(memories[0].attended, memories[1].attended, rtol=0, atol=0)

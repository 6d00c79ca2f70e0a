"""Validation says yes where simulator and engine agree, and no as soon as the simulator is wrong anywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.batch import Batch
from engine.checkpoint import Checkpoint
from engine.executor import EngineExecutor
from engine.kv_cache import KVCache
from engine.validate import Report, validate
from engine.validate.charts import memory_chart, page
from engine.validate.report import Row, equal, off
from engine.validate.run import prepare
from simcore import InputError, Scenario
from simcore.memory.base import Hit, Usage
from simcore.memory.paged import PagedMemory
from simcore.memory.pool import BlockPool
from simcore.memory.pruned import Budget, PrunedMemory
from simcore.record.recorder import Recorder
from simcore.scenario.calibration import Calibration
from simcore.serving.decoding import Decoding
from simcore.serving.scheduler import Scheduler
from tests.engine.validate.small_runs import CONVERSATIONS, checkpoint, scenario

PRESSURE: dict[str, Any] = {"memory": {"blocks": 30}}
PREFIXES: dict[str, Any] = {"workload": CONVERSATIONS}
CHUNKS: dict[str, Any] = {
    "scheduler": {"long_prefill_token_threshold": 6},
    "workload": {
        "arrivals": {"process": "poisson", "rate": 1e5},
        "conversations": CONVERSATIONS["conversations"] | {"system_tokens": 30, "zipf": 0.0},
    },
}
"""Prompts with a long beginning in common, computed a block and a half at a time."""
SAMPLES: dict[str, Any] = {"memory": {"blocks": 90}, "workload": {"samples": 3}}
SWAP: dict[str, Any] = {"memory": {"blocks": 30}, "scheduler": {"preemption": "swap"}}
ALL: dict[str, Any] = {
    "memory": {"blocks": 34, "swap_blocks": 20},
    "scheduler": {"preemption": "swap", "policy": "priority"},
    "workload": CONVERSATIONS | {"samples": 2},
}
PRUNED: dict[str, Any] = {
    "memory": {"blocks": 40},
    "workload": CONVERSATIONS,
    "pruning": {"policy": {"policy": "snap-kv", "window": 4}, "budget": 10, "during": "outputs", "slack": 2},
}
HALVED: dict[str, Any] = {"memory": {"blocks": 30}, "pruning": {"policy": "h2o", "keep": 0.5}}
CALIBRATION = Calibration(model="m", device="d", block_size=4, tokens=[1, 64], seconds=[0.001, 0.002])


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return checkpoint(tmp_path_factory.mktemp("model"), torch.float32)


def found(report: Report, words: str) -> Row:
    (row,) = [row for row in report.rows if words in row.check]
    return row


@pytest.mark.parametrize(
    ("tables", "reached"),
    [
        (PRESSURE, "preempted and recomputed"),
        (PREFIXES, "with shared prefixes"),
        (SAMPLES, "of parallel samples"),
        (SWAP, "swapped out and in"),
        (ALL, "swapped out and in"),
        (PRUNED, "with shared prefixes"),
        (PRUNED, "of pruned sequences"),
        (HALVED, "preempted and recomputed"),
        (HALVED, "of pruned sequences"),
    ],
)
def test_both_agree(loaded: Checkpoint, tables: dict[str, Any], reached: str) -> None:
    report = validate(scenario(**tables), loaded)
    assert [row for row in report.rows if not row.ok] == []
    assert report.ok()
    assert found(report, reached).kind == "answers"
    assert found(report, "blocks used").measured > 0


def a_hit_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached block is taken for the next one of a prompt, whatever is in it."""
    find = BlockPool.find

    def mutant(self: BlockPool, keys: Any, most: int) -> list[int]:
        blocks = find(self, keys, most)
        others = [block for block in self._cached.values() if block not in blocks]
        return blocks + others[: 1 if len(blocks) < most else 0]

    monkeypatch.setattr(BlockPool, "find", mutant)


def registers_before_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    register = PagedMemory._register

    def mutant(self: PagedMemory, sequence: Any, reach: int) -> None:
        room = min(len(sequence.tables[0]), len(sequence.keys)) * self.block_size
        register(self, sequence, min(reach + self.block_size, max(room, reach)))

    monkeypatch.setattr(PagedMemory, "_register", mutant)


def loses_a_free(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first block of a table is never given back."""
    release = BlockPool.release

    def mutant(self: BlockPool, table: list[int], registered: int, sequence: int) -> None:
        release(self, table[1:], max(registered - 1, 0), sequence)

    monkeypatch.setattr(BlockPool, "release", mutant)


def writes_into_what_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No copy before a branch writes."""
    holders = BlockPool.holders
    monkeypatch.setattr(BlockPool, "holders", lambda self, block: min(holders(self, block), 1))


def takes_a_block_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    take = BlockPool.take

    def mutant(self: BlockPool, count: int, sequence: int) -> list[int]:
        return take(self, count - 1 if count > 2 else count, sequence)

    monkeypatch.setattr(BlockPool, "take", mutant)


def forgets_to_fetch_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    swap_in = PagedMemory._swap_in

    def mutant(self: PagedMemory, sequence: Any, hit: Hit, blocks: list[int]) -> None:
        swap_in(self, sequence, hit._replace(host=hit.host[:-1]), blocks)

    monkeypatch.setattr(PagedMemory, "_swap_in", mutant)


def moves_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator lists a copy once, but the engine makes it twice: only who counts tensors sees it."""
    move = EngineExecutor._move

    def mutant(self: EngineExecutor, run: Any) -> None:
        move(self, run)
        move(self, run)

    monkeypatch.setattr(EngineExecutor, "_move", mutant)


def fetches_in_the_wrong_order(monkeypatch: pytest.MonkeyPatch) -> None:
    swap_in = PagedMemory._swap_in

    def mutant(self: PagedMemory, sequence: Any, hit: Hit, blocks: list[int]) -> None:
        swap_in(self, sequence, hit._replace(host=hit.host[::-1]), blocks)

    monkeypatch.setattr(PagedMemory, "_swap_in", mutant)


def counts_a_token_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    schedule = Scheduler.schedule

    def mutant(self: Scheduler, now: int) -> Any:
        plan = schedule(self, now)
        if plan is not None and plan.opened:
            plan.tokens += 1
        return plan

    monkeypatch.setattr(Scheduler, "schedule", mutant)


def counts_shared_blocks_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = PagedMemory.usage

    def mutant(self: PagedMemory, computed: int) -> Usage:
        found = usage(self, computed)
        if computed <= found.stored:
            return found
        return found._replace(stored=min(computed, found.used * self.block_size))

    monkeypatch.setattr(PagedMemory, "usage", mutant)


def reports_every_hit_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    planned = Recorder.planned

    def mutant(self: Recorder, plan: Any, start: int, ticks: int) -> None:
        for opening in plan.opened.values():
            opening.hit *= 2
        planned(self, plan, start, ticks)

    monkeypatch.setattr(Recorder, "planned", mutant)


def another_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator takes the cache for float16."""
    section = Checkpoint.section

    def mutant(self: Checkpoint) -> Any:
        assert section.fget
        return section.fget(self).model_copy(update={"kv_dtype": "float16"})

    monkeypatch.setattr(Checkpoint, "section", property(mutant))


def forgets_the_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys alone are counted."""
    import engine.validate.run as run
    import simcore.geometry as geometry

    block = geometry.block_bytes
    monkeypatch.setattr(run, "block_bytes", lambda *arguments: block(*arguments) // 2)


def keeps_a_token_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that the scenario leaves a sequence."""
    stays = Budget.stays
    monkeypatch.setattr(Budget, "stays", lambda self, tokens: stays(self, tokens) + 1)


def counts_a_dropped_token_too_few(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten = Decoding.shorten
    monkeypatch.setattr(Decoding, "shorten", lambda self, sequence, tokens: shorten(self, sequence, tokens - 1))


def packs_into_cached_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept goes into the blocks where it lies, whoever may find them."""

    def mutant(self: PrunedMemory, sequence: Any, tokens: int) -> list[int]:
        table = sequence.tables[0]
        count = -(-tokens // self.block_size)
        self._leaving[sequence.id] = table[count:], max(sequence.registered - count, 0)
        return list(table[:count])

    monkeypatch.setattr(PrunedMemory, "pack", mutant)


def keeps_a_block_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool does not hear of the last block that a pruned sequence lets go of."""
    keep = PrunedMemory.keep

    def mutant(self: PrunedMemory, sequence: Any, table: list[int], dropped: int) -> None:
        leaving, cached = self._leaving[sequence.id]
        self._leaving[sequence.id] = leaving[:-1] if len(leaving) > cached else leaving, cached
        keep(self, sequence, table, dropped)

    monkeypatch.setattr(PrunedMemory, "keep", mutant)


MUTANTS: list[tuple[Callable[[pytest.MonkeyPatch], None], dict[str, Any], str]] = [
    (a_hit_too_many, PREFIXES, "hold something else"),
    (registers_before_it_is_full, CHUNKS, "hold something else"),
    (loses_a_free, {"memory": {"prefix_caching": False, "blocks": 300}}, "blocks used"),
    (writes_into_what_others_read, SAMPLES, "hold something else"),
    (takes_a_block_too_few, {}, "carried out"),
    (forgets_to_fetch_a_block, SWAP, "hold something else"),
    (moves_twice, SAMPLES, "blocks copied"),
    (fetches_in_the_wrong_order, SWAP, "hold something else"),
    (counts_a_token_too_many, {}, "tokens pushed"),
    (counts_shared_blocks_twice, PREFIXES, "tokens stored"),
    (reports_every_hit_twice, PREFIXES, "hit tokens that were not computed"),
    (another_format, {}, "bytes of a block"),
    (forgets_the_values, {}, "bytes of the pool"),
    (keeps_a_token_too_many, PRUNED, "tokens left of each pruned sequence"),
    (counts_a_dropped_token_too_few, HALVED, "carried out"),
    (packs_into_cached_blocks, PRUNED, "hold something else"),
    (keeps_a_block_too_many, HALVED, "blocks used"),
]


@pytest.mark.parametrize(("mutate", "tables", "words"), MUTANTS, ids=[mutate.__name__ for mutate, _, _ in MUTANTS])
def test_a_wrong_simulator_fails(
    mutate: Callable[[pytest.MonkeyPatch], None],
    tables: dict[str, Any],
    words: str,
    loaded: Checkpoint,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = scenario(**tables)
    assert validate(asked, loaded).ok()
    mutate(monkeypatch)
    report = validate(asked, loaded)
    assert not report.ok()
    assert not found(report, words).ok


def engine_keeps_a_token_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    compact = KVCache.compact

    def mutant(self: KVCache, table: Any, target: Any, places: torch.Tensor) -> None:
        compact(self, table, target, torch.cat((places, places[..., -1:]), -1))

    monkeypatch.setattr(KVCache, "compact", mutant)


def engine_drops_a_token_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    compact = KVCache.compact
    monkeypatch.setattr(KVCache, "compact", lambda self, old, new, places: compact(self, old, new, places[..., :-1]))


def engine_shifts_a_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is read one slot too far on."""
    compact = KVCache.compact

    def mutant(self: KVCache, table: Any, target: Any, places: torch.Tensor) -> None:
        compact(self, table, target, (places - 1).clamp(min=0))

    monkeypatch.setattr(KVCache, "compact", mutant)


def engine_prunes_all_heads_as_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    compact = KVCache.compact

    def mutant(self: KVCache, table: Any, target: Any, places: torch.Tensor) -> None:
        compact(self, table, target, places[:, :1].expand_as(places))

    monkeypatch.setattr(KVCache, "compact", mutant)


def engine_turns_new_keys_by_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    of = Batch.of

    def mutant(*arguments: Any, positions: Any = None) -> Batch:
        return of(*arguments)

    monkeypatch.setattr(Batch, "of", mutant)


def engine_leaves_the_old_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """It packs in place, whatever the plan says, and shows the plan's table."""
    compact = KVCache.compact

    def mutant(self: KVCache, table: Any, target: Any, places: torch.Tensor) -> None:
        compact(self, table, table, places)

    monkeypatch.setattr(KVCache, "compact", mutant)


ENGINES: list[tuple[Callable[[pytest.MonkeyPatch], None], str]] = [
    (engine_keeps_a_token_too_many, "tokens left of each pruned sequence"),
    (engine_drops_a_token_too_many, "tokens left of each pruned sequence"),
    (engine_shifts_a_slot, "of pruned sequences against dense attention"),
    (engine_prunes_all_heads_as_the_first, "of pruned sequences against dense attention"),
    (engine_turns_new_keys_by_their_slots, "of pruned sequences against dense attention"),
    (engine_leaves_the_old_table, "hold something else"),
]


@pytest.mark.parametrize(("mutate", "words"), ENGINES, ids=[mutate.__name__ for mutate, _ in ENGINES])
def test_an_engine_that_prunes_wrongly_fails(
    mutate: Callable[[pytest.MonkeyPatch], None], words: str, loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    mutate(monkeypatch)
    report = validate(scenario(**PRUNED), loaded)
    assert not found(report, words).ok


def test_answers_notice_it_too(loaded: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage that was read shows in the logits."""
    writes_into_what_others_read(monkeypatch)
    report = validate(scenario(**SAMPLES), loaded)
    assert any(row.kind == "answers" and not row.ok for row in report.rows)


def test_times_decide_only_if_asked(loaded: Checkpoint) -> None:
    """A calibration that is off by orders of magnitude."""
    slow = CALIBRATION.model_copy(update={"seconds": [50.0, 60.0]})
    report = validate(scenario(workload={"requests": 4}), loaded, slow)
    assert report.ok()
    assert not report.ok(strict_time=True)
    assert {row.kind for row in report.rows} == {"equal", "answers", "time"}
    assert report.to_json(strict_time=True)["verdict"] == "failed"


def test_prompts_are_cut_to_what_the_model_takes(loaded: Checkpoint) -> None:
    long = scenario(
        workload={"requests": 6, "prompt": {"distribution": "fixed", "tokens": 500}}, memory={"blocks": 400}
    )
    prepared = prepare(long, loaded)
    assert (prepared.workload.prompt_len == 127).all()
    assert any("6 of 6 prompts were cut" in note for note in prepared.notes)
    assert validate(prepared, loaded).ok()


def test_it_is_said_where_nobody_was_pruned(loaded: Checkpoint) -> None:
    for budget, said in ((10, False), (200, True)):
        report = validate(scenario(workload={"requests": 6}, pruning={"budget": budget}), loaded)
        assert report.ok()
        assert any("nobody was pruned" in note for note in report.notes) == said


def test_a_pool_beyond_all_memory_is_refused(loaded: Checkpoint) -> None:
    with pytest.raises(InputError, match=r"memory\.blocks asks for a pool of .* GiB"):
        validate(scenario(memory={"blocks": 900_000_000}), loaded)


def test_tiers_are_refused(loaded: Checkpoint) -> None:
    tiers = [{"name": "host", "blocks": 100, "bandwidth": 1e9}]
    with pytest.raises(InputError, match=r"^memory\.tiers cannot be validated: the engine has no memory below"):
        validate(scenario(memory={"blocks": 400, "tiers": tiers}), loaded)


def test_the_report_as_files(loaded: Checkpoint) -> None:
    report = validate(scenario(**PREFIXES), loaded, CALIBRATION)
    document = report.to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["rows"][0].keys() == {"check", "kind", "predicted", "measured", "unit", "error", "bound", "ok"}
    chart = memory_chart(report)
    assert chart.startswith(b"\x89PNG")
    text = page(report, "a <title>", chart, strict_time=False)
    assert "a &lt;title&gt;" in text
    assert text.count("<tr") == len(report.rows) + 1
    for side in ("theory", "reality"):
        allocated, stored = report.steps[f"{side}_allocated"], report.steps[f"{side}_stored"]
        assert (allocated - stored == report.steps[f"{side}_wasted"]).all()
        assert (allocated >= stored).all()


def test_rows() -> None:
    assert equal("x", [1, 2], [1, 2], "").ok
    assert not equal("x", [1, 2], [2, 1], "").ok, "the sums alone are the same"
    assert not equal("x", [1, 2], [1, 2, 0], "").ok
    assert not Row("x", "answers", 0, float("nan"), "", float("nan"), 1.0).ok
    assert off(3.0, 2.0) == 0.5
    assert off(0.0, 0.0) == 0.0
    assert off(1.0, 0.0) == np.inf


def test_a_scenario_as_a_file_is_complete(loaded: Checkpoint, tmp_path: Path) -> None:
    prepared = prepare(scenario(), loaded)
    file = tmp_path / "scenario.toml"
    file.write_text(prepared.scenario.to_toml(), encoding="utf-8")
    assert Scenario.load(file) == prepared.scenario

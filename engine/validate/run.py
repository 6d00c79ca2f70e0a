"""A scenario on the simulator and on the engine, and what both say."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.checkpoint import Checkpoint
from engine.executor import EngineExecutor, ImpossiblePlan
from engine.kv_cache import KVCache
from engine.meter import StorageMeter, frozen_heap
from engine.models import ModelShape
from engine.tokens import TokenIds
from engine.validate.answers import compare_answers
from engine.validate.calibrate import CLOCKS, Clock
from engine.validate.report import Report, Row, equal, off
from engine.validate.witness import PRUNING_COLUMNS, Witness
from simcore import Results, Scenario, Simulation, Workload
from simcore.errors import InputError
from simcore.geometry import as_binary, block_bytes, pool_size, token_bytes
from simcore.memory.base import Memory
from simcore.policies.pruning import PRUNING
from simcore.record.rows import Rows
from simcore.scenario.calibration import Calibration
from simcore.scenario.model import DTYPE_BYTES
from simcore.scenario.pruning import PruningSection
from simcore.serving.plan import StepPlan
from simcore.serving.request import Request, Sequence
from simcore.serving.world import Observer
from simcore.ticks import TICKS_PER_SECOND, Tick, to_seconds
from simcore.timing import NO_CHUNKS, CalibratedTimer, Chunks
from simcore.workload import cut_prompts, make_workload

REQUESTED = "requested_bytes.all.current"
PROBE = 64
"""Blocks of a small pool that is made to measure one."""
STEP_BOUND, TAIL_BOUND, RUN_BOUND = 0.10, 0.20, 0.05
"""What a prediction of time may be off on an idle machine: a step, nine of ten steps, a run from end to end."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A scenario that both sides can run."""

    scenario: Scenario
    workload: Workload
    blocks: int
    notes: list[str]


def prepare(scenario: Scenario, checkpoint: Checkpoint) -> Prepared:
    """Put a real model in a scenario: its geometry, its longest sequence. Raises InputError where it cannot be run."""
    allocator = scenario.memory.allocator.model_dump()["policy"]
    if allocator != "paged":
        raise InputError(f'memory.allocator is "{allocator}", but the engine has paged memory only')
    if scenario.memory.tiers:
        raise InputError(
            "memory.tiers cannot be validated: the engine has no memory below its pool; leave the tiers out, as with "
            "--set memory.tiers=[]"
        )
    model = scenario.model.resolve()
    blocks = pool_size(scenario).blocks
    longest = min(scenario.max_model_len, checkpoint.shape.max_model_len)
    notes = [f"the model is {checkpoint.folder.name}, in place of {model.name}; the pool keeps its {blocks:,} blocks"]
    workload = make_workload(scenario.workload, scenario.seed)
    cut = int((workload.prompt_len >= longest).sum())
    shorter = int((np.minimum(workload.prompt_len, longest - 1) + workload.output_len > longest).sum())
    if cut or shorter:
        workload = cut_prompts(workload, longest - 1)
        notes.append(
            f"sequences are at most {longest:,} tokens: {cut:,} of {len(workload):,} prompts were cut, and "
            f"{shorter:,} outputs end there"
        )
    memory = {"blocks": blocks, "utilization": None, "keep_unwritten": False}
    if scenario.scheduler.victim_rule == "lowest-priority" and scenario.memory.prefix_caching:
        notes.append("memory.keep_unwritten is off: an engine would read what was never computed")
    prepared = scenario.model_copy(
        update={
            "model": checkpoint.section,
            "memory": scenario.memory.model_copy(update=memory),
            "scheduler": scenario.scheduler.model_copy(update={"max_model_len": longest}),
        }
    )
    return Prepared(prepared, workload, blocks, notes)


class _Replay:
    """A timer that gives the durations of another run, one after another."""

    def __init__(self, ticks: Iterator[Tick]) -> None:
        self._ticks = ticks

    def ticks(self, seqs: int, tokens: int, context: int, pairs: int, chunks: Chunks = NO_CHUNKS) -> Tick:
        return next(self._ticks)

    def move_ticks(self, copies: int, swaps: int) -> Tick:
        return 0  # it is in the step's own


class _Totals:
    """Observes what a timer would be told of each step."""

    def __init__(self) -> None:
        self.rows = Rows(9)

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        copies = sum(move.kind == "copy" for move in plan.moves)
        packed = sum(len(keep.table) for keep in plan.keeps)
        totals = plan.rows, plan.tokens, plan.context, plan.pairs
        chunks = plan.chunks, plan.chunk_tokens, plan.chunk_context
        self.rows.append(*totals, *chunks, copies + packed, len(plan.moves) - copies)

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Moment:
    """One step of the engine's run, as the simulator's pool and the witness have it."""

    step: int
    t: float
    """s, its beginning"""
    seconds: float
    """that it took"""
    predicted_blocks: int
    """held, as the simulator's pool has it"""
    predicted_tokens: int
    """stored, likewise"""
    blocks: int
    """that the engine's own tables list"""
    tokens: int
    """slots of these with numbers in every layer"""
    pushed: int
    """tokens that came in at the model's door"""
    executor: EngineExecutor
    """to look at, as in `texts` and `sampled`"""


class _Moments:
    """Observes the engine's run, and hands each step on."""

    memory: Memory
    """the simulator's; known once there is a simulation"""

    def __init__(self, witness: Witness, executor: EngineExecutor, watch: Callable[[Moment], None]) -> None:
        self._witness, self._executor, self._watch = witness, executor, watch

    def arrived(self, request: Request, accepted: bool) -> None:
        pass

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        usage, seen = self.memory.usage(plan.held), self._witness.last()
        self._watch(
            Moment(
                step=plan.index,
                t=to_seconds(start),
                seconds=to_seconds(ticks),
                predicted_blocks=usage.used,
                predicted_tokens=usage.stored,
                blocks=seen["blocks_used"],
                tokens=seen["tokens_stored"],
                pushed=seen["tokens_pushed"],
                executor=self._executor,
            )
        )

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        pass


def validate(
    scenario: Scenario | Prepared,
    checkpoint: Checkpoint,
    calibration: Calibration | None = None,
    *,
    path: str = "auto",
    clock: Clock = "wall",
    observers: Iterable[Observer] = (),
    watch: Callable[[Moment], None] | None = None,
) -> Report:
    """Run a scenario on the engine, then on the simulator with the same step times, and compare all they say.

    With a calibration, times are predicted too. `observers` see the engine's run, and `watch` is told of each step of
    it while it goes on. Raises InputError where the scenario cannot be run.
    """
    prepared = scenario if isinstance(scenario, Prepared) else prepare(scenario, checkpoint)
    model, workload = checkpoint.model, prepared.workload
    options, pruning = prepared.scenario.memory, prepared.scenario.pruning
    swaps = prepared.scenario.scheduler.preemption != "recompute"
    host_blocks = (options.swap_blocks or prepared.blocks) if swaps else 0
    block = block_bytes(prepared.scenario.model.resolve(), options.block_size)
    expect_room((prepared.blocks + host_blocks) * block, model.embed.weight.device)

    rows = _bytes(checkpoint.shape, model.embed.weight.device, options.block_size, block, prepared.blocks, host_blocks)
    totals = _Totals()
    with Witness(model) as witness:
        executor = EngineExecutor(
            model,
            workload,
            TokenIds(workload, checkpoint.shape.vocab_size, prepared.scenario.seed),
            blocks=prepared.blocks,
            block_size=options.block_size,
            host_blocks=host_blocks,
            pruning=PRUNING.make(pruning.policy) if pruning.on else None,
            prune_outputs=pruning.during == "outputs",
            path=path,
            clock=CLOCKS[clock],
            witnesses=[witness],
        )
        moments = _Moments(witness, executor, watch) if watch else None
        watching = [totals, *observers, *([moments] if moments else [])]
        simulation = Simulation(prepared.scenario, workload=workload, executor=executor, observers=watching)
        if moments:
            moments.memory = simulation.memory
        try:
            with frozen_heap():
                real = simulation.run()
        except ImpossiblePlan as problem:
            row = Row("plans that can be carried out", "equal", 1, 0, "all", float("inf"), 0)
            return Report([*rows, row], [*prepared.notes, str(problem)])
    ticks = real.record.steps["dt"]
    theory = Simulation(prepared.scenario, workload=workload, timer=_Replay(iter(ticks.tolist()))).run()

    rows += _steps(theory, witness, prepared.scenario)
    notes = [*prepared.notes, f"decode reads the cache by way of: {executor.path}"]
    if pruning.on:
        rows += _prunings(theory, witness, pruning)
        if not len(witness.prunings):
            notes.append("nobody was pruned: no sequence had more tokens than pruning leaves, and went on after that")
    lengths = dict(enumerate(workload.prompt_len.tolist()))
    rows += compare_answers(model, executor, witness, lengths)
    steps = _over_time(theory, witness, block, options.block_size)
    if calibration is not None:
        predicted = _predicted(totals, len(ticks), calibration)
        rows += _times(prepared, real, totals, predicted, calibration)
        notes.append(f"times are predicted by a calibration on {calibration.device}, {calibration.software}")
        count = len(steps["step"])
        steps |= {
            "theory_seconds": predicted[:count] / TICKS_PER_SECOND,
            "reality_seconds": ticks[:count] / TICKS_PER_SECOND,
        }
    return Report(rows, notes, steps)


def expect_room(needed: int, device: torch.device) -> None:
    """Raises InputError where a device has no room for so many bytes."""
    available = None
    if device.type == "cuda":
        available, _ = torch.cuda.mem_get_info(device)
    else:
        with suppress(AttributeError, ValueError, OSError):  # not every system says
            available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if available is not None and needed > available:
        raise InputError(
            f"memory.blocks asks for a pool of {as_binary(needed)} with this model, and {device} has "
            f"{as_binary(available)} left; give fewer blocks"
        )


def _bytes(shape: ModelShape, device: torch.device, block_size: int, block: int, blocks: int, host: int) -> list[Row]:
    """What the geometry says against what an allocator hands out, the bare frame of a pool without blocks taken off."""

    def pool(count: int) -> KVCache:
        return KVCache(shape.layers, count, block_size, shape.kv_heads, shape.head_dim, shape.dtype, device)

    frame, tool = allocated(device, lambda: pool(0))
    few, _ = allocated(device, lambda: pool(PROBE))
    whole, _ = allocated(device, lambda: pool(blocks))
    rows = [
        equal(f"bytes of a block ({tool})", block, (few - frame) / PROBE, "B"),
        equal(f"bytes of the pool ({tool})", block * blocks, whole - frame, "B"),
    ]
    if host:
        cache, cpu = pool(1), torch.device("cpu")
        frame, _ = allocated(cpu, lambda: cache.host(0))
        whole, tool = allocated(cpu, lambda: cache.host(host))
        rows.append(equal(f"bytes on the host ({tool})", block * host, whole - frame, "B"))
    return rows


def allocated(device: torch.device, make: Callable[[], object]) -> tuple[int, str]:
    """Bytes that a device's allocator is asked for by what is made and kept, and which tool says so.

    What CUDA's allocator hands out is rounded, up to 2 MiB for large tensors: what it was asked for is compared.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_stats(device)[REQUESTED]
        made = make()
        return torch.cuda.memory_stats(device)[REQUESTED] - before, "CUDA allocator, requested"
    with StorageMeter() as meter:
        made = make()
    held = meter.current
    del made
    return held, meter.tool


def _steps(theory: Results, witness: Witness, scenario: Scenario) -> list[Row]:
    """Step by step: what the simulator recorded against what the witness saw."""
    predicted, seen = theory.record.steps, witness.columns()
    model = scenario.model.resolve()
    number = token_bytes(model)
    stored = predicted["tokens_stored"]
    rows = [
        equal("steps", len(predicted["t"]), len(seen["step"]), "steps"),
        equal("blocks used, each step", predicted["blocks_used"], seen["blocks_used"], "blocks"),
        equal("tokens stored, each step", stored, seen["tokens_stored"], "tokens"),
        equal("bytes stored, each step", stored * number, seen["numbers_stored"] * DTYPE_BYTES[model.kv_dtype], "B"),
        equal("tokens pushed through the model", predicted["scheduled_tokens"], seen["tokens_pushed"], "tokens"),
        equal("slots written", predicted["scheduled_tokens"], seen["slots_written"], "slots"),
        equal("slots written twice", np.zeros_like(stored), seen["slots_overwritten"], "slots"),
        equal("hit tokens that were not computed", predicted["hit_tokens"], seen["hit_tokens"], "tokens"),
        equal("blocks copied", predicted["copies"], seen["copies"], "blocks"),
        equal("blocks swapped out", predicted["swaps_out"], seen["swaps_out"], "blocks"),
        equal("blocks swapped in", predicted["swaps_in"], seen["swaps_in"], "blocks"),
        equal("slots read that hold something else", np.zeros_like(stored), seen["strange_slots"], "slots"),
        equal("logits that are no number", np.zeros_like(stored), seen["nan_logits"], "logits"),
    ]
    hits = theory.record.requests["hit_tokens"]
    measured = np.array([witness.hits.get(row, 0) for row in range(len(hits))])
    rows.append(equal("hit tokens of each request", hits, measured, "tokens"))
    return rows


def _prunings(theory: Results, witness: Witness, pruning: PruningSection) -> list[Row]:
    """Who was pruned in which step, what it lost, and whether as many tokens stay as the scenario says."""
    steps, seen = theory.record.steps, witness.prunings.columns(PRUNING_COLUMNS)
    count = len(steps["t"])
    stays = np.full(len(seen["known"]), pruning.budget or np.inf)
    if pruning.keep < 1:
        stays = np.minimum(stays, np.maximum(np.rint(pruning.keep * seen["known"]), 1))
    lost = np.bincount(seen["step"], seen["lost"], count)
    return [
        equal(
            "sequences pruned, each step", steps["prunings"], np.bincount(seen["step"], minlength=count), "sequences"
        ),
        equal("tokens dropped, each step", steps["pruned_tokens"], lost, "tokens"),
        equal("tokens left of each pruned sequence", stays, seen["left"], "tokens"),
    ]


def _predicted(totals: _Totals, steps: int, calibration: Calibration) -> NDArray[np.int64]:
    """[steps] ticks that each should have taken."""
    timer = CalibratedTimer(calibration)
    return np.array([_predict(timer, *row) for row in totals.rows.table()[:steps].tolist()], np.int64)


def _times(
    prepared: Prepared, real: Results, totals: _Totals, predicted: NDArray[np.int64], calibration: Calibration
) -> list[Row]:
    """Step by step on the same steps, and a run of the simulator's own from end to end."""
    timer = CalibratedTimer(calibration)
    measured = real.record.steps["dt"]
    worked = (measured > 0) & (totals.rows.table()[: len(measured), 1] > 0)
    errors = np.abs(predicted[worked] - measured[worked]) / measured[worked]
    seconds = to_seconds(int(predicted.sum())), to_seconds(int(measured.sum()))
    rows = [Row("time of all steps", "time", *seconds, "s", off(*seconds), RUN_BOUND)]
    mean = to_seconds(int(predicted.mean())), to_seconds(int(measured.mean()))
    p50, p90 = np.quantile(errors, [0.5, 0.9]).tolist()
    for name, error, bound in (
        ("mean", float(errors.mean()), STEP_BOUND),
        ("p50", p50, STEP_BOUND),
        ("p90", p90, TAIL_BOUND),
    ):
        rows.append(Row(f"step time, {name} of the errors", "time", *mean, "s", error, bound))

    own = Simulation(prepared.scenario, workload=prepared.workload, timer=timer).run()
    for name, bound in (("ttft", STEP_BOUND), ("itl", STEP_BOUND), ("e2e", RUN_BOUND)):
        for part in ("mean", "p50", "p90"):
            pair = own.summary[name][part], real.summary[name][part]
            if None not in pair:
                rows.append(Row(f"{name.upper()}, {part}", "time", *pair, "s", off(*pair), bound))
    rate = (own.summary["throughput"]["output_tokens_per_s"], real.summary["throughput"]["output_tokens_per_s"])
    if None not in rate:
        rows.append(Row("throughput", "time", *rate, "output tokens/s", off(*rate), RUN_BOUND))
    return rows


def _predict(
    timer: CalibratedTimer,
    seqs: int,
    tokens: int,
    context: int,
    pairs: int,
    chunks: int,
    chunk_tokens: int,
    chunk_context: int,
    copies: int,
    swaps: int,
) -> Tick:
    chunked = Chunks(chunks, chunk_tokens, chunk_context)
    return timer.ticks(seqs, tokens, context, pairs, chunked) + timer.move_ticks(copies, swaps)


def _over_time(theory: Results, witness: Witness, block: int, block_size: int) -> dict[str, NDArray[Any]]:
    """Bytes allocated, stored and wasted in each step, by theory and in reality."""
    steps, seen = theory.record.steps, witness.columns()
    count = min(len(steps["t"]), len(seen["step"]))
    columns: dict[str, NDArray[Any]] = {
        "step": np.arange(count),
        "t": steps["t"][:count] / TICKS_PER_SECOND,
    }
    for name, used, stored in (
        ("theory", steps["blocks_used"], steps["tokens_stored"]),
        ("reality", seen["blocks_used"], seen["tokens_stored"]),
    ):
        allocated, held = used[:count] * block, stored[:count] * (block // block_size)
        columns |= {
            f"{name}_allocated": allocated,
            f"{name}_stored": held,
            f"{name}_wasted": allocated - held,
        }
    return columns

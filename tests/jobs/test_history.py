"""The state of every block at every step, next to what the simulator itself held then."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from app.jobs.history import History
from app.jobs.told import Facts, Status
from simcore import Results, Scenario, Simulation
from simcore.record.journal import Event
from simcore.record.sequences import Kind
from simcore.serving.request import Sequence

SMALL = [
    "workload.requests=60",
    "memory.blocks=120",
    'workload.prompt={ distribution = "lognormal", mean = 90, cv = 0.8, max = 400 }',
    'workload.output={ distribution = "lognormal", mean = 60, cv = 0.8, max = 200 }',
]
CASES = {
    "prefix caching and preemption": ("default", [*SMALL, "workload.arrivals.rate=40.0"]),
    "no prefix caching": ("default", [*SMALL, "memory.prefix_caching=false"]),
    "chunked prompts": ("default", [*SMALL, "scheduler.max_num_batched_tokens=48"]),
    "static batches": ("default", [*SMALL, 'scheduler.batching="static"']),
    "prompts first": ("default", [*SMALL, 'scheduler.batching="prefill-first"', "workload.arrivals.rate=40.0"]),
    "async scheduling": ("default", [*SMALL, "scheduler.async_scheduling=true", "workload.arrivals.rate=40.0"]),
    "swapping": ("swapping", ["workload.requests=80", "memory.blocks=300"]),
    "samples": ("parallel-samples", ["workload.requests=40"]),
    "beams": ("beam-search", ["workload.requests=25"]),
    "tiers": ("tiers", ["workload.requests=60"]),
    "windows": ("default", [*SMALL, 'model={ preset = "gpt-oss-20b" }', 'hardware={ preset = "h100" }']),
    "pruned once": ("default", [*SMALL, "pruning.keep=0.4", "workload.arrivals.rate=40.0"]),
    "pruned again": ("default", [*SMALL, "pruning={ budget = 50, during = 'outputs' }"]),
    "pruned in place": (
        "default",
        [*SMALL, "memory.prefix_caching=false", "pruning={ budget = 50, during = 'outputs', slack = 5 }"],
    ),
    "contiguous": ("orca", ["workload.requests=40"]),
}


@dataclass
class Copy:
    """What the simulator holds while a step runs, copied from its sequences' own tables."""

    simulation: Simulation | None = None
    tables: list[dict[int, list[int]]] = field(default_factory=list)
    tokens: list[dict[int, int]] = field(default_factory=list)
    waiting: list[set[int]] = field(default_factory=list)

    def arrived(self, request: Any, accepted: bool) -> None: ...

    def planned(self, plan: Any, start: int, ticks: int) -> None:
        assert self.simulation is not None
        scheduler = self.simulation.scheduler
        self.tables.append({s.id: [b for table in s.tables for b in table if b] for s in scheduler.running})
        for keep in plan.keeps:  # until the step is done it holds both
            mine = self.tables[-1][keep.seq]
            mine += [block for block in keep.table if block not in mine]
        self.tokens.append({s.id: self._tokens(s) for s in scheduler.running})
        self.waiting.append({s.id for s in [*scheduler.waiting, *scheduler.fetching]})

    def _tokens(self, sequence: Sequence) -> int:
        assert self.simulation is not None
        if sequence.offset is None:
            return sequence.computed
        return min(self.simulation.scheduler.clock - sequence.offset, sequence.end - 1)

    def committed(self, plan: Any, ended: Any) -> None: ...


def played(preset: str, keys: list[str]) -> tuple[History, Copy]:
    """A run as it is watched, in two pieces, and what was in it."""
    history, copy, _ = watched(preset, keys)
    return history, copy


def watched(preset: str, keys: list[str]) -> tuple[History, Copy, Results]:
    copy = Copy()
    simulation = Simulation(Scenario.preset(preset, keys), journal=True, observers=[copy])
    copy.simulation = simulation
    history = History(Facts.of(simulation))
    results = simulation.run()
    assert results.journal is not None
    assert results.sequence_log is not None
    steps = dict(results.record.steps)
    steps["evictions"] = np.cumsum(steps["evictions"])
    steps |= {name: column[: len(steps["t"])] for name, column in results.sequence_log.marks().items()}
    entries, events = results.journal.columns(), results.sequence_log.events()
    cut = len(steps["t"]) // 3
    entry, event = int(steps["entries"][cut - 1]), int(steps["events"][cut - 1])
    for first in (True, False):
        history.extend(
            {name: column[:cut] if first else column[cut:] for name, column in steps.items()},
            {name: column[:entry] if first else column[entry:] for name, column in entries.items()},
            {name: column[:event] if first else column[event:] for name, column in events.items()},
        )
    return history, copy, results


@pytest.fixture(scope="module", params=CASES, ids=lambda name: name.replace(" ", "-"))
def case(request: pytest.FixtureRequest) -> tuple[History, Copy]:
    return played(*CASES[request.param])


def test_blocks_are_held_by_whom_the_simulator_says(case: tuple[History, Copy]) -> None:
    history, copy = case
    steps = np.random.default_rng(1).permutation(len(history))[:250]  # in no order: forwards and backwards
    for step in steps.tolist():
        state, refs = history.at(step), np.zeros(history.facts.blocks, int)
        for sequence, table in copy.tables[step].items():
            np.add.at(refs, table, 1)
            mine = [block for block in table if refs[block] == 1]
            assert sequence >= 0
            assert mine or not table or refs[table].max() > 1
        fetched = history.facts.tiers != ()  # who waits for a transfer holds blocks too, without being admitted
        assert (state.refs >= refs).all() if fetched else (state.refs == refs).all()
        for sequence, table in copy.tables[step].items():
            alone = [block for block in table if refs[block] == 1]
            assert (state.owner[alone] == sequence).all() or fetched


def test_counts_are_those_of_the_timeline(case: tuple[History, Copy]) -> None:
    history, _ = case
    for step in range(0, len(history), max(1, len(history) // 250)):
        state = history.at(step)
        held = state.refs > 0
        assert held.sum() == history.steps["blocks_used"][step]
        assert ((state.key != 0) & ~held).sum() == history.steps["blocks_cached"][step]
        if history.facts.tables == 1:  # otherwise it is not in the journal, and said so
            assert state.filled[held].sum() == history.steps["tokens_stored"][step]
        else:
            assert "block tables" in (history.facts.limits or "")


def test_block_tables_are_those_of_the_sequences(case: tuple[History, Copy]) -> None:
    history, copy = case
    for step in np.random.default_rng(2).permutation(len(history))[:120].tolist():
        tables = history.tables(step, sorted(copy.tables[step]))
        for sequence, table in copy.tables[step].items():
            if history.facts.tables == 1:
                assert tables[sequence].tolist() == table
            else:
                assert sorted(tables[sequence].tolist()) == sorted(table)


def test_who_runs_waits_and_how_far_it_is(case: tuple[History, Copy]) -> None:
    history, copy = case
    for step in np.random.default_rng(3).permutation(len(history))[:250].tolist():
        sequences = history.sequences(step)
        running = np.flatnonzero(np.isin(sequences.status, (Status.PREFILL, Status.DECODE)))
        assert set(running.tolist()) == set(copy.tokens[step])
        assert {s: int(sequences.tokens[s]) for s in running} == copy.tokens[step]
        waits = np.flatnonzero(np.isin(sequences.status, (Status.WAITING, Status.PREEMPTED)))
        assert set(waits.tolist()) == copy.waiting[step]


def test_holders_of_a_shared_block(case: tuple[History, Copy]) -> None:
    history, copy = case
    for step in range(0, len(history), max(1, len(history) // 30)):
        state = history.at(step)
        if history.facts.tiers:
            continue
        for block in np.flatnonzero(state.refs > 1)[:5].tolist():
            expected = {sequence for sequence, table in copy.tables[step].items() if block in table}
            assert set(history.holders(block, step)) == expected


def test_jumps_go_to_what_happened() -> None:
    history, _ = played(*CASES["prefix caching and preemption"])
    evictions = np.unique(history.entries["step"][history.entries["event"] == Event.EVICT])
    preemptions = np.unique(history.events["step"][history.events["kind"] == Kind.PREEMPT])
    for kind, steps in (("eviction", evictions), ("preemption", preemptions)):
        assert len(steps)
        assert history.marks(kind).tolist() == steps.tolist()
        assert history.next(kind, -1) == steps[0]
        assert history.next(kind, int(steps[0])) == (steps[1] if len(steps) > 1 else None)
        assert history.previous(kind, int(steps[-1]) + 1) == steps[-1]
        assert history.previous(kind, int(steps[0])) is None


def test_the_chain_of_a_block_begins_at_the_start_of_its_sequence() -> None:
    history, copy = played(*CASES["prefix caching and preemption"])
    step = len(history) // 2
    for table in copy.tables[step].values():
        for place, block in enumerate(table):
            chain = history.chain(block, step)
            assert [b for b, _ in chain][-1] == block
            assert len(chain) == place + 1


def test_why_a_request_waits() -> None:
    history, copy = played(*CASES["prefix caching and preemption"])
    told = [
        history.why_waits(sequence, step)
        for step in range(0, len(history), 5)
        for sequence in sorted(copy.waiting[step])[:3]
    ]
    assert any("before it in the queue" in why for why in told)
    assert any("No blocks free" in why or "give way" in why for why in told)
    assert history.why_waits(min(copy.tokens[5]), 5) == "It does not wait."


def test_a_full_batch_is_why() -> None:
    history, copy = played("default", [*SMALL, "scheduler.max_num_seqs=2", "workload.arrivals.rate=40.0"])
    step = next(step for step, waiting in enumerate(copy.waiting) if waiting and len(copy.tokens[step]) == 2)
    assert "scheduler.max_num_seqs is 2" in history.why_waits(min(copy.waiting[step]), step)


def test_a_step_that_never_was() -> None:
    history, _ = played("default", SMALL)
    with pytest.raises(IndexError, match="no step"):
        history.at(len(history))

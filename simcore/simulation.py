"""A scenario put together and run."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TextIO

import numpy as np

from simcore.errors import InputError, UnsupportedError
from simcore.geometry import PoolSize, pool_size
from simcore.memory.build import make_memory
from simcore.policies.victim import LowestPriority
from simcore.record.journal import Journal
from simcore.record.recorder import Recorder
from simcore.record.results import Results
from simcore.record.sequences import SequenceLog
from simcore.record.steplog import StepLog
from simcore.scenario import Scenario
from simcore.scenario.workload import MOST_SAMPLES
from simcore.serving.beams import BeamSearch
from simcore.serving.executor import Executor, TimedExecutor
from simcore.serving.scheduler import Scheduler
from simcore.serving.world import Observer, World
from simcore.timing import NO_CHUNKS, Chunks, StepTimer, make_timer
from simcore.workload import Workload, make_workload
from simcore.workload.columns import OPEN


class Simulation:
    """A scenario, ready to run once."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        workload: Workload | None = None,
        timer: StepTimer | None = None,
        executor: Executor | None = None,
        journal: bool = False,
        step_log: TextIO | None = None,
        observers: Iterable[Observer] = (),
    ) -> None:
        """`workload` and `timer` stand in for the scenario's own; with `journal` every change of a block is kept.

        An `executor` carries the steps out in place of a timer. A line for each step goes to `step_log`. Raises
        InputError if the scenario cannot be run.
        """
        self.scenario = scenario
        self.pool: PoolSize = pool_size(scenario)
        self.workload = make_workload(scenario.workload, scenario.seed) if workload is None else workload

        _check(self.workload)
        late = scenario.scheduler.async_scheduling
        if self.workload.samples is not None and (self.workload.samples > 1).any() and (late or scenario.pruning.on):
            name = "scheduler.async_scheduling" if late else "pruning"
            raise UnsupportedError(f"{name} cannot be simulated with several samples yet")
        self._with_journal = journal
        self.journal = Journal() if journal or step_log is not None else None
        if timer is None and executor is None:
            timer = make_timer(scenario)
        memory = make_memory(scenario, self.pool.blocks, self.workload, timer, self.journal)
        scheduler = Scheduler(
            scenario.scheduler,
            memory,
            scenario.max_model_len,
            watermark=int(scenario.scheduler.watermark * self.pool.blocks),
            list_rows=step_log is not None or executor is not None,
            keep_unwritten=scenario.memory.keep_unwritten and scenario.scheduler.victim_rule == LowestPriority.name,
            seed=scenario.seed,
            swap_pays=_swap_pays(scenario, timer) if scenario.scheduler.preemption == "cheaper" else None,
        )
        beams = BeamSearch(self.workload, scenario.seed) if self.workload.beam_switch else None
        self._tier_blocks = tuple(tier.blocks for tier in scheduler.tiered.tiers) if scheduler.tiered else ()
        self.scheduler = scheduler
        self.recorder = Recorder(scheduler, len(self.workload))
        self.sequence_log: SequenceLog | None = None
        """beside the journal: what happened to each sequence"""
        watching: list[Observer] = [self.recorder]
        if journal and self.journal is not None:
            self.sequence_log = SequenceLog(scheduler, self.journal, scenario.max_model_len)
            watching.append(self.sequence_log)
        watching += observers
        if step_log is not None and self.journal is not None:
            watching.append(StepLog(step_log, self.workload, memory, self.journal))
        self._world = World(
            self.workload,
            scheduler,
            executor or TimedExecutor(timer or make_timer(scenario), beams),
            watching,
            max_steps=scenario.scheduler.max_steps,
            depth=2 if late else 1,
        )
        self.memory = memory
        """what the scheduler speaks to, for observers to look at"""
        self._interrupted = False

    def stop(self) -> None:
        """End the run after the current step. May be called from a signal handler or another thread."""
        self._interrupted = True
        self._world.stop()

    def keep_in(self, folder: Path) -> None:
        """Let `flush` move what is recorded to files there, so that a long run needs little more memory than a short.

        See `simcore.record.files` for the files. The results of the run are read from them. Raises OSError.
        """
        for part in self._recording:
            part.keep_in(folder)

    def flush(self) -> None:
        """Move what has been recorded so far to the files. Raises OSError."""
        for part in self._recording:
            part.flush()

    @property
    def _recording(self) -> list[Recorder | SequenceLog | Journal]:
        return [part for part in (self.journal, self.sequence_log, self.recorder) if part is not None]

    def run(self) -> Results:
        """To the end, or until it is stopped."""
        self._world.run()
        return Results(
            self.scenario,
            self.workload,
            self.recorder.finish(),
            blocks_in_pool=self.pool.blocks,
            journal=self.journal if self._with_journal else None,
            sequence_log=self.sequence_log,
            tier_blocks=self._tier_blocks,
            interrupted=self._interrupted,
            out_of_time=self._world.out_of_time,
        )


def _swap_pays(scenario: Scenario, timer: StepTimer | None) -> Callable[[int, int], bool]:
    """Whether to swap out a victim that has computed so many tokens, so many of which the prefix cache has.

    Swapping moves all of its blocks out, and those that are not cached in again. Computing them again is a chunk of the
    tokens that are not cached, in a step that there would be anyhow.
    """
    timer, size = timer or make_timer(scenario), scenario.memory.block_size
    idle = timer.ticks(1, 1, 1, 1, NO_CHUNKS)

    def pays(computed: int, cached: int) -> bool:
        tokens, blocks = computed - cached, -(-computed // size)
        pairs = tokens * cached + tokens * (tokens + 1) // 2
        again = timer.ticks(1, tokens, computed, pairs, Chunks(1, tokens, computed)) - idle
        return timer.move_ticks(0, 2 * blocks - cached // size) < again

    return pays


def _check(workload: Workload) -> None:
    """What columns made by hand may lack; a scenario's own workload has it all."""
    opening = workload.arrival if workload.after is None else workload.arrival[workload.after == OPEN]
    if not np.isfinite(workload.arrival).all() or (workload.arrival < 0).any() or (np.diff(opening) < 0).any():
        raise InputError("the workload's arrivals must be numbers, at least 0, and must not decrease")
    if min(workload.prompt_len.min(initial=1), workload.output_len.min(initial=1)) < 1:
        raise InputError("every request of the workload must have at least one token of prompt and one of output")
    if workload.samples is not None and ((workload.samples < 1) | (workload.samples > MOST_SAMPLES)).any():
        raise InputError(f"the samples wanted of a request must be from 1 to {MOST_SAMPLES:,}")


def simulate(
    scenario: Scenario,
    *,
    workload: Workload | None = None,
    timer: StepTimer | None = None,
    journal: bool = False,
    step_log: TextIO | None = None,
    observers: Iterable[Observer] = (),
) -> Results:
    """Run a scenario to its end. See `Simulation` for the arguments.

    >>> from simcore import Scenario, simulate
    >>> results = simulate(Scenario.preset("default"))
    >>> results.summary["requests"]["finished"] > 0
    True
    """
    simulation = Simulation(
        scenario, workload=workload, timer=timer, journal=journal, step_log=step_log, observers=observers
    )
    return simulation.run()

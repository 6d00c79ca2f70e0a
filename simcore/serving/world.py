"""The SimPy world around a scheduler: requests arrive, a server takes step after step, time passes.

SimPy holds the clock, in ticks. Arrivals are events of their own; a server is one process that asks its scheduler for
a plan, hands it to an executor, and sleeps for as long as the step lasts. Through a step in which no event of anybody
else falls there is nothing to wait for: the server's own time then runs ahead of the clock, up to the next event.
"""

import math
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Protocol

import numpy as np
import simpy

from simcore.memory.tiers import Transfer
from simcore.serving.executor import Executor
from simcore.serving.links import Links
from simcore.serving.plan import Outcome, StepPlan
from simcore.serving.request import Request, Sequence, served
from simcore.serving.scheduler import Scheduler
from simcore.ticks import MAX_TICKS, Tick, to_ticks
from simcore.workload.columns import OPEN, Workload

Events = Generator[simpy.Event, None, None]

LATE = 2
"""Priority of what must see all else of its instant done: SimPy's own events have 0 and 1."""


class Pause(simpy.Event):
    """A timeout that fires last among the events of its instant.

    What arrives at the very tick at which a step ends is there for the next step.
    """

    def __init__(self, env: simpy.Environment, delay: Tick = 0) -> None:
        self.env = env
        self.callbacks = []
        self._value = None
        self._ok = True
        env.schedule(self, LATE, delay)  # type: ignore[arg-type]  # SimPy names two priorities, and orders by any


class Observer(Protocol):
    """Sees all that happens, and changes nothing."""

    def arrived(self, request: Request, accepted: bool) -> None:
        """A request reached its server."""

    def planned(self, plan: StepPlan, start: Tick, ticks: Tick) -> None:
        """A step lasts `ticks` from `start` on; its outcome is not applied yet, nor need that of the one before it."""

    def committed(self, plan: StepPlan, ended: list[Sequence]) -> None:
        """The outcome of a step has been applied; its last tokens `ended` these branches."""


class Server:
    """One replica: a scheduler and its executor. Steps follow each other without a gap while there is work.

    With a depth of two, a step is planned while the one before it is computed, as in vLLM's async scheduling.
    """

    def __init__(
        self,
        env: simpy.Environment,
        scheduler: Scheduler,
        executor: Executor,
        observers: Iterable[Observer],
        on_end: Callable[[Request], None],
        max_steps: int = 0,
        depth: int = 1,
    ) -> None:
        """`depth`: so many plans may be in flight."""
        self.scheduler = scheduler
        self._env = env
        self._executor = executor
        self._observers = tuple(observers)
        self._on_end = on_end
        self._max_steps = max_steps
        self._depth = depth
        self._work = env.event()
        self._news = False
        self._links = Links(env, self._arrived)
        self.stopping = False
        """The step it is in, if any, is its last."""
        self.stopped = False
        self.out_of_time = False
        """Its last step was cut short by the end of the clock."""
        env.process(self._serve())

    def submit(self, request: Request) -> bool:
        """A request arrives. False: it is refused."""
        accepted = self.scheduler.add(request)
        for observer in self._observers:
            observer.arrived(request, accepted)
        if accepted:
            self._wake()
        return accepted

    def _wake(self) -> None:
        """Something may be planned that could not be before."""
        self._news = True
        if not self._work.triggered:
            self._work.succeed()

    def _arrived(self, transfer: Transfer) -> None:
        if self.scheduler.arrived(transfer, int(self._env.now)):
            self._wake()

    def _serve(self) -> Events:
        """Plan, then wait for the oldest plans until fewer than `depth` are in flight; at one, that is this plan."""
        env, scheduler, executor, observers = self._env, self.scheduler, self._executor, self._observers
        schedule, commit = scheduler.schedule, scheduler.commit
        tiered, depth, last = scheduler.tiered is not None, self._depth, self._max_steps - 1
        in_flight: deque[tuple[StepPlan, Outcome, Tick]] = deque()
        now: Tick = 0  # not before that of the clock, and before its next event
        free = 0  # when all that was planned so far is done
        while in_flight or not self.stopping:
            plan, idle = None, True
            if not self.stopping:
                self._news = False
                plan = schedule(now)
            if plan is not None:
                there = self._links.carry(scheduler.transfers()) if tiered else 0  # what the step needs
                executor.submit(plan)
                outcome = executor.collect()
                start = free if free > now else now
                free = start + outcome.ticks
                if there > free:
                    free = there
                if free > MAX_TICKS:
                    free = MAX_TICKS
                    self.stopping = self.out_of_time = True
                for observer in observers:
                    observer.planned(plan, start, free - start)
                in_flight.append((plan, outcome, free))
                if plan.index == last:
                    self.stopping = True
                idle = not plan.rows and (plan.stalled or scheduler.awaits)
            most = 0 if idle or self.stopping else depth - 1
            while len(in_flight) > most:
                oldest, outcome, end = in_flight.popleft()
                if end > now:
                    now = end
                    if tiered or env.peek() <= end:
                        yield Pause(env, end - int(env.now))
                ended = commit(oldest, outcome, now)
                if tiered:
                    self._links.carry(scheduler.transfers())
                for observer in observers:
                    observer.committed(oldest, ended)
                if ended:
                    if now > env.now:
                        yield Pause(env, now - int(env.now))  # who waited for it counts from here
                    for request in served(ended):
                        self._on_end(request)
                    yield Pause(env)  # somebody may have waited for the end of one, and arrive at once
            if idle and not self.stopping:
                if now > env.now:
                    yield Pause(env, now - int(env.now))
                yield from self._wait()  # only another arrival can change anything, of a request or of a transfer
                now = int(env.now)
        self.stopped = True

    def _wait(self) -> Events:
        """For somebody to arrive, unless somebody has since the last plan was made."""
        if not self._news:
            self._work = self._env.event()
            yield self._work
        yield Pause(self._env)


class World:
    """A workload and the server it is sent to."""

    def __init__(
        self,
        workload: Workload,
        scheduler: Scheduler,
        executor: Executor,
        observers: Iterable[Observer] = (),
        *,
        max_steps: int = 0,
        depth: int = 1,
    ) -> None:
        self._env = simpy.Environment(initial_time=0)
        self._workload = workload
        rows: Iterable[int] = range(len(workload))
        self._followers: array[int] | None = None
        if workload.after is not None:
            rows = array("q", np.flatnonzero(workload.after == OPEN).tobytes())
            order = np.argsort(workload.after, kind="stable")
            first = np.searchsorted(workload.after[order], np.arange(len(workload) + 1))
            self._followers = array("q", order.tobytes())  # who waits, in the order of the rows that they wait for
            self._first_follower = array("q", first.tobytes())  # and where those begin who wait for each row
        self.server = Server(self._env, scheduler, executor, observers, self._ended, max_steps, depth)
        self._env.process(self._arrivals(rows))

    @property
    def now(self) -> Tick:
        return int(self._env.now)

    def run(self) -> None:
        """Until it is stopped, the clock ends, or nothing can happen any more: all is served, or never can be."""
        while not self.server.stopped and self._env.peek() <= MAX_TICKS:
            self._env.step()

    @property
    def out_of_time(self) -> bool:
        """The run was over because the clock ended, 97 days after it began."""
        return self.server.out_of_time or (not self.server.stopped and self._env.peek() < math.inf)

    def stop(self) -> None:
        """End the run after the current step: what is recorded is whole. May be called from a signal handler."""
        self.server.stopping = True

    def _arrivals(self, rows: Iterable[int]) -> Events:
        """The requests that wait for nobody, in the order of the workload."""
        env, arrival = self._env, self._workload.arrival
        for row in rows:
            delay = to_ticks(arrival[row]) - env.now
            if delay > 0:
                yield env.timeout(delay)
            self._submit(row)

    def _ended(self, request: Request) -> None:
        self._wake_followers(request.row)

    def _wake_followers(self, row: int) -> None:
        """What waits for the end of a request, served or refused, arrives its own delay later."""
        if self._followers is not None:
            first, end = self._first_follower[row : row + 2]
            for follower in self._followers[first:end]:
                self._env.process(self._follow(follower))

    def _follow(self, row: int) -> Events:
        yield self._env.timeout(to_ticks(self._workload.arrival[row]))
        self._submit(row)

    def _submit(self, row: int) -> None:
        workload = self._workload
        request = Request(
            row=row,
            id=workload.id_of(row),
            arrival=self.now,
            prompt_len=int(workload.prompt_len[row]),
            output_len=int(workload.output_len[row]),
            priority=0 if workload.priority is None else int(workload.priority[row]),
            category=0 if workload.category is None else int(workload.category[row]),
            beam=workload.beam_switch > 0,
            samples=1 if workload.samples is None else int(workload.samples[row]),
        )
        if not self.server.submit(request):
            self._wake_followers(row)

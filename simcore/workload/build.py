"""From the section `[workload]` of a scenario to the columns that a simulation plays."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.scenario.workload import WorkloadSection
from simcore.ticks import MAX_TICKS, to_seconds
from simcore.workload.arrivals import arrive
from simcore.workload.columns import OPEN, Floats, Runs, Workload
from simcore.workload.streams import Streams
from simcore.workload.synthetic import draw_workload
from simcore.workload.traces import read_trace

SERVEGEN_SECONDS = 600.0
"""How much of a ServeGen description is sampled where the section does not say when to end."""


def make_workload(section: WorkloadSection, seed: int) -> Workload:
    """The requests of a section: drawn, or what is wanted of its trace. Equal sections and seeds, equal columns.

    Requests that wait for nobody are in order of arrival, and every other one stands behind the one it waits for.
    Raises InputError for a trace that cannot be read or leaves nothing to simulate.
    """
    workload = draw_workload(section, Streams.of(seed)) if section.trace is None else _play(section, seed)
    latest, longest = float(workload.arrival.max()), to_seconds(MAX_TICKS)
    if latest > longest:
        raise InputError(
            f"The last request arrives after {latest:,.0f} s, and a run may last {longest:,.0f} s (97 days); "
            "take fewer requests or a higher rate."
        )
    return workload


def _play(section: WorkloadSection, seed: int) -> Workload:
    """Read the trace; then, in this order: window, limit, drop, arrivals if it has none, rate."""
    assert section.trace
    assert section.format
    assert section.sessions
    assert section.rate_scale
    start, end = section.start or 0.0, section.end
    trace = read_trace(
        section.trace,
        section.format,
        skip_bad_lines=bool(section.skip_bad_lines),
        sessions=section.sessions,
        seed=seed,
        span=(start, start + SERVEGEN_SECONDS if end is None else end),
    )
    _check_times(section, trace)
    taken = trace
    if trace.format != "servegen" and (start or end is not None):  # ServeGen is sampled within the window
        taken = window(taken, start, np.inf if end is None else end)
    if section.limit is not None:
        taken = taken.take(np.arange(min(section.limit, len(taken))))
    workload = drop_empty(taken)
    if not len(workload):
        raise InputError(
            f'"{section.trace}" leaves no request to simulate: {len(trace)} were read, {len(taken)} of them lie in the '
            "window, and none of those has a prompt and an output."
        )
    if section.arrivals:
        arrival, after = arrive(section.arrivals, len(workload), Streams.of(seed).arrivals)
        workload = replace(workload, arrival=arrival, after=after)
    scale = np.where(_waits(workload), 1.0, section.rate_scale)
    return replace(workload, arrival=workload.arrival / scale)


def _check_times(section: WorkloadSection, trace: Workload) -> None:
    """Either the trace has times or the section gives some; the window is one of the trace's times."""
    if not np.isnan(trace.arrival).any():
        if section.arrivals:
            raise InputError(f'workload.arrivals is given, but "{section.trace}" has its own: leave it out.')
    elif not section.arrivals:
        raise InputError(f'"{section.trace}" does not say when requests arrive: give workload.arrivals.')
    elif section.start or section.end is not None:
        raise InputError(f'workload.start and workload.end need arrivals, and "{section.trace}" has none.')


def window(workload: Workload, start: float, end: float) -> Workload:
    """What arrives from `start` on and before `end` (s), which is then counted from `start`.

    A request that waits for others belongs to the time at which the first of these arrives.
    """
    time = _opening_time(workload)
    taken = workload.take(np.flatnonzero((start <= time) & (time < end)))
    return replace(taken, arrival=np.where(_waits(taken), taken.arrival, taken.arrival - start))


def drop_empty(workload: Workload) -> Workload:
    """Leave out, and count, the requests without a prompt or an output, as if they were answered at once."""
    empty = (workload.prompt_len < 1) | (workload.output_len < 1)
    if not empty.any():
        return workload
    if workload.after is not None:
        arrival, after = workload.arrival.copy(), workload.after.copy()
        while len(orphans := np.flatnonzero((after != OPEN) & empty[after])):
            lost = after[orphans]
            arrival[orphans] += arrival[lost]
            after[orphans] = after[lost]
        workload = replace(workload, arrival=arrival, after=after)
    order = np.argsort(_opening_time(workload), kind="stable")
    return replace(workload.take(order[~empty[order]]), dropped=workload.dropped + int(empty.sum()))


def cut_prompts(workload: Workload, most: int) -> Workload:
    """The same requests with prompts of at most `most` tokens: what is behind is left out."""
    prompt_len = np.minimum(workload.prompt_len, most)
    runs = workload.runs
    if runs is not None:
        row = np.repeat(np.arange(len(workload)), np.diff(runs.offsets))
        before = np.concatenate(([0], np.cumsum(runs.length)))
        begin = before[:-1] - before[runs.offsets[row]]
        length = np.minimum(runs.length, prompt_len[row] - begin)
        kept = length > 0
        offsets = np.concatenate(([0], np.cumsum(np.bincount(row[kept], minlength=len(workload)))))
        start = None if runs.start is None else runs.start[kept]
        runs = Runs(offsets, runs.source[kept], length[kept], start)
    return replace(workload, prompt_len=prompt_len, runs=runs)


def _waits(workload: Workload) -> NDArray[np.bool_]:
    """Which requests wait for another's end."""
    return np.zeros(len(workload), np.bool_) if workload.after is None else workload.after != OPEN


def _opening_time(workload: Workload) -> Floats:
    """When the request arrives that begins each request's chain of waiting; its own arrival if it waits for nobody."""
    return workload.arrival[workload.opening()]

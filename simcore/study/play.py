"""Hits of eviction policies, by capacity and order of touching."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.policies.admission import ADMISSION, Admission
from simcore.policies.eviction import EVICTION, Eviction, EvictionOrder, Setting, Use
from simcore.policies.eviction.base import NEVER_AGAIN
from simcore.policies.families import files_of
from simcore.study.policies import choose, label
from simcore.study.stream import FORWARD, TAIL_FIRST, Stream, read_stream, stream_of
from simcore.study.workers import each
from simcore.ticks import to_ticks
from simcore.workload.columns import Ints
from simcore.workload.traces import AUTO

if TYPE_CHECKING:
    import polars as pl

MOST_BLOCKS = 10**9
"""of a capacity"""


@dataclass(frozen=True, slots=True)
class Hits:
    """What a policy found, at one capacity and in one order."""

    policy: str
    """with its parameters, where they are not the default"""
    capacity: int
    """in the trace's own blocks, or in ids"""
    order: str
    requests: int
    accesses: int
    object_hits: int
    """of blocks that are asked for one at a time, in the order"""
    prefix_hits: int | None
    """of whole requests, up to each one's first miss; None: a stream of ids has no requests"""
    cpu_s: float
    """that counting `object_hits` took"""


@dataclass(frozen=True, slots=True)
class Case:
    """What is asked for."""

    policy: EvictionOrder
    capacity: int
    order: str
    admission: Admission | None
    seed: int


def hits(
    trace: Path | str | Sequence[int] | NDArray[np.integer] | Stream,
    capacities: int | Iterable[int],
    policies: str | Iterable[EvictionOrder] = "lru",
    *,
    orders: Iterable[str] | None = None,
    format: str = AUTO,
    sessions: str = "sequential",
    admission: str | Admission | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> "pl.DataFrame":
    """Object hits and usable prefix hits of eviction policies on a trace: a row a policy, capacity and order.

    `trace`: a file, as `read_stream` takes it, or ids one after another. `capacities`: in the trace's own blocks.
    `policies`: such as "lru,s3-fifo:small=0.2", "all", or policies. `orders`: "forward", "tail-first"; both without it.
    `admission` refuses blocks to the cache that prefix hits are counted in. `jobs`: processes that share the work; the
    result is the same. Columns: those of `Hits` but for the time. Raises InputError.
    """
    import polars as pl

    if isinstance(trace, Path | str):
        stream = read_stream(Path(trace), format, sessions=sessions)
    else:
        stream = trace if isinstance(trace, Stream) else stream_of(trace)
    chosen = choose(EVICTION, policies) if isinstance(policies, str) else list(policies)
    sizes = [capacities] if isinstance(capacities, int) else list(capacities)
    (refuser,) = choose(ADMISSION, admission) if isinstance(admission, str) else (admission,)
    rows = study(stream, chosen, sizes, orders, admission=refuser, seed=seed, jobs=jobs)
    columns = {"policy": pl.String, "capacity": pl.Int64, "order": pl.String, "requests": pl.Int64}
    counts = {"accesses": pl.Int64, "object_hits": pl.Int64, "prefix_hits": pl.Int64}
    schema = columns | counts
    return pl.DataFrame([[getattr(row, name) for name in schema] for row in rows], schema=schema, orient="row")


def study(
    stream: Stream,
    policies: Sequence[EvictionOrder],
    capacities: Sequence[int],
    orders: Iterable[str] | None = None,
    *,
    admission: Admission | None = None,
    seed: int = 0,
    jobs: int = 1,
) -> Iterator[Hits]:
    """Play a stream for every policy, capacity and order, in this order. Raises InputError at once.

    A stream of ids has no requests, and with that one order only.
    """
    for capacity in capacities:
        if not 1 <= capacity <= MOST_BLOCKS:
            raise InputError(f"a capacity must be a whole number of blocks from 1 to {MOST_BLOCKS:,}, not {capacity:,}")
    cases = [
        Case(policy, capacity, order, admission, seed)
        for policy in policies
        for capacity in dict.fromkeys(capacities)
        for order in stream.orders(orders)
    ]
    return each(Play, stream, cases, jobs, files_of([*policies, admission]))


class Play:
    """Plays cases on one stream; what they share is computed once."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._listed: dict[str, list[int]] = {}

    def __call__(self, case: Case) -> Hits:
        stream = self._stream
        names = self._names(case.order)
        policy = self._fresh(case)
        foreseen = next_uses(stream.ordered(case.order)).tolist() if foresees(policy) else None
        start = process_time()
        found = policy.replay(names, case.capacity, foreseen).count(1)
        cpu_s = process_time() - start
        return Hits(
            policy=label(policy),
            capacity=case.capacity,
            order=case.order,
            requests=stream.requests,
            accesses=len(names),
            object_hits=found,
            prefix_hits=None if stream.offsets is None else self._prefix_hits(case),
            cpu_s=cpu_s,
        )

    def _fresh(self, case: Case) -> EvictionOrder:
        policy = replace(case.policy)
        policy.begin(self._setting(case))
        return policy

    def _setting(self, case: Case) -> Setting:
        return Setting(case.capacity, case.seed, self._stream.block or 1)

    def _names(self, order: str) -> list[int]:
        if order not in self._listed:
            self._listed[order] = self._stream.ordered(order).tolist()
        return self._listed[order]

    @cached_property
    def _requests(self) -> list[Use]:
        """Who asks, and when."""
        stream = self._stream
        assert stream.offsets is not None
        assert stream.arrival is not None
        uses = []
        for row, (first, arrival) in enumerate(zip(stream.offsets.tolist(), stream.arrival.tolist(), strict=False)):
            use = Use()
            use.row = first
            use.now = row if arrival != arrival else to_ticks(arrival)
            use.priority = 0 if stream.priority is None else int(stream.priority[row])
            use.category = 0 if stream.category is None else int(stream.category[row])
            uses.append(use)
        return uses

    @cached_property
    def _later(self) -> list[int]:
        assert self._stream.offsets is not None
        later: list[int] = next_uses(self._stream.names, self._stream.offsets).tolist()
        return later

    def _prefix_hits(self, case: Case) -> int:
        """Look up all of a request, touch and insert all of it, evict down to the capacity; then the next one."""
        stream, policy, admission = self._stream, self._fresh(case), case.admission
        assert stream.offsets is not None
        if admission is not None:
            admission = replace(admission)
            admission.start(self._setting(case))
        later = self._later if foresees(policy) else None
        touch: Callable[..., None] = _touch_each if isinstance(policy, Eviction) else _touch_list
        names, bounds = self._names(FORWARD), stream.offsets.tolist()
        cached: set[int] = set()
        hits = 0
        for use, first, end in zip(self._requests, bounds, bounds[1:], strict=False):
            blocks = names[first:end]
            if policy.expires:
                cached.difference_update(policy.expired(use.now))
            for name in blocks:
                if name not in cached:
                    break
                hits += 1
            places = range(len(blocks)) if case.order != TAIL_FIRST else range(len(blocks) - 1, -1, -1)
            touched: Sequence[int] = places
            if len(set(blocks)) < len(blocks):  # a request uses a block once, when it touches it for the last time
                last = {blocks[place]: place for place in places}
                touched = [place for place in places if last[blocks[place]] == place]
            if admission is not None and not admission.admits_all:
                out = _refused(admission, blocks, cached, use)
                touched = [place for place in touched if blocks[place] not in out]
            touch(policy, blocks, touched, cached, use, later)
            cached.update(blocks if len(touched) == len(blocks) else [blocks[place] for place in touched])
            if len(cached) > case.capacity:
                cached.difference_update(policy.victims(len(cached) - case.capacity))
        return hits


def foresees(policy: EvictionOrder) -> bool:
    """Whether it has to be told of next uses."""
    return isinstance(policy, Eviction) and policy.foresees


def next_uses(names: Ints, offsets: Ints | None = None) -> Ints:
    """Of each access the next one to the same content, or `NEVER_AGAIN`; with `offsets` the next of another request."""
    order = np.argsort(names, kind="stable")
    again = names[order[1:]] == names[order[:-1]]
    found = np.full(len(names) + 1, NEVER_AGAIN, np.int64)
    found[order[:-1][again]] = order[1:][again]
    if offsets is not None:
        row = np.append(np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), -1)
        while len(same := np.flatnonzero(row[np.minimum(found, len(names))] == row)[:-1]):
            found[same] = found[found[same]]
    return found[:-1]


def _touch_each(
    policy: Eviction, blocks: list[int], touched: Sequence[int], cached: set[int], use: Use, later: list[int] | None
) -> None:
    """Tell a policy of one block after another that it is used, and then that it is let go of."""
    for place in touched:
        name = blocks[place]
        use.place, use.before = place, blocks[place - 1] if place else 0
        if later is not None:
            use.next = later[use.row + place]
        if name in cached:
            policy.hit(name, use)
        else:
            policy.enter(name, name, use)
    if type(policy).release is not Eviction.release:
        for place in touched:
            use.place, use.before = place, blocks[place - 1] if place else 0
            policy.release(blocks[place], use)


def _touch_list(
    policy: EvictionOrder, blocks: list[int], touched: Sequence[int], cached: set[int], use: Use, later: None
) -> None:
    """A sequence holds all its blocks for an instant, and lets go of them in the order."""
    use.place = use.before = 0
    ordered = [blocks[place] for place in touched]
    held = [name for name in ordered if name in cached]
    new = [name for name in ordered if name not in cached] if len(held) < len(ordered) else []
    policy.shared(held, held, held, use)
    policy.registered(new, new, use)
    use.place = len(blocks)
    policy.released(ordered, use)


def _refused(admission: Admission, blocks: list[int], cached: set[int], use: Use) -> set[int]:
    """What of a request is not cached: the first block that is refused, and all after it that are not there yet."""
    missing = [place for place, name in enumerate(blocks) if name not in cached]
    for number, place in enumerate(missing):
        use.place, use.before = place, blocks[place - 1] if place else 0
        if not admission.admits(blocks[place], use):
            return {blocks[after] for after in missing[number:]}
    return set()

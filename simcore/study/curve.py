"""Miss-ratio curves of LRU: the hits at all capacities, from one pass over the accesses.

LRU's cache of c blocks is the first c of its stack, the blocks by how recently they were touched. An access is a hit
where its *depth*, its block's place in the stack from 1 on, is at most c: Mattson et al., 1970,
https://doi.org/10.1147/sj.92.0078. A request looks all its blocks up before it touches any, and evicts afterwards, so
that its cache is the first c of the stack again; and a block is usable where the deepest of it and all before it in the
prompt is at most c. Both curves are therefore exact.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simcore.errors import InputError
from simcore.study.stream import FORWARD, TAIL_FIRST, Stream
from simcore.workload.columns import Ints

NEVER = np.iinfo(np.int64).max >> 1
"""The depth of a block that was never touched before."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Hits of LRU by capacity, as steps: from `capacity[i]` to the one before `capacity[i + 1]`."""

    order: str
    requests: int
    accesses: int
    distinct: int
    """contents; more capacity than that does not help"""
    sampled: float
    """the share of contents that was looked at; 1: all, and the curve is exact"""
    capacity: Ints
    """[steps] rising, from 1 on"""
    object_hits: Ints
    """[steps]"""
    prefix_hits: Ints | None
    """[steps] None: the stream has no requests, or was sampled"""

    def at(self, capacities: Ints) -> "tuple[Ints, Ints | None]":
        """Object and prefix hits at some capacities of at least 1."""
        step = np.searchsorted(self.capacity, capacities, side="right") - 1
        return self.object_hits[step], None if self.prefix_hits is None else self.prefix_hits[step]


def lru_curve(stream: Stream, order: str = FORWARD) -> Curve:
    """The exact hits of LRU at all capacities, of objects and of prefixes, in O(n log n).

    Raises InputError for an order that there is not; a stream of ids has but one.
    """
    (order,) = stream.orders([order])
    found = [_counted(depths(stream.ordered(order)))]
    if stream.offsets is not None:
        found.append(_counted(prefix_depths(stream.names, stream.offsets, order)))
    return _curve(stream, order, 1.0, found)


def sampled_curve(stream: Stream, rate: float, order: str = FORWARD, seed: int = 0) -> Curve:
    """An estimate of LRU's object hits at all capacities, from the accesses to a share `rate` of the contents.

    SHARDS at a fixed rate, with the adjustment for having drawn more or fewer accesses than expected (SHARDS-adj):
    Waldspurger et al., FAST 2015, https://www.usenix.org/conference/fast15/technical-sessions/presentation/waldspurger.
    Usable hits cannot be had so: they need every block of a prompt. Raises InputError.
    """
    (order,) = stream.orders([order])
    if not 0 < rate <= 1:
        raise InputError(f"the share of contents to sample must be above 0 and at most 1, not {rate}")
    names = stream.ordered(order)
    drawn = names[_hash(names, seed) < np.uint64(min(int(rate * 2.0**64), 2**64 - 1))]
    if not len(drawn):
        raise InputError(f"a sample of {rate} holds none of {len(names):,} accesses; take a larger share")
    depth, hits = _counted(depths(drawn))
    scaled = np.rint((depth - 1) / rate).astype(np.int64) + 1
    # What was drawn too much or too little is of the contents used most, with the smallest depths.
    surplus = len(names) * rate - len(drawn)
    estimate = np.clip(np.rint((hits + surplus) / rate), 0, len(names)).astype(np.int64)
    return _curve(stream, order, rate, [(scaled, estimate)])


def depths(names: Ints) -> Ints:
    """[accesses] The depth of each access in the stack of LRU when it is made, from 1 on, or `NEVER`."""
    last = previous(names)
    return _depths(last, _smaller_before(last))


def prefix_depths(names: Ints, offsets: Ints, order: str) -> Ints:
    """[accesses] The deepest of each block and those before it in its request, in the stack before the request."""
    rows = len(offsets) - 1
    row = np.repeat(np.arange(rows), np.diff(offsets))
    # Each request touches a block once; of several times the last one counts.
    place = np.arange(len(names))
    when = place if order != TAIL_FIRST else (offsets[:-1] + offsets[1:] - 1)[row] - place
    by_name = np.lexsort((when, names, row))
    same = (names[by_name[1:]] == names[by_name[:-1]]) & (row[by_name[1:]] == row[by_name[:-1]])
    touches = by_name[np.append(~same, True)] if len(names) else by_name
    touches = touches[np.argsort(when[touches])]  # a request's times are its own range
    last = previous(names[touches])
    # The stack is that from before the request: its own touches are put in the order in which none adds to another's.
    counted = np.lexsort((-last, row[touches]))
    depth = np.empty(len(touches), np.int64)
    depth[counted] = _depths(last[counted], _smaller_before(last[counted]))
    # Back to all accesses: each has the depth of its request's touch of the same block.
    group = np.append(0, np.cumsum(~same)) if len(names) else by_name
    of_group = np.empty(len(touches), np.int64)
    of_group[group[np.argsort(by_name, kind="stable")][touches]] = depth
    each = np.empty(len(names), np.int64)
    each[by_name] = of_group[group]
    deepest: Ints = np.minimum(each, len(names) + 1) + row * (len(names) + 2)
    deepest = np.maximum.accumulate(deepest) - row * (len(names) + 2)
    return np.where(deepest > len(names), NEVER, deepest)


def previous(names: Ints) -> Ints:
    """[accesses] The place of the access before to the same content, or -1."""
    order = np.argsort(names, kind="stable")
    again = names[order[1:]] == names[order[:-1]]
    last = np.full(len(names), -1, np.int64)
    last[order[1:][again]] = order[:-1][again]
    return last


def _depths(last: Ints, smaller: Ints) -> Ints:
    """From the previous access p of each, and the number of those before it whose previous one is earlier than p.

    Up to p itself all are; after it, those are that touch a block for the first time since p: the blocks above.
    """
    return np.where(last < 0, NEVER, smaller - last)


def _smaller_before(last: Ints) -> Ints:
    """[n] How many entries before each are smaller; of several -1 each is smaller than the next.

    The entries become a permutation, which is sorted bit by bit from the top. At each bit, those that agree in the bits
    above lie side by side in their first order, as many with a 0 as with a 1; and those with a 0 that come before one
    with a 1 are smaller than it. All entries are counted at once, bit after bit, without a loop over them.
    """
    n = len(last)
    first = last < 0
    taken = np.zeros(n + 1, np.int64)
    taken[last[~first] + 1] = 1
    rank = np.where(first, np.cumsum(first) - 1, np.cumsum(taken)[last] + np.count_nonzero(first))
    bits = max(n - 1, 1).bit_length()
    rank = np.append(rank, np.arange(n, 1 << bits))  # what comes last and is largest changes nothing before it
    value: NDArray[np.integer] = rank.astype(np.int32 if bits < 31 else np.int64)
    count = np.zeros_like(value)
    for bit in reversed(range(bits)):
        one = np.bitwise_and(value, 1 << bit) > 0
        half = 1 << bit
        zeros = np.cumsum(~one.reshape(-1, 2 * half), axis=1, dtype=value.dtype).reshape(-1)
        count += np.where(one, zeros, 0)
        value, count = (
            np.concatenate((each[~one].reshape(-1, half), each[one].reshape(-1, half)), axis=1).reshape(-1)
            for each in (value, count)
        )
    smaller: Ints = count.astype(np.int64)[rank[:n]]
    return smaller


def _counted(depth: Ints) -> tuple[Ints, Ints]:
    """The depths that occur, and how many accesses are no deeper."""
    at, number = np.unique(depth[depth < NEVER], return_counts=True)
    return at.astype(np.int64), np.cumsum(number, dtype=np.int64)


def _curve(stream: Stream, order: str, rate: float, found: list[tuple[Ints, Ints]]) -> Curve:
    capacity = np.unique(np.concatenate([[1], *(depth for depth, _ in found)]))
    steps = [np.append(0, hits)[np.searchsorted(depth, capacity, side="right")] for depth, hits in found]
    return Curve(
        order=order,
        requests=stream.requests,
        accesses=len(stream.names),
        distinct=len(np.unique(stream.names)),
        sampled=rate,
        capacity=capacity,
        object_hits=steps[0],
        prefix_hits=steps[1] if len(steps) > 1 else None,
    )


def _hash(names: Ints, seed: int) -> NDArray[np.uint64]:
    """Well-mixed 64 bits of each name: splitmix64, https://prng.di.unimi.it/splitmix64.c"""
    with np.errstate(over="ignore"):
        mixed = (names.astype(np.uint64) + np.uint64(seed) * np.uint64(2**32)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return mixed ^ (mixed >> np.uint64(31))

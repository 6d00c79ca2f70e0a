"""Small random streams, and what a cache does with them, written as its definition says."""

import numpy as np

from simcore.study import FORWARD, TAIL_FIRST, Stream


def random_stream(seed: int, *, repeats: bool = False) -> Stream:
    """Requests of 0 to 12 blocks of a few contents; `repeats`: one request may have a block more than once."""
    rng = np.random.default_rng(seed)
    contents = int(rng.integers(3, 40))
    requests = [rng.choice(contents, int(rng.integers(0, min(13, contents + 1))), replace=repeats) for _ in range(60)]
    offsets = np.concatenate(([0], np.cumsum([len(blocks) for blocks in requests]))).astype(np.int64)
    names = np.concatenate(requests).astype(np.int64) + 1
    return Stream("mooncake", names, offsets, 512, np.arange(60, dtype=np.float64))


def requests_of(stream: Stream) -> list[list[int]]:
    assert stream.offsets is not None
    return [part.tolist() for part in np.split(stream.names, stream.offsets[1:-1])]


def usable_by_definition(stream: Stream, capacity: int, order: str) -> int:
    """Look all up, stop at the first miss; touch all; evict to the capacity: a plain list, the oldest first."""
    cache: list[int] = []
    hits = 0
    for blocks in requests_of(stream):
        for block in blocks:
            if block not in cache:
                break
            hits += 1
        for block in blocks if order == FORWARD else blocks[::-1]:
            if block in cache:
                cache.remove(block)
            cache.append(block)
        cache = cache[-capacity:]
    return hits


def objects_by_definition(stream: Stream, capacity: int, order: str) -> int:
    """One access at a time."""
    cache: list[int] = []
    hits = 0
    for blocks in requests_of(stream):
        for block in blocks[::-1] if order == TAIL_FIRST else blocks:
            if block in cache:
                hits += 1
                cache.remove(block)
            cache = [*cache, block][-capacity:]
    return hits

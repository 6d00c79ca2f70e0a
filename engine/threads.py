"""How many threads a step of decode is quickest on."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

import torch

TRIES = 3
"""Steps by which a number of threads is judged: by the quickest of them, which others disturbed least."""


class DecodeThreads:
    """Tries all of torch's threads, half of them, and so on down to one, and stays with what was quickest.

    A decode step is hundreds of operations of some microseconds, and waking threads for each may cost more than they
    bring. A small model took 6.9 ms on one thread of a virtual machine; on two, 9.8 ms if idle threads sleep
    (OMP_WAIT_POLICY=PASSIVE) and 4.2 ms if they spin. llama.cpp has --threads and --threads-batch for the same reason.
    """

    def __init__(self) -> None:
        self._seconds: defaultdict[tuple[int, int], list[float]] = defaultdict(list)  # by size of step and threads

    @contextmanager
    def step(self, rows: int) -> Iterator[None]:
        """A decode step of so many rows is taken inside, and timed."""
        most, size = torch.get_num_threads(), rows.bit_length()
        count = self._pick(size, most)
        torch.set_num_threads(count)
        begun = perf_counter()
        try:
            yield
        finally:
            torch.set_num_threads(most)
        if len(self._seconds[size, count]) < TRIES:
            self._seconds[size, count].append(perf_counter() - begun)

    def _pick(self, size: int, most: int) -> int:
        counts = [most >> halvings for halvings in range(most.bit_length())]
        tried = {count: self._seconds[size, count] for count in counts}
        untried = min(counts, key=lambda count: len(tried[count]))
        if len(tried[untried]) < TRIES:
            return untried
        return min(counts, key=lambda count: min(tried[count]))

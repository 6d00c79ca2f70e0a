"""From the names of a workload's tokens to ids of a model's vocabulary."""

import numpy as np
from numpy.typing import NDArray

from simcore.workload.columns import PRIVATE, VOCABULARY, Workload

Ids = NDArray[np.int64]

_PRIVATE_PROMPT = np.uint64(1 << 62)
_PRIVATE_OUTPUT = np.uint64(1 << 63)


class TokenIds:
    """Gives every name an id, the same one wherever it occurs: equal prefixes get equal ids.

    The scheduler decides hits on names, so that two names with one id do no harm. Names that are literal ids stay what
    they are, as far as the vocabulary goes.
    """

    def __init__(self, workload: Workload, vocab_size: int, seed: int = 0) -> None:
        self._workload = workload
        self._vocab_size = vocab_size
        self._seed = np.uint64(seed)

    def prompt(self, row: int) -> Ids:
        """[prompt_len] the prompt of a request."""
        workload = self._workload
        ids = np.empty(int(workload.prompt_len[row]), np.int64)
        end = 0
        for source, start, length in [] if workload.runs is None else workload.runs.of(row):
            ids[end : end + length] = self._of(source, start, length)
            end += length
        ids[end:] = self._draw(_PRIVATE_PROMPT + np.uint64(row), np.arange(end, len(ids)))
        return ids

    def output(self, row: int, branch: int = 0) -> Ids:
        """[output_len] the output of a request; of several samples only the first has the workload's own."""
        workload = self._workload
        length = int(workload.output_len[row])
        source = PRIVATE if workload.output_source is None else int(workload.output_source[row])
        if source != PRIVATE and branch == 0:
            return self._of(source, 0, length)
        return self._draw(_PRIVATE_OUTPUT + np.uint64((row << 16) + branch), np.arange(length))

    def _of(self, source: int, start: int, length: int) -> Ids:
        places = np.arange(start, start + length)
        return places % self._vocab_size if source == VOCABULARY else self._draw(np.uint64(source), places)

    def _draw(self, name: np.uint64, places: Ids) -> Ids:
        """An id for each place of a source: SplitMix64, https://doi.org/10.1145/2714064.2660195."""
        with np.errstate(over="ignore"):
            bits = _mix(_mix(np.array([self._seed])) ^ name) ^ places.astype(np.uint64)
            drawn: Ids = (_mix(bits) % np.uint64(self._vocab_size)).astype(np.int64)
        return drawn


def _mix(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: NDArray[np.uint64] = x ^ (x >> np.uint64(31))
    return mixed

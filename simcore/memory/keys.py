"""The name of every block's content, so that equal prefixes are found by comparing two integers."""

from array import array
from collections.abc import Sequence

from simcore.workload.columns import PRIVATE, Workload

Key = int
"""Names the tokens from the start of a sequence to the end of a block: equal keys, equal tokens. Never 0."""

_SHIFT = 32
_PRIVATE_STEM = 1 << 30

PRIVATE_KEYS = _PRIVATE_STEM << _SHIFT
"""Keys from this one on name content that no other request can have."""


def key_in(group: int, key: Key) -> Key:
    """The same tokens, as one group of a model's layers keeps them: the keys of `BlockKeys` are those of group 0."""
    return key + (group << _SHIFT)


class BlockKeys:
    """Chained block hashes without hashing.

    A server hashes each block together with the hash of the block before it, so that a hash names a whole prefix. Here
    a prefix is named by how it was composed. A *stem* is a place where a run of one source's tokens begins after a
    given prefix; a prefix that ends `offset` tokens after its stem is `stem << 32 | offset`. Only stems are looked up,
    one a run; the keys of all blocks inside a run are an arithmetic series. A private run's stem is made from its
    request's row alone.

    Where groups of layers keep blocks of their own, a stem has as many numbers as there are groups.

    Most sources only ever stand behind one prefix: an earlier message of a conversation, a hash of a trace. Their stems
    are found in two columns as long as there are sources, which are there from the start: a run that goes on needs no
    more of them. Only what else a source stands behind is kept in a dictionary.
    """

    def __init__(self, workload: Workload, block_size: int, groups: int = 1) -> None:
        self._workload = workload
        self._groups = groups
        self._block_size = block_size
        self._count = 0  # of stems
        sources = _sources(workload)
        self._first = array("q", bytes(8 * sources))  # the number of each source's first stem from place 0; 0: none yet
        self._behind = array("q", bytes(8 * sources))  # the prefix that it stands behind
        self._stems: dict[tuple[Key, int, int], int] = {}  # all others

    def of_all_groups(self, key: Key) -> Key:
        """The key, in group 0, of the tokens that a key names in some group; for what is not private."""
        return key - ((key >> _SHIFT) % self._groups << _SHIFT)

    def of(self, row: int, branch: int = 0) -> Sequence[Key]:
        """The keys of all whole blocks of a request's prompt and output, in order.

        Of several branches only the first has the workload's output; no content of theirs counts as private, since
        they have the prompt in common.
        """
        workload, size = self._workload, self._block_size
        if workload.samples is not None and workload.samples[row] > 1:
            return self._of_branch(row, branch)
        prompt = int(workload.prompt_len[row])
        output = int(workload.output_len[row])
        private = PRIVATE_KEYS + (row * self._groups << _SHIFT)
        named = [] if workload.runs is None else workload.runs.of(row)
        output_source = PRIVATE if workload.output_source is None else int(workload.output_source[row])
        if not named and output_source == PRIVATE:
            return range(private + size, private + prompt + output + 1, size)

        keys: list[Key] = []
        prefix = begin = 0
        for source, start, length in named:
            prefix = self._extend(keys, self._stem(prefix, source, start), begin, length)
            begin += length
        if begin < prompt or output_source == PRIVATE:  # all that follows private tokens is private too
            self._extend(keys, private, begin, prompt + output - begin)
        else:
            self._extend(keys, self._stem(prefix, output_source, 0), prompt, output)
        return keys

    def _of_branch(self, row: int, branch: int) -> list[Key]:
        workload = self._workload
        prompt, output = int(workload.prompt_len[row]), int(workload.output_len[row])
        keys: list[Key] = []
        prefix = begin = 0
        for source, start, length in [] if workload.runs is None else workload.runs.of(row):
            prefix = self._extend(keys, self._stem(prefix, source, start), begin, length)
            begin += length
        if begin < prompt:
            prefix = self._extend(keys, self._stem(prefix, PRIVATE, row), begin, prompt - begin)
        source = PRIVATE if workload.output_source is None or branch else int(workload.output_source[row])
        stem = self._stem(prefix, PRIVATE - 1 - branch, row) if source == PRIVATE else self._stem(prefix, source, 0)
        self._extend(keys, stem, prompt, output)
        return keys

    def _stem(self, prefix: Key, source: int, start: int) -> Key:
        if start == 0 and 0 <= source < len(self._first):
            number = self._first[source]
            if not number:
                self._count = self._first[source] = number = self._count + 1
                self._behind[source] = prefix
            if self._behind[source] == prefix:
                return number * self._groups << _SHIFT
        number = self._stems.setdefault((prefix, source, start), self._count + 1)
        if number > self._count:
            self._count = number
        return number * self._groups << _SHIFT

    def _extend(self, keys: list[Key], stem: Key, begin: int, length: int) -> Key:
        """Append the keys of the blocks that end within a run, and name the prefix that ends with the run."""
        first = self._block_size - begin % self._block_size
        keys.extend(range(stem + first, stem + length + 1, self._block_size))
        return stem + length


def _sources(workload: Workload) -> int:
    """How many there are, if they are numbered more or less one after the other; else 0."""
    runs, outputs = workload.runs, workload.output_source
    columns = [] if runs is None else [runs.source]
    if outputs is not None:
        columns.append(outputs)
    most = max((int(column.max(initial=-1)) for column in columns), default=-1) + 1
    return most if most <= 4 * sum(map(len, columns)) else 0

"""What passes between a scheduler and an executor: plain values, columns rather than one object a row."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from simcore.memory.base import Growth, Move
from simcore.policies.eviction import Block
from simcore.ticks import Tick

Seq = int
"""The number of a sequence."""


@dataclass(slots=True)
class Opening:
    """A sequence that is new to the executor, or back after a preemption."""

    request: int
    """row of its request in the workload"""
    branch: int
    """which of the request's samples, from 0"""
    parent: Seq | None
    """the sequence that it has just forked from: it has its own first token, and nothing else of its own yet"""
    tables: list[list[Block]]
    """whole block tables, hit blocks included; of a fork, those of its parent"""
    computed: int
    """tokens that are in the tables already, or are moved there"""
    hit: int
    """those of them that were found in the prefix cache"""
    known: int
    """tokens of the prompt and of the outputs so far"""


class Keep(NamedTuple):
    """After the model has run, a sequence keeps some of its tokens only, equally many in each head of each layer.

    They are packed: the first slots of `table` hold them, in the order of their positions. From then on its slots are
    its positions less the tokens that it has lost.
    """

    seq: Seq
    tokens: int
    """how many stay"""
    table: list[Block]
    """its table afterwards: blocks of the old one and fresh ones, none of which anybody else holds or finds; where
    they stand may have changed, so all is read before any is written"""
    dropped: int
    """how many go"""


class StepPlan:
    """One step of a server: `counts[i]` tokens of `seqs[i]` from position `starts[i]` on, in this order.

    The rows are listed for an executor that runs a model; a timer needs their totals only.
    """

    __slots__ = (
        "chunk_context", "chunk_tokens", "chunks", "closed", "context", "counts", "grown", "held", "index", "keeps",
        "made", "moves", "opened", "pairs", "preempted", "put_off", "rows", "seqs", "starts", "tokens",
    )  # fmt: skip

    def __init__(self, index: int, made: Tick, closed: list[Seq]) -> None:
        self.index = index
        self.made = made
        """when; the step begins when the one before it is done"""
        self.rows = 0
        """sequences that compute something"""
        self.tokens = 0
        """sum of `counts`"""
        self.context = 0
        """keys read: the sum of `starts + counts`"""
        self.held = 0
        """tokens in the tables of all that run: `context`, and what those hold who compute nothing in this step"""
        self.pairs = 0
        """query-key pairs: the sum of `counts * starts + counts * (counts + 1) / 2`"""
        self.chunks = 0
        """rows with more than one token"""
        self.chunk_tokens = 0
        self.chunk_context = 0
        """their part of `tokens` and `context`"""
        self.seqs: Sequence[Seq] = ()
        self.starts: Sequence[int] = ()
        """positions, never slots"""
        self.counts: Sequence[int] = ()
        self.opened: dict[Seq, Opening] = {}
        self.grown: dict[Seq, Growth] = {}
        """blocks appended to the tables of sequences that ran before; most decode rows have none"""
        self.moves: Sequence[Move] = ()
        """in this order, before the model runs; one may be for a sequence that has had to give way since"""
        self.keeps: Sequence[Keep] = ()
        """who is pruned, after the model has run"""
        self.put_off: Sequence[Seq] = ()
        """who was to be pruned too, but finds no room to pack what it keeps: it will be in a later step"""
        self.preempted: list[Seq] = []
        self.closed = closed
        """finished since the last plan, or preempted: forgotten when all else is noted, before the model runs"""

    @property
    def stalled(self) -> bool:
        """Somebody waits, nobody runs, and nothing could be done about it."""
        return not self.held and not self.preempted


@dataclass(slots=True)
class Outcome:
    """What came of a step."""

    index: int
    ticks: Tick
    """how long it took"""
    ended: Set[tuple[int, int]] = frozenset()
    """(row of the request, branch) of those that ended with the token of this step, sooner than the workload says"""
    replaced: Sequence[tuple[Seq, Seq]] = ()
    """beams that are dropped after this token, and the beam of the same request that a fork of each stands in for"""

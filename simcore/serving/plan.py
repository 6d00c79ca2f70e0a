"""What passes between a scheduler and an executor: plain values, columns rather than one object a row."""

from dataclasses import dataclass, field

from simcore.memory.base import Growth
from simcore.policies.eviction import Block
from simcore.ticks import Tick

Seq = int
"""The number of a sequence."""


@dataclass(slots=True)
class Opening:
    """A sequence that is new to the executor, or back after a preemption."""

    request: int
    """row of its request in the workload"""
    tables: list[list[Block]]
    """whole block tables, hit blocks included"""
    computed: int
    """tokens that are in the tables already: the hit"""
    known: int
    """tokens of the prompt and of the outputs so far"""


@dataclass(slots=True)
class StepPlan:
    """One step of a server: `counts[i]` tokens of `seqs[i]` from position `starts[i]` on, in this order."""

    index: int
    seqs: list[Seq] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    """positions, never slots"""
    counts: list[int] = field(default_factory=list)
    tokens: int = 0
    """sum of `counts`"""
    context: int = 0
    """keys read: the sum of `starts + counts`"""
    pairs: int = 0
    """query-key pairs: the sum of `counts * starts + counts * (counts + 1) / 2`"""
    opened: dict[Seq, Opening] = field(default_factory=dict)
    grown: dict[Seq, Growth] = field(default_factory=dict)
    """blocks appended to the tables of sequences that ran before; most decode rows have none"""
    preempted: list[Seq] = field(default_factory=list)
    closed: list[Seq] = field(default_factory=list)
    """finished since the last plan, or preempted: forgotten first"""

    @property
    def stalled(self) -> bool:
        """Somebody waits, nobody runs, and nothing could be done about it."""
        return not self.seqs and not self.preempted


@dataclass(slots=True)
class Outcome:
    """What came of a step."""

    index: int
    ticks: Tick
    """how long it took"""

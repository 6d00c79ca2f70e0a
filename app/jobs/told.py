"""What a history tells: of the blocks, of the sequences, and of what happened to one of them."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple, Self

from app.jobs.columns import Numbers
from simcore.record.journal import Event
from simcore.record.sequences import Kind


class Status(IntEnum):
    """How a sequence is."""

    WAITING = 0
    PREFILL = 1
    DECODE = 2
    PREEMPTED = 3
    ENDED = 4
    REFUSED = 5


@dataclass(frozen=True)
class Facts:
    """What has to be known of a run besides what happens in it."""

    name: str
    blocks: int
    """of the pool, the null block included"""
    block_size: int
    tables: int
    """block tables of a sequence: one, or one a group of layers"""
    prefix_caching: bool
    allocator: str
    requests: int
    ids: tuple[str, ...] | None
    max_num_seqs: int
    max_num_batched_tokens: int
    queue: str
    tiers: tuple[str, ...] = ()

    @classmethod
    def of(cls, simulation: Any) -> Self:
        """Those of a `simcore.Simulation`."""
        scenario, workload = simulation.scenario, simulation.workload
        memory = simulation.scheduler.memory
        return cls(
            name=scenario.name,
            blocks=memory.blocks,
            block_size=memory.block_size,
            tables=memory.tables,
            prefix_caching=scenario.memory.prefix_caching,
            allocator=scenario.memory.allocator.model_dump()["policy"],
            requests=len(workload),
            ids=None if workload.ids is None else tuple(workload.ids),
            max_num_seqs=scenario.scheduler.max_num_seqs,
            max_num_batched_tokens=scenario.scheduler.max_num_batched_tokens,
            queue=scenario.scheduler.model_dump()["policy"]["policy"],
            tiers=tuple(tier.name for tier in scenario.memory.tiers),
        )

    def id_of(self, row: int) -> str:
        """The name of a request."""
        return f"r{row}" if self.ids is None else self.ids[row]

    @property
    def limits(self) -> str | None:
        """What cannot be shown of this run, in a sentence."""
        if self.tables > 1:
            return (
                f"Each sequence has {self.tables} block tables, one a group of layers: how full a block is "
                "is shown for cached blocks alone, and others count as full."
            )
        return None


@dataclass(frozen=True)
class State:
    """Every block while a step ran. Columns of [blocks]; the null block is number 0."""

    step: int
    refs: Numbers
    """sequences that hold it"""
    key: Numbers
    """of its content; 0: it is not in the prefix cache"""
    owner: Numbers
    """a sequence that holds it; of several, the one that came last. NOBODY where nobody holds it"""
    place: Numbers
    """which entry of its owner's block table it is, or was of its last one's"""
    filled: Numbers
    """tokens in it"""
    touched: Numbers
    """the step in which something last happened to it; -1: it was never used"""
    origin: Numbers
    """the tier that its content was fetched from, from 1; 0: it was computed"""


class Sequences(NamedTuple):
    """Every sequence while a step ran. Columns of [sequences]."""

    status: Numbers
    row: Numbers
    tokens: Numbers
    """computed, once the step is done; of who does not run, 0"""


class Alive(NamedTuple):
    """Who had not ended after so many events. What is told of all others needs no more than their number."""

    events: int
    known: int
    """sequences so far"""
    sequence: Numbers
    number: Numbers
    """of its last event"""


class BlockEntry(NamedTuple):
    """One thing that happened to a block."""

    step: int
    event: Event
    sequence: int
    key: int
    refs: int
    other: int


class Moment(NamedTuple):
    """One thing that happened to a request."""

    step: int
    seconds: float
    kind: Kind
    sequence: int
    tokens: int
    end: int

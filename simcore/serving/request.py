"""A request on its way through a server, and its sequences."""

from collections.abc import Iterable
from collections.abc import Sequence as Row
from dataclasses import dataclass, field

from simcore.ticks import Tick

NEVER = -1
"""An instant or a step that has not come."""
UNLIMITED = 1 << 60
"""More tokens than there can be."""


@dataclass(slots=True, eq=False)
class Request:
    """What a user asked for, and what became of it."""

    row: int
    """its row in the workload"""
    id: str
    arrival: Tick
    prompt_len: int
    output_len: int
    priority: int = 0
    category: int = 0
    """what kind of request its workload calls it; 0: it does not say"""
    samples: int = 1
    """outputs wanted of its prompt, in parallel"""
    beam: bool = False
    """the samples are beams of one search: each may go on from what another one has written"""
    live: int = 0
    """branches that have not ended; 0: it is served"""

    first_scheduled: Tick = NEVER
    first_token: Tick = NEVER
    finished: Tick = NEVER
    preemptions: int = 0
    hit_tokens_first: int = 0
    """tokens found in the prefix cache when it was first admitted"""
    hit_tokens: int = 0
    """the same over all its admissions"""
    tier_hit_tokens: int = 0
    """tokens fetched from lower tiers, over all its admissions"""
    query_tokens: int = 0
    """tokens that were looked up in the prefix cache, over all its admissions"""
    computed_tokens: int = 0
    """tokens that went through the model, recomputations included; known once it has ended"""
    output_tokens: int = 0
    """of all its branches; known once it has ended"""
    streaks: list[tuple[int, int, int]] = field(default_factory=list)
    """(sequence, first step, steps): spans of consecutive steps that each gave a branch of it a token"""


class Sequence:
    """One branch of a request: a row of a step. The scheduler moves it, the memory keeps its blocks.

    Of a request with several samples the first branch computes the prompt; the others fork from it once that is done.

    While it decodes it moves with the clock: `computed` and `length` are then as of the last time it was settled.

    A sequence that has been pruned is a shorter one from then on: `computed`, `length` and `end` leave out the tokens
    that were dropped, so that they count slots. Positions are slots plus `dropped`.
    """

    __slots__ = (
        "asks", "branch", "computed", "dropped", "end", "ends", "forks", "horizon", "id", "in_flight", "junction",
        "keys", "length", "limit", "named", "nulls", "offset", "place", "registered", "request", "stays", "stored",
        "streak", "swapped", "tables", "worth",
    )  # fmt: skip

    def __init__(self, id: int, request: Request, max_model_len: int, branch: int = 0) -> None:
        self.id = id
        self.request = request
        self.branch = branch
        """which of the request's samples, from 0"""
        self.forks = request.samples - 1 if branch == 0 else 0
        """branches that will fork from it when its prompt is done"""
        self.length = request.prompt_len
        """tokens known: the prompt and the outputs so far"""
        self.computed = 0
        """tokens whose keys and values are stored, or will be when the steps in flight are done"""
        self.in_flight = 0
        """those of them that the plan in flight computes, when another one is made"""
        self.end = min(request.prompt_len + request.output_len, max_model_len)
        """the length at which it ends"""
        self.place = NEVER
        """where it stands in the order of admission; branches of one request stand together"""
        self.offset: int | None = None
        """while it decodes: `computed` at the start of step s is s - offset"""
        self.asks = NEVER
        """the step in which, decoding, it asks the memory for something"""
        self.ends = NEVER
        """the step in which, decoding, it gets its last token"""
        self.streak = NEVER
        """the step since which every step has given it a token"""

        self.tables: list[list[int]] = [[]]
        """block tables: of all layers, or one a group of layers"""
        self.keys: Row[int] = ()
        """the keys of its whole blocks, prompt and output; empty without prefix caching"""
        self.named = 0
        """leading blocks whose content others may have too; the private ones behind them only itself can ever hit"""
        self.registered = 0
        """leading blocks that have been offered to the prefix cache"""
        self.worth = 0
        """leading blocks that the prefix cache may be offered"""
        self.nulls: list[int] = []
        """leading entries of each table that are the null block: no token to come will see theirs"""
        self.junction = 0
        """blocks of the longest prefix that some layers had cached, but not all of them; 0: there was none"""
        self.swapped: list[int] = []
        """blocks of the host that hold the first `stored` tokens while it waits"""
        self.stored = 0
        self.horizon = 0
        """while it decodes, the memory need not be asked before `computed` would reach this"""

        self.dropped = 0
        """tokens that it has lost by pruning since it was admitted"""
        self.stays = 0
        """tokens that pruning leaves it"""
        self.limit = UNLIMITED
        """while it decodes, it is to be pruned when `computed` reaches this"""

    def __repr__(self) -> str:
        return f"<Sequence {self.id} of {self.name}: {self.computed}/{self.length}/{self.end}>"

    @property
    def name(self) -> str:
        """The request's id; of a further branch with its number, as in `r3#1`."""
        return f"{self.request.id}#{self.branch}" if self.branch else self.request.id

    @property
    def outputs(self) -> int:
        """Tokens of output so far."""
        return self.length + self.dropped - self.request.prompt_len

    def drop(self, tokens: int) -> None:
        """Pruning has left out so many tokens. Negative: it starts again, with all of them."""
        self.computed -= tokens
        self.length -= tokens
        self.end -= tokens
        self.dropped += tokens

    def settle(self, step: int, pending: bool = False) -> None:
        """Write down how far a decoding sequence has come at the start of `step`; its last token may be `pending`."""
        if self.offset is not None:
            self.computed = step - self.offset
            self.length = self.computed + 1 - pending

    def stop_streak(self, step: int) -> None:
        """It gets no token in `step`."""
        if self.streak != NEVER:
            self.request.streaks.append((self.id, self.streak, step - self.streak))
            self.streak = NEVER


def served(ended: Iterable[Sequence]) -> list[Request]:
    """The requests whose last branch is among those that ended in a step, in that order."""
    requests = {sequence.request: None for sequence in ended if not sequence.request.live}
    return list(requests)

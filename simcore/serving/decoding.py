"""Who decodes. All of them move with one clock, so a step costs what happens in it, not what runs.

Each gets one token in every step, so how far a sequence has come is the clock less a constant, its `offset`, and
nothing need be done for it until it fills a block, needs another one, is pruned, or ends. When that will be is known,
and noted in a calendar. What the tables of all of them hold together follows from the sum of the offsets.
"""

from collections import defaultdict

from simcore.serving.request import Sequence


class Calendar(defaultdict[int, list[Sequence]]):
    """Who is due when, by the clock."""

    def __init__(self) -> None:
        super().__init__(list)

    def strike(self, clock: int, sequence: Sequence) -> None:
        """Take a note back, if its page has not been torn out."""
        page = self.get(clock)
        if page and sequence in page:
            page.remove(sequence)


class Decoding:
    """The sequences that decode. The clock is the number of the step less the `pauses`: steps without a token."""

    __slots__ = ("_offsets", "asks", "count", "ends", "pauses")

    def __init__(self) -> None:
        self.count = 0
        self.pauses = 0
        self.asks = Calendar()
        """who asks the memory for something"""
        self.ends = Calendar()
        """who gets its last token"""
        self._offsets = 0

    def held(self, step: int) -> int:
        """The sum of their computed tokens at the start of a step."""
        return self.count * (step - self.pauses) - self._offsets

    def start(self, sequence: Sequence, step: int) -> None:
        """It gets a token from each step on, this one included."""
        sequence.offset = step - self.pauses - sequence.computed
        self.count += 1
        self._offsets += sequence.offset
        sequence.ends = sequence.offset + sequence.end - 2
        self.ends[sequence.ends].append(sequence)
        self.note_ask(sequence)

    def stop(self, sequence: Sequence) -> None:
        """It gets no more; it has to be settled."""
        assert sequence.offset is not None
        self.asks.strike(sequence.asks, sequence)
        self.ends.strike(sequence.ends, sequence)
        self.count -= 1
        self._offsets -= sequence.offset
        sequence.offset = None

    def shorten(self, sequence: Sequence, tokens: int) -> None:
        """Pruning has just left out so many of its tokens."""
        assert sequence.offset is not None
        self.asks.strike(sequence.asks, sequence)
        sequence.offset += tokens
        self._offsets += tokens
        self.note_ask(sequence)

    def note_ask(self, sequence: Sequence) -> None:
        """The memory has said when it wants to be asked next: at its `horizon`; pruning wants it at its `limit`."""
        assert sequence.offset is not None
        horizon, limit = sequence.horizon, sequence.limit
        sequence.asks = sequence.offset + (limit if limit < horizon else horizon) - 1
        if sequence.asks <= sequence.ends:
            self.asks[sequence.asks].append(sequence)

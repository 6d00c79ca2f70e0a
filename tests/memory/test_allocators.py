"""What holds for every allocator: random requests come, grow and go in a small pool."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.memory.base import Memory
from simcore.memory.contiguous import ContiguousMemory
from simcore.memory.extents import ExtentMemory
from simcore.memory.growing import GrowingMemory
from simcore.memory.paged import NO_HIT, PagedMemory
from simcore.memory.pool import BlockPool
from simcore.memory.spaces import Buddies, Frames, Gaps, Space
from simcore.memory.virtual import VirtualMemory
from simcore.policies.allocation import Contiguous, Growing
from simcore.policies.eviction import LRU
from simcore.serving.request import Request, Sequence

LONGEST = 40
MAKE: dict[str, Callable[[int, int], Memory]] = {
    "paged": lambda blocks, size: PagedMemory(BlockPool(blocks, LRU()), size, None),
    "virtual": lambda blocks, size: VirtualMemory(blocks, size, 3),
    "growing": lambda blocks, size: GrowingMemory(blocks, size, Growing(first=2, largest=8)),
} | {
    f"{reserve}, {placement}": lambda blocks, size, reserve=reserve, placement=placement: ContiguousMemory(
        blocks, size, Contiguous(reserve=reserve, placement=placement), LONGEST
    )
    for reserve in ("max", "pow2", "exact")
    for placement in ("buddy", "first-fit", "best-fit")
}
SPACES: dict[str, Callable[[int], Space]] = {
    "buddies": Buddies,
    "first fit": Gaps,
    "best fit": lambda units: Gaps(units, best=True),
    "frames": lambda units: Frames(units, 3),
}


@dataclass
class Server:
    """A memory and who is in it; what is checked after every event is worked out here from the tables alone."""

    memory: Memory
    size: int
    live: list[Sequence] = field(default_factory=list)
    born: int = 0

    def admit(self, prompt: int, output: int, tokens: int, whole: bool, spare: int) -> None:
        request = Request(row=self.born, id=f"r{self.born}", arrival=0, prompt_len=prompt, output_len=output)
        sequence = Sequence(self.born, request, LONGEST)
        self.born += 1
        before = self.state()
        if not self.memory.fits(sequence.end - 1, prompt):
            assert self.state() == before
            return
        tokens = min(tokens, prompt)
        if self.memory.admit(sequence, tokens, NO_HIT, spare if self.live else 0, whole):
            self.live.append(sequence)
            sequence.computed = tokens
            assert self.memory.free >= (spare if len(self.live) > 1 else 0)
        else:
            assert self.live, "who fits into the empty pool is let in when it is empty"
            assert self.state() == before
            self.check_external(sequence, sequence.length if whole else tokens)

    def grow(self, which: int, tokens: int) -> None:
        sequence = self.live[which % len(self.live)]
        tokens = min(tokens, sequence.end - 1 - sequence.computed)
        if not tokens:
            return
        before = self.state()
        if sequence.computed + tokens < sequence.horizon:
            sequence.computed += tokens  # the memory need not be asked
        elif (growth := self.memory.grow(sequence, tokens)) is None:
            assert len(self.live) > 1, "who fits into the empty pool grows when it is alone"
            assert self.state() == before
        else:
            sequence.computed += tokens
            assert [block for _, blocks in growth for block in blocks] == sorted(
                set(sequence.tables[0]) - before[1][sequence.id], key=sequence.tables[0].index
            )

    def release(self, which: int) -> None:
        sequence = self.live.pop(which % len(self.live))
        self.memory.release(sequence, sequence.computed, returns=False)

    def state(self) -> tuple[object, dict[int, set[int]]]:
        tables = {sequence.id: set(sequence.tables[0]) for sequence in self.live}
        return (list(self.memory.free_queue()), self.memory.chances), tables

    def check(self) -> None:
        held = [block for sequence in self.live for block in sequence.tables[0]]
        free = list(self.memory.free_queue())
        assert sorted(held + free) == list(range(1, self.memory.blocks)), "each block once: nobody has what another has"
        usage = self.memory.usage(sum(sequence.computed for sequence in self.live))
        assert (usage.used, usage.cached, usage.free) == (len(held), 0, len(free))
        assert min(usage) >= 0
        assert usage.stored + usage.reserved + usage.internal == usage.used * self.size
        assert usage.external <= usage.free * self.size
        stored = reserved = 0
        for sequence in self.live:
            slots = len(sequence.tables[0]) * self.size
            assert sequence.computed <= slots
            stored += sequence.computed
            reserved += min(slots, sequence.end - 1) - sequence.computed
        assert (usage.stored, usage.reserved) == (stored, reserved)

    def check_external(self, sequence: Sequence, tokens: int) -> None:
        """It has just been refused."""
        usage = self.memory.usage(0)
        assert usage.external in (0, usage.free * self.size)
        if usage.external:
            assert usage.free * self.size >= tokens, "in sum there is room"


events = st.one_of(
    st.tuples(
        st.just("admit"), st.integers(1, 30), st.integers(1, 30), st.integers(1, 30), st.booleans(), st.integers(0, 3)
    ),
    st.tuples(st.just("grow"), st.integers(0, 9), st.integers(1, 9)),
    st.tuples(st.just("release"), st.integers(0, 9)),
)


@pytest.mark.parametrize("name", MAKE)
@given(st.integers(40, 100), st.integers(1, 4), st.lists(events, max_size=40))
def test_random_requests(name: str, slots: int, size: int, happening: list[tuple]) -> None:
    blocks = 1 + (4 * slots if name.startswith("max") else slots) // size  # a piece of 64 for each
    server = Server(MAKE[name](blocks, size), size)
    at_first = sorted(server.memory.free_queue())
    gaps = server.memory.space.gaps() if isinstance(server.memory, ExtentMemory) else []
    for event, *how in happening:
        if event == "admit" or server.live:
            getattr(server, event)(*how)
        server.check()
    while server.live:
        server.release(0)
        server.check()
    assert sorted(server.memory.free_queue()) == at_first
    if isinstance(server.memory, ExtentMemory):
        assert join(server.memory.space.gaps(), server.memory) == join(gaps, server.memory), "merged as it was"


def join(gaps: list[tuple[int, int]], memory: ExtentMemory) -> object:
    """Frames need not merge: any will do."""
    return sum(units for _, units in gaps) if isinstance(memory.space, Frames) else gaps


@pytest.mark.parametrize("name", SPACES)
@given(st.integers(1, 70), st.lists(st.one_of(st.integers(1, 20), st.integers(-9, 0)), max_size=60))
def test_spaces(name: str, units: int, asked: list[int]) -> None:
    """Positive numbers take so many units, others give the piece of that place back."""
    space, taken = SPACES[name](units), list[tuple[int, int]]()
    at_first = space.gaps()
    for size in asked:
        if size > 0:
            before = space.gaps()
            if (start := space.take(size)) is not None:
                taken.append((start, size))
            else:
                assert space.gaps() == before
                assert all(gap < space.piece(size) for _, gap in before), "the largest gap is too small"
        elif taken:
            space.give_back(*taken.pop(size % len(taken)))
        pieces = [(start, space.piece(size)) for start, size in taken] + space.gaps()
        assert sorted(unit for start, length in pieces for unit in range(start, start + length)) == list(range(units))
        assert space.free == units - sum(space.piece(size) for _, size in taken)
    for start, size in taken:
        space.give_back(start, size)
    if name != "frames":
        assert space.gaps() == at_first


def test_buddies_by_hand() -> None:
    """13 = 8 + 4 + 1: pieces of 3 are pieces of 4, the smallest that will do is split, and halves meet again."""
    space = Buddies(13)
    assert space.gaps() == [(0, 8), (8, 4), (12, 1)]
    assert [space.take(3), space.take(1), space.take(2), space.take(2)] == [8, 12, 0, 2]
    assert space.gaps() == [(4, 4)]
    assert space.take(5) is None
    space.give_back(0, 2)
    assert space.gaps() == [(0, 2), (4, 4)]
    space.give_back(2, 2)
    assert space.gaps() == [(0, 8)]


def test_fits_by_hand() -> None:
    """Gaps of 6 at 0, 3 at 8 and 3 at 13: first fit takes from the first, best fit from the smallest."""
    places = []
    for best in (False, True):
        space = Gaps(16, best)
        starts = [space.take(size) for size in (6, 2, 3, 2, 3)]
        for start, size in zip(starts[::2], (6, 3, 3), strict=True):
            assert start is not None
            space.give_back(start, size)
        assert space.gaps() == [(0, 6), (8, 3), (13, 3)]
        places.append([space.take(3), space.take(4)])
    assert places == [[0, None], [8, 0]]


def test_pow2_by_hand() -> None:
    """A prompt of 5 and 9 outputs: 16 are reserved for those, 21 in all, 32 by the buddies; 13 are ever used."""
    memory = ContiguousMemory(65, 1, Contiguous(reserve="pow2"), LONGEST)
    request = Request(row=0, id="r0", arrival=0, prompt_len=5, output_len=9)
    sequence = Sequence(0, request, LONGEST)
    assert memory.admit(sequence, 5, NO_HIT, 0, whole=True)
    assert memory.usage(5)[:7] == (32, 0, 32, 5, 8, 19, 0)
    other = Sequence(1, Request(row=1, id="r1", arrival=0, prompt_len=39, output_len=9), LONGEST)
    assert not memory.admit(other, 39, NO_HIT, 0, whole=True)
    assert memory.usage(5).external == 0, "40 slots are asked for, and 32 are free"
    last = Sequence(2, Request(row=2, id="r2", arrival=0, prompt_len=5, output_len=2), LONGEST)
    assert memory.admit(last, 5, NO_HIT, 0, whole=True)
    assert memory.usage(10)[:7] == (40, 0, 24, 10, 9, 21, 0)
    assert not memory.admit(Sequence(3, request, LONGEST), 5, NO_HIT, 0, whole=True)
    assert memory.usage(10).external == 24, "21 are asked for, and there are pieces of 8 and 16"


def test_growing_by_hand() -> None:
    """Pieces of 1, 2, 4, 4, ... blocks of 4 slots; smaller ones where there is none."""
    memory = GrowingMemory(15, 4, Growing(largest=4))  # 14 = 8 + 4 + 2
    first = Sequence(0, Request(row=0, id="r0", arrival=0, prompt_len=33, output_len=3), LONGEST)
    assert memory.admit(first, 33, NO_HIT, 0, whole=True)
    assert len(first.tables[0]) == 1 + 2 + 4 + 4
    assert memory.usage(33)[:7] == (11, 0, 3, 33, 2, 9, 0)
    other = Sequence(1, Request(row=1, id="r1", arrival=0, prompt_len=4, output_len=9), LONGEST)
    assert memory.admit(other, 4, NO_HIT, 0, whole=True)
    other.computed = 4
    assert memory.grow(other, 1) is not None
    assert memory.free == 0


def test_virtual_by_hand() -> None:
    """Pages of 3 blocks: 33 slots take 9 blocks of 4, 37 would take 12 of the 11 that there are."""
    memory = VirtualMemory(12, 4, 3)
    sequence = Sequence(0, Request(row=0, id="r0", arrival=0, prompt_len=33, output_len=3), LONGEST)
    assert memory.admit(sequence, 33, NO_HIT, 0, whole=True)
    assert sequence.tables == [list(range(1, 10))]
    assert memory.usage(33)[:7] == (9, 0, 2, 33, 2, 1, 0)
    assert not memory.fits(37, 1)

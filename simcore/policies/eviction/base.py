"""What an eviction policy is told, and what it is asked."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from simcore.errors import InputError
from simcore.policies.base import Policy
from simcore.ticks import Tick

Block = int
"""The number of a block in its pool; where only contents are counted, as in a cache study, the name of the content."""
Name = int
"""Names the content of a block: equal names, equal tokens from the start of the sequence on. Never 0."""

NEVER_AGAIN = 1 << 62
"""The next use of what nobody will use."""


def foresee(names: Sequence[Name]) -> list[int]:
    """Of each access the next one to the same content, or `NEVER_AGAIN`."""
    later: dict[Name, int] = {}
    next_uses = [NEVER_AGAIN] * len(names)
    for access in range(len(names) - 1, -1, -1):
        next_uses[access] = later.get(names[access], NEVER_AGAIN)
        later[names[access]] = access
    return next_uses


class Use:
    """Who uses a block, when, and where in its sequence. One object, rewritten for each use."""

    __slots__ = ("before", "category", "next", "now", "place", "priority", "prompt", "row")

    def __init__(self) -> None:
        self.now: Tick = 0
        self.row = 0
        """the request's number, in the order of arrival"""
        self.place = 0
        """which block of its sequence, from 0"""
        self.before: Name = 0
        """the content of the block before it; 0: it is the first"""
        self.prompt = 0
        """whole blocks of its request's prompt"""
        self.priority = 0
        """the request's; smaller is sooner"""
        self.category = 0
        """the kind of request, as its workload numbers them; 0: it names none"""
        self.next = NEVER_AGAIN
        """when its content is used next, counted as `row` is (a cache study: in accesses); told if a policy foresees"""


def _never(name: Name, row: int) -> int:
    return NEVER_AGAIN


def by_place(place: int) -> float:
    """A cost that grows with the place of a block in its sequence."""
    return place + 1.0


@dataclass(frozen=True)
class Setting:
    """Where a policy works."""

    capacity: int
    """blocks that can be cached at most"""
    seed: int = 0
    """of what it draws at random"""
    block_size: int = 16
    """tokens"""
    cost: Callable[[int], float] = by_place
    """what it takes to compute the block at a place of its sequence again, in any unit; by default it grows with it"""
    next_use: Callable[[Name, int], int] = _never
    """the next request after a row that will use a content: what an oracle foresees; a plain function"""


@dataclass
class EvictionOrder(Policy, ABC):
    """An order among the cached blocks of a pool, as the pool speaks to it: in lists, since sequences hold many blocks.

    A cached block is *held* while a sequence has it in its table, and *idle* otherwise; only idle ones can be victims.
    Blocks with nothing worth keeping are not its business: the pool gives those away first.
    """

    hears_private = True
    """whether it must be told of all that is cached; if not, `registered` leaves out what no other request could hit"""
    hears_queue = False
    """whether `expect` and `unexpect` are to be called"""
    expires = False
    """whether `expired` is to be called"""

    @abstractmethod
    def begin(self, setting: Setting) -> None:
        """Start with an empty cache."""

    @abstractmethod
    def registered(self, blocks: Sequence[Block], names: Sequence[Name], use: Use) -> None:
        """Blocks that a sequence holds were cached; `use` is that of the first. Several blocks may have one name."""

    @abstractmethod
    def shared(self, blocks: Sequence[Block], names: Sequence[Name], woken: Sequence[Block], use: Use) -> None:
        """One more sequence holds these blocks, of which those `woken` had been idle; `use` is that of the first."""

    @abstractmethod
    def released(self, blocks: Sequence[Block], use: Use) -> None:
        """The last holder let go of cached blocks, in this order, `use.place` blocks into the sequence."""

    @abstractmethod
    def unregistered(self, blocks: Iterable[Block]) -> None:
        """Of held blocks, those that were cached lost their content."""

    @abstractmethod
    def victims(self, count: int) -> list[Block]:
        """Choose idle blocks one after another, and forget them; there are as many."""

    @abstractmethod
    def __iter__(self) -> Iterator[Block]:
        """The idle blocks, the next victim first, if nothing happens in between."""

    @abstractmethod
    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        """A cache study: access one content after another; 1 where it was cached, 0 where it had to be inserted.

        next_uses: of each access the next one to the same content, or `NEVER_AGAIN`; who needs it and is not told finds
        it out. The policy has just begun, in a setting of this capacity.
        """

    def expired(self, now: Tick) -> list[Block]:
        """Idle blocks that are too old to be used; they are forgotten."""
        return []

    def expect(self, names: Sequence[Name]) -> None:
        """A request that will look these up joins the waiting queue."""

    def unexpect(self, names: Sequence[Name]) -> None:
        """It has left the queue."""


@dataclass
class Eviction(EvictionOrder):
    """Which idle cached block makes room when the pool has no other free block left.

    A policy writes `start`, `insert`, `hit`, `victim` and `remove`, as for any cache, one block at a time. It need not
    know that a block may not be evicted while a sequence holds it: a victim that is held is set aside. With that it has
    left the policy's order, and it is inserted anew when its last holder lets go of it.
    """

    foresees = False
    """whether it has to be told in `use.next` when a content is used next: an oracle"""

    @abstractmethod
    def start(self, setting: Setting) -> None:
        """Start with an empty cache."""

    @abstractmethod
    def insert(self, block: Block, name: Name, use: Use) -> None:
        """A block joined the cache, under the name of its content; several blocks may have one name."""

    @abstractmethod
    def hit(self, block: Block, use: Use) -> None:
        """A cached block is used again."""

    def release(self, block: Block, use: Use) -> None:
        """The last holder let go of a block; in a cache study right after `insert` or `hit`."""

    @abstractmethod
    def victim(self) -> Block:
        """Choose the block to evict, and forget it; there is one."""

    @abstractmethod
    def remove(self, block: Block) -> None:
        """Forget a block: its content is gone for another reason."""

    def expire(self, now: Tick) -> Iterable[Block]:
        """Choose the blocks that are too old to be used, and forget them. Asked if the policy `expires`."""
        return ()

    def enter(self, block: Block, name: Name, use: Use) -> None:
        """Insert a block that nobody holds: for a study that speaks to the policy one block at a time."""
        self._ordered.add(block)
        self.insert(block, name, use)

    # The pool's lists, block by block.

    def begin(self, setting: Setting) -> None:
        self.held: dict[Block, Name] = {}
        """blocks that may not be evicted now"""
        self._aside: set[Block] = set()
        self._ordered: set[Block] = set()  # what the policy has been told of, and has not forgotten
        self._next_use = setting.next_use
        self.start(setting)

    def registered(self, blocks: Sequence[Block], names: Sequence[Name], use: Use) -> None:
        self.held.update(zip(blocks, names, strict=True))
        self._ordered.update(blocks)
        for block, name in zip(blocks, names, strict=True):
            if self.foresees:
                use.next = self._next_use(name, use.row)
            self.insert(block, name, use)
            use.place, use.before = use.place + 1, name

    def shared(self, blocks: Sequence[Block], names: Sequence[Name], woken: Sequence[Block], use: Use) -> None:
        self.held.update(zip(blocks, names, strict=True))
        for block, name in zip(blocks, names, strict=True):
            if self.foresees:
                use.next = self._next_use(name, use.row)
            if block not in self._aside:
                self.hit(block, use)
            use.place, use.before = use.place + 1, name

    def released(self, blocks: Sequence[Block], use: Use) -> None:
        for block in blocks:
            use.place -= 1
            name = self.held.pop(block)
            if block in self._aside:
                self._aside.remove(block)
                self._ordered.add(block)
                if self.foresees:
                    use.next = self._next_use(name, use.row)
                self.insert(block, name, use)
            self.release(block, use)

    def unregistered(self, blocks: Iterable[Block]) -> None:
        for block in blocks:
            if self.held.pop(block, None) is None:
                continue  # it never was registered
            if block in self._aside:
                self._aside.remove(block)
            else:
                self._ordered.remove(block)
                self.remove(block)

    def victims(self, count: int) -> list[Block]:
        victims: list[Block] = []
        while len(victims) < count:
            victims += self._idle((self.victim(),))
        return victims

    def expired(self, now: Tick) -> list[Block]:
        return self._idle(self.expire(now))

    def _idle(self, chosen: Iterable[Block]) -> list[Block]:
        """Those that may go, of blocks that left the policy's order; what is held is set aside."""
        idle = []
        for block in chosen:
            if block not in self._ordered:
                raise InputError(f"policy {self.name}: chose block {block}, which is not in the cache")
            self._ordered.remove(block)
            if block in self.held:
                self._aside.add(block)
            else:
                idle.append(block)
        return idle

    def __iter__(self) -> Iterator[Block]:
        idle = len(self._ordered) + len(self._aside) - len(self.held)
        return iter(deepcopy(self).victims(idle) if idle else ())

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        if self.foresees and next_uses is None:
            next_uses = foresee(names)
        hits = bytearray(len(names))
        use = Use()
        cached: set[Name] = set()
        insert, hit, victim = self.insert, self.hit, self.victim
        release = None if type(self).release is Eviction.release else self.release
        for access, name in enumerate(names):
            use.now = use.row = access
            if next_uses is not None:
                use.next = next_uses[access]
            if name in cached:
                hits[access] = 1
                hit(name, use)
            else:
                if len(cached) == capacity:
                    cached.remove(victim())
                cached.add(name)
                insert(name, name, use)
            if release is not None:
                release(name, use)
        return hits

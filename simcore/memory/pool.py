"""A pool of KV-cache blocks with a prefix cache, as vLLM 0.33 keeps it, block for block."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar

from simcore.memory.keys import PRIVATE_KEYS, Key
from simcore.policies.admission import Admission, Everything
from simcore.policies.eviction import Block, EvictionOrder, Setting, Use
from simcore.record.journal import NOBODY, Event, Journal
from simcore.ticks import Tick

NULL_BLOCK = 0
"""Never handed out: it stands where a table has no block."""


class BlockPool:
    """Blocks 1 to `blocks - 1`: each held by any number of sequences, and cached once it is full and registered.

    vLLM's free queue always reads: blocks that are not cached, the last freed first; blocks that were never used, in
    order; cached blocks that nobody holds, in the order of eviction. So it is kept as three parts: a stack, a counter
    and an eviction policy. A block costs nothing until it is first used: the pool may be of any size.

    Only blocks that somebody could hit are entered in the map of keys. The key of a private block is known to its own
    request alone, which looks it up only after a preemption: it is entered then, and most never are.

    Several blocks may be cached under one key, as in vLLM; the one registered first is found.

    Branches of one request hold the same blocks, the last one half full among them: who is about to write into a block
    that others hold too takes a copy of its own first (copy-on-write: https://arxiv.org/abs/2309.06180, section 4.4).
    """

    keeps_private: ClassVar[bool] = False
    """whether private blocks are entered in the map of keys at once, as a journal wants it"""

    def __init__(
        self,
        blocks: int,
        eviction: EvictionOrder,
        journal: Journal | None = None,
        admission: Admission | None = None,
        setting: Setting | None = None,
        *,
        enter_private: bool = False,
    ) -> None:
        """The policies begin anew, in their `setting`; without an admission policy everything is cached.

        With `enter_private`, private blocks are entered in the map of keys when they are registered, as all are.
        """
        self.blocks = blocks
        """size of the pool, the null block included"""
        self.free = blocks - 1
        """blocks that nobody holds, cached ones included"""
        self.idle = 0
        """blocks that nobody holds but that are still cached"""
        self.evictions = 0
        """cached blocks that lost their content so far"""
        self.chances = 0
        """how often blocks were released or content was cached: what was refused before may be granted after either"""
        self.journal = journal
        self.use = Use()
        """whose doing it is what happens next, for the policies to know"""
        self.eviction = eviction
        self.admission = admission or Everything()
        setting = setting or Setting(blocks - 1)
        self.eviction.begin(setting)
        self.admission.start(setting)
        self._enter_private = enter_private or journal is not None  # a journal tells of every block what was in it
        self._uncached: list[Block] = []  # freed; the end is the head of the queue
        self._unused = 1  # the first block that was never used
        self._cached: dict[Key, Block] = {}
        self._twins: dict[Key, list[Block]] = {}  # the later blocks of a key that several have, oldest first
        self._keys: dict[Block, Key] = {}  # of the blocks in the two maps above
        self._holders: dict[Block, int] = {}  # of the same blocks, and of others that several hold; of all else it is 1

    @property
    def prompt(self) -> bool:
        """Whether it has to be told at once of each block that is full, and not only of those that others could hit."""
        return self.journal is not None or self.eviction.hears_private or not self.admission.admits_all

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""
        self.use.now = now
        if self.journal is not None:
            self.journal.turn(step, now)
        if self.eviction.expires:
            expired = self.eviction.expired(now)
            self._forget_idle(expired)
            self._uncached += expired

    def free_queue(self) -> Iterator[Block]:
        """The free blocks in the order in which they will be handed out."""
        yield from reversed(self._uncached)
        yield from range(self._unused, self.blocks)
        yield from self.eviction

    def find(self, keys: Sequence[Key], most: int) -> list[Block]:
        """The blocks of the longest cached prefix, at most `most` of them. Looking changes nothing."""
        cached = self._cached.get
        found: list[Block] = []
        for key in islice(keys, most):
            block = cached(key)
            if block is None:
                break
            found.append(block)
        return found

    def block_of(self, key: Key) -> Block | None:
        """The block that is cached under a key, the first one registered. Looking changes nothing."""
        return self._cached.get(key)

    def entered(self, block: Block) -> bool:
        """Whether a block is in the map of keys."""
        return block in self._keys

    def count_idle(self, blocks: list[Block]) -> int:
        """How many of some blocks that were found nobody holds."""
        holders = self._holders
        return sum(not holders[block] for block in blocks)

    def share(self, blocks: list[Block], keys: Sequence[Key], sequence: int, first: int = 0) -> None:
        """One more sequence holds blocks that were found under these keys, from its place `first` on."""
        holders = self._holders
        woken = [block for block in blocks if not holders[block]]
        for block in blocks:
            holders[block] += 1
        self.use.place, self.use.before = first, 0
        self.eviction.shared(blocks, keys, woken, self.use)
        self.idle -= len(woken)
        self.free -= len(woken)
        if self.journal is not None:
            for block in blocks:
                self.journal.write(Event.HIT, block, sequence, self._keys[block], holders[block])

    def take(self, count: int, sequence: int) -> list[Block]:
        """Hand out the first `count` blocks of the free queue; the caller has made sure that there are as many."""
        self.free -= count
        blocks: list[Block] = []
        if self._uncached:
            blocks = self._uncached[: -count - 1 : -1]
            del self._uncached[-count:]
            count -= len(blocks)
        if count and self._unused < self.blocks:
            first = self._unused
            self._unused = min(first + count, self.blocks)
            blocks += range(first, self._unused)
            count -= self._unused - first
        if count:
            blocks += self._evict(count)
        if self.journal is not None:
            for block in blocks:
                self.journal.write(Event.ALLOCATE, block, sequence, 0, 1)
        return blocks

    def register(self, blocks: list[Block], keys: Sequence[Key], sequence: int) -> int:
        """Cache full blocks that one sequence holds under the keys of their content; returns how many were admitted.

        `use` is that of the first of them.
        """
        if not self.admission.admits_all:
            blocks = blocks[: self._count_admitted(keys)]
            keys = keys[: len(blocks)]
        self.eviction.registered(blocks, keys, self.use)
        everything = self._enter_private or self.keeps_private
        if entries := [(b, key) for b, key in zip(blocks, keys, strict=True) if everything or key < PRIVATE_KEYS]:
            self._enter(entries)
        if self.journal is not None:
            for block, key in zip(blocks, keys, strict=True):
                self.journal.write(Event.REGISTER, block, sequence, key, 1)
        return len(blocks)

    def publish(self, blocks: list[Block], keys: Sequence[Key]) -> None:
        """Let the private ones among registered blocks be found: their request will come back."""
        known = self._keys
        self._enter([(b, key) for b, key in zip(blocks, keys, strict=True) if key >= PRIVATE_KEYS and b not in known])

    def unregister(self, blocks: Sequence[Block]) -> None:
        """Registered blocks that one sequence holds will not be filled after all: nobody may find them."""
        self.eviction.unregistered(blocks)
        for block in blocks:
            key = self._keys.pop(block, None)
            if key is not None:
                del self._holders[block]
                self._forget(block, key)

    def fork(self, table: Sequence[Block], sequence: int) -> None:
        """A new branch holds all that another one's table lists."""
        holders = self._holders
        for block in table:
            holders[block] = holders.get(block, 1) + 1
            if self.journal is not None:
                self.journal.write(Event.HIT, block, sequence, self._keys.get(block, 0), holders[block])

    def holders(self, block: Block) -> int:
        """How many sequences hold a block that somebody holds."""
        return self._holders.get(block, 1)

    def copy(self, block: Block, sequence: int) -> Block:
        """One of those who hold a shared block takes a free one instead, to which the content is to be copied."""
        (target,) = self.take(1, sequence)
        self._has_other_holder(block)
        if self.journal is not None:
            self.journal.write(Event.COPY, target, sequence, 0, 1, block)
            self.journal.write(Event.FREE, block, sequence, self._keys.get(block, 0), self._holders.get(block, 1))
        return target

    def release(self, table: list[Block], registered: int, sequence: int, first: int = 0) -> None:
        """A sequence lets go of its table, the last block first; the first `registered` blocks of it are cached.

        The table, or what is left of it, begins at the sequence's place `first`.

        The others go in front of the free queue, where the last of the table becomes the head; cached ones become idle
        when nobody else holds them, those later in the table first.
        """
        if self.journal is not None:
            for block in reversed(table):
                others = self._holders.get(block, 1) - 1
                self.journal.write(Event.FREE, block, sequence, self._keys.get(block, 0), others)
        self.chances += 1
        uncached = table[registered:]
        idle = table[:registered]
        idle.reverse()
        if self._holders:
            uncached = [block for block in uncached if not self._has_other_holder(block)]
            idle = [block for block in idle if not self._has_other_holder(block)]
        self._uncached += uncached
        self.use.place, self.use.before = first + registered, 0
        self.eviction.released(idle, self.use)
        self.idle += len(idle)
        self.free += len(uncached) + len(idle)

    def _enter(self, entries: list[tuple[Block, Key]]) -> None:
        self.chances += 1
        cached = self._cached
        for block, key in entries:
            if key in cached:
                self._twins.setdefault(key, []).append(block)
            else:
                cached[key] = block
            self._keys[block] = key
            self._holders.setdefault(block, 1)

    def _has_other_holder(self, block: Block) -> bool:
        """Take one holder away; whether any is left."""
        holders = self._holders.get(block, 1)
        if block in self._keys or holders > 2:
            self._holders[block] = holders - 1
        elif holders == 2:
            del self._holders[block]
        return holders > 1

    def _count_admitted(self, keys: Sequence[Key]) -> int:
        use = self.use
        place, before = use.place, use.before
        admitted = 0
        for use.place, key in enumerate(keys, place):
            if not self.admission.admits(key, use):
                break
            use.before = key
            admitted += 1
        use.place, use.before = place, before
        return admitted

    def _evict(self, count: int) -> list[Block]:
        victims = self.eviction.victims(count)
        self._forget_idle(victims)
        return victims

    def _forget_idle(self, blocks: list[Block]) -> None:
        """What these idle blocks hold is gone."""
        count = len(blocks)
        self.evictions += count
        self.idle -= count
        if self.journal is not None:
            for block in blocks:
                self.journal.write(Event.EVICT, block, NOBODY, self._keys.get(block, 0), 0)
        if self._keys:
            for block in blocks:
                key = self._keys.pop(block, None)
                if key is not None:
                    del self._holders[block]
                    self._forget(block, key)

    def _forget(self, block: Block, key: Key) -> None:
        twins = self._twins.get(key)
        if twins is None:
            del self._cached[key]
            return
        if self._cached[key] == block:
            self._cached[key] = twins.pop(0)
        else:
            twins.remove(block)
        if not twins:
            del self._twins[key]


class HostPool:
    """Blocks 1 to `blocks` of the host's memory, each with the content of one block that was swapped out."""

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self.free = blocks
        self._returned: list[Block] = []
        self._unused = 1

    def take(self, count: int) -> list[Block]:
        """Hand out `count` blocks, the last returned first; the caller has made sure that there are as many."""
        self.free -= count
        blocks = self._returned[: -count - 1 : -1]
        del self._returned[len(self._returned) - len(blocks) :]
        first = self._unused
        self._unused += count - len(blocks)
        return blocks + list(range(first, self._unused))

    def give_back(self, blocks: Sequence[Block]) -> None:
        """What was in them has been fetched, or is not needed any more."""
        self.free += len(blocks)
        self._returned += blocks

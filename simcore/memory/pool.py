"""A pool of KV-cache blocks with a prefix cache, as vLLM 0.33 keeps it, block for block."""

from collections.abc import Iterator, Sequence
from itertools import islice

from simcore.memory.keys import Key
from simcore.policies.eviction import Block, Eviction
from simcore.record.journal import NOBODY, Event, Journal
from simcore.ticks import Tick

NULL_BLOCK = 0
"""Never handed out: it stands where a table has no block."""


class BlockPool:
    """Blocks 1 to `blocks - 1`: each held by `refs` sequences, and cached if its content has a key.

    vLLM's free queue always reads: blocks without a key, the last freed first; blocks that were never used, in order;
    cached blocks that nobody holds, in the order of eviction. So it is kept as three parts: a stack, a counter and an
    eviction policy. A block costs nothing until it is first used: the pool may be of any size.

    Several blocks may be cached under one key, as in vLLM; the one registered first is found.
    """

    def __init__(self, blocks: int, eviction: Eviction, journal: Journal | None = None) -> None:
        self.blocks = blocks
        """size of the pool, the null block included"""
        self.free = blocks - 1
        """blocks that nobody holds, cached ones included"""
        self.evictions = 0
        """cached blocks that lost their content so far"""
        self.eviction = eviction
        self.journal = journal
        self.now: Tick = 0
        self._unhashed: list[Block] = []  # freed without a key; the end is the head of the queue
        self._refs: list[int] = [1]  # of each block that was ever used, and so is _key; 0 is the null block
        self._key: list[Key] = [0]
        self._cached: dict[Key, Block] = {}
        self._twins: dict[Key, list[Block]] = {}  # the later blocks of a key that several hold, oldest first

    @property
    def used(self) -> int:
        """Blocks that some sequence holds."""
        return self.blocks - 1 - self.free

    @property
    def idle(self) -> int:
        """Blocks that nobody holds but that are still cached."""
        return self.free - len(self._unhashed) - (self.blocks - len(self._refs))

    def refs(self, block: Block) -> int:
        """How many sequences hold a block."""
        return self._refs[block] if block < len(self._refs) else 0

    def key(self, block: Block) -> Key:
        """The key a block is cached under; 0 if it is not."""
        return self._key[block] if block < len(self._key) else 0

    def free_queue(self) -> Iterator[Block]:
        """The free blocks in the order in which they will be handed out."""
        yield from reversed(self._unhashed)
        yield from range(len(self._refs), self.blocks)
        yield from self.eviction

    def cached(self, keys: Sequence[Key], most: int) -> list[Block]:
        """The blocks of the longest cached prefix, at most `most` of them. Looking changes nothing."""
        find = self._cached.get
        found: list[Block] = []
        for key in islice(keys, most):
            block = find(key)
            if block is None:
                break
            found.append(block)
        return found

    def is_cached(self, key: Key) -> bool:
        return key in self._cached

    def count_idle(self, blocks: list[Block]) -> int:
        """How many of some cached blocks nobody holds."""
        refs = self._refs
        return sum(not refs[block] for block in blocks)

    def share(self, blocks: list[Block], sequence: int) -> None:
        """One more sequence holds these cached blocks."""
        refs = self._refs
        for block in blocks:
            if not refs[block]:
                self.eviction.pin(block)
                self.free -= 1
            refs[block] += 1
            if self.journal is not None:
                self.journal.write(Event.HIT, block, sequence, self._key[block], refs[block])

    def take(self, count: int, sequence: int) -> list[Block]:
        """Hand out the first `count` blocks of the free queue; the caller has made sure that there are as many."""
        self.free -= count
        unhashed = self._unhashed
        blocks: list[Block]
        if count <= len(unhashed):
            blocks = unhashed[: -count - 1 : -1]
            del unhashed[-count:]
        else:
            blocks = unhashed[::-1]
            unhashed.clear()
            fresh = len(self._refs)
            unused = range(fresh, min(fresh + count - len(blocks), self.blocks))
            self._refs += [0] * len(unused)
            self._key += [0] * len(unused)
            blocks += unused
            while len(blocks) < count:
                blocks.append(self._evict())
        for block in blocks:
            self._refs[block] = 1
        if self.journal is not None:
            for block in blocks:
                self.journal.write(Event.ALLOCATE, block, sequence, 0, 1)
        return blocks

    def register(self, block: Block, key: Key, sequence: int) -> None:
        """Cache a held block under the key of its content."""
        self._key[block] = key
        if key in self._cached:
            self._twins.setdefault(key, []).append(block)
        else:
            self._cached[key] = block
        self.eviction.insert(block, key, self.now)
        if self.journal is not None:
            self.journal.write(Event.REGISTER, block, sequence, key, self._refs[block])

    def release(self, table: list[Block], sequence: int) -> None:
        """A sequence lets go of its table, the last block first.

        Blocks without a key go in front of the free queue, where the last of the table becomes the head; cached ones
        become idle, those later in the table first.
        """
        refs, keys = self._refs, self._key
        unhashed = []
        for block in reversed(table):
            refs[block] -= 1
            if self.journal is not None:
                self.journal.write(Event.FREE, block, sequence, keys[block], refs[block])
            if refs[block]:
                continue
            self.free += 1
            if keys[block]:
                self.eviction.unpin(block, self.now)
            else:
                unhashed.append(block)
        unhashed.reverse()
        self._unhashed += unhashed

    def _evict(self) -> Block:
        block = self.eviction.victim()
        key = self._key[block]
        self._key[block] = 0
        self.evictions += 1
        twins = self._twins.get(key)
        if twins is None:
            del self._cached[key]
        else:
            if self._cached[key] == block:
                self._cached[key] = twins.pop(0)
            else:
                twins.remove(block)
            if not twins:
                del self._twins[key]
        if self.journal is not None:
            self.journal.write(Event.EVICT, block, NOBODY, key, 0)
        return block

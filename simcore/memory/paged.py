"""Paged memory: every sequence holds whole blocks of one pool, listed in its block table (vLLM, SOSP'23).

https://arxiv.org/abs/2309.06180. The rules are those of vLLM 0.33's KV-cache manager for full attention.
"""

from bisect import bisect_left

from simcore.memory.base import Growth, Hit
from simcore.memory.keys import PRIVATE_KEYS, BlockKeys
from simcore.memory.pool import BlockPool
from simcore.record.journal import Journal
from simcore.serving.request import Sequence
from simcore.ticks import Tick

NO_HIT = Hit(0, [])


class PagedMemory:
    """One block table a sequence, for all layers; prefixes are shared in whole blocks."""

    def __init__(self, pool: BlockPool, block_size: int, keys: BlockKeys | None) -> None:
        self.pool = pool
        self.block_size = block_size
        self._keys = keys
        self._promptly = pool.journal is not None or pool.eviction.hears_inserts
        self._slots = 0  # tokens that all tables together have room for, shared blocks counted each time

    @property
    def journal(self) -> Journal | None:
        return self.pool.journal

    @property
    def evictions(self) -> int:
        return self.pool.evictions

    @property
    def chances(self) -> int:
        return self.pool.chances

    def turn(self, step: int, now: Tick) -> None:
        self.pool.now = now
        if self.pool.journal is not None:
            self.pool.journal.turn(step, now)

    def lookup(self, sequence: Sequence) -> Hit:
        """At least one token must be computed to get logits, so a prompt that is cached whole hits one block less."""
        if self._keys is None:
            return NO_HIT
        request = sequence.request
        if not request.keys:
            request.keys = self._keys.of(request.row)
            request.named = bisect_left(request.keys, PRIVATE_KEYS)
        blocks = self.pool.find(request.keys, (sequence.length - 1) // self.block_size)
        return Hit(len(blocks) * self.block_size, blocks)

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        pool, size = self.pool, self.block_size
        hits = len(hit.blocks)
        room = pool.free - pool.count_idle(hit.blocks) - spare
        if whole and -(-sequence.length // size) - hits > room:
            return False
        reach = hit.tokens + tokens
        need = -(-reach // size) - hits
        if need > room:
            return False
        pool.share(hit.blocks, sequence.id)
        sequence.tables = [hit.blocks + pool.take(need, sequence.id)]
        sequence.registered = hits
        self._slots += (hits + need) * size
        self._register(sequence, reach)
        return True

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        table = sequence.tables[0]
        reach = sequence.computed + tokens
        need = -(-reach // self.block_size) - len(table)
        growth: Growth = []
        if need > 0:
            if need > self.pool.free:
                return None
            blocks = self.pool.take(need, sequence.id)
            table += blocks
            self._slots += need * self.block_size
            growth.append((0, blocks))
        self._register(sequence, reach)
        return growth

    def release(self, sequence: Sequence, returns: bool) -> None:
        pool, table = self.pool, sequence.tables[0]
        self._register(sequence, sequence.computed)
        registered = sequence.registered
        if returns and registered:
            pool.publish(table[:registered], sequence.request.keys[:registered])
        pool.release(table, registered, sequence.id)
        self._slots -= len(table) * self.block_size
        sequence.tables = [[]]
        sequence.registered = sequence.horizon = 0

    def fits(self, tokens: int) -> bool:
        return tokens <= (self.pool.blocks - 1) * self.block_size

    def usage(self, computed: int) -> tuple[int, int, int, int]:
        pool = self.pool
        used = pool.blocks - 1 - pool.free
        # Only whole blocks are shared, so what is empty in a block is empty in one table alone.
        return used, pool.idle, pool.free - pool.idle, used * self.block_size - (self._slots - computed)

    def _register(self, sequence: Sequence, reach: int) -> None:
        """Cache the blocks that are full once `reach` tokens are computed: in the step that fills them, not after.

        Unless somebody keeps a record, a private block just counts as cached: nobody else could hit it.
        """
        table = sequence.tables[0]
        sequence.horizon = len(table) * self.block_size + 1
        if self._keys is None:
            return
        request, first, full = sequence.request, sequence.registered, reach // self.block_size
        if full > first:
            if first < request.named or self._promptly:
                self.pool.register(table[first:full], request.keys[first:full], sequence.id)
            sequence.registered = full
        if full < len(table) and (full < request.named or self._promptly):
            sequence.horizon -= 1  # to be asked when the last block is full, not only when it overflows

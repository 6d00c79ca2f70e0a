"""Paged memory: every sequence holds whole blocks of one pool, listed in its block table (vLLM, SOSP'23).

https://arxiv.org/abs/2309.06180. The rules are those of vLLM 0.33's KV-cache manager for full attention.
"""

from bisect import bisect_left
from collections.abc import Iterator
from collections.abc import Sequence as Row

from simcore.memory.base import Growth, Hit, Move, MoveKind, Usage
from simcore.memory.keys import PRIVATE_KEYS, BlockKeys, Key
from simcore.memory.pool import BlockPool, HostPool
from simcore.policies.eviction import Block
from simcore.record.journal import Event, Journal
from simcore.serving.request import Sequence
from simcore.ticks import Tick

_tuple = tuple.__new__  # a named tuple's own constructor costs three times as much, at every step

NO_HIT = Hit(0, 0, [[]], [])


class PagedMemory:
    """One block table a sequence, for all layers; prefixes are shared in whole blocks.

    A preempted sequence may wait on the host, block by block; what of it is still cached when it comes back is not
    fetched.
    """

    tables = 1
    """block tables of a sequence"""

    def __init__(
        self,
        pool: BlockPool,
        block_size: int,
        keys: BlockKeys | None,
        host: HostPool | None = None,
        late: bool = False,
    ) -> None:
        """`late`: steps are planned while the last one is in flight, so a sampled token is known a step later."""
        self.pool = pool
        self.host = host
        self.block_size = block_size
        self.moves: list[Move] = []
        self._keys = keys
        self._late = late
        self._promptly = pool.prompt
        self._watched = pool.journal is not None or pool.eviction.expires
        self._slots = 0  # tokens that all tables together have room for, shared blocks counted each time
        self._internal = 0  # slots of theirs that will never hold a token

    @property
    def journal(self) -> Journal | None:
        return self.pool.journal

    @property
    def evictions(self) -> int:
        return self.pool.evictions

    @property
    def chances(self) -> int:
        return self.pool.chances

    @property
    def blocks(self) -> int:
        return self.pool.blocks

    @property
    def free(self) -> int:
        return self.pool.free

    def free_queue(self) -> Iterator[Block]:
        return self.pool.free_queue()

    def turn(self, step: int, now: Tick) -> None:
        self.pool.use.now = now
        if self._watched:
            self.pool.turn(step, now)

    def lookup(self, sequence: Sequence) -> Hit:
        """At least one token must be computed to get logits, so a prompt that is cached whole hits one block less."""
        if self._keys is not None:
            if not sequence.keys:
                self._name(sequence)
            blocks = self.pool.find(sequence.keys, (sequence.length - 1) // self.block_size)
        elif sequence.swapped:
            blocks = []
        else:
            return NO_HIT
        found = len(blocks) * self.block_size
        return Hit(max(found, sequence.stored), found, [blocks], sequence.swapped[len(blocks) :])

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        pool, size = self.pool, self.block_size
        (found,) = hit.blocks
        hits = len(found)
        room = pool.free - pool.count_idle(found) - spare
        if whole and -(-sequence.length // size) - hits > room:
            return False
        reach = hit.tokens + tokens
        need = -(-reach // size) - hits
        if need > room:
            return False
        if self._promptly:
            self._tell(sequence)
            self._unexpect(sequence)
        pool.share(found, sequence.keys[:hits], sequence.id)
        blocks = pool.take(need, sequence.id)
        if sequence.swapped:
            self._swap_in(sequence, hit, blocks)
        sequence.tables = [found + blocks]
        sequence.registered = hits
        self._slots += (hits + need) * size
        self._internal += self._never_used(sequence)
        self._register(sequence, reach)
        return True

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        table, size, computed = sequence.tables[0], self.block_size, sequence.computed
        held, reach = len(table), computed + tokens
        need = -(-reach // size) - held
        growth: Growth = []
        place = computed // size
        if place < held and self.pool.holders(table[place]) > 1:
            if not self.pool.free:
                return None
            source = table[place]
            table[place] = self.pool.copy(source, sequence.id)
            self.moves.append(Move(MoveKind.COPY, sequence.id, 0, place, source, table[place]))
        if need > 0:
            if need > self.pool.free:
                return None
            blocks = self.pool.take(need, sequence.id)
            table += blocks
            self._slots += need * size
            unused = (held + need) * size - sequence.end
            if unused >= 0:  # before, all was to be used: it needed more
                self._internal += unused + 1
            growth.append((0, blocks))
        self._register(sequence, min(reach, sequence.length) if self._late else reach)
        return growth

    def expect(self, sequence: Sequence) -> None:
        if self._keys is not None and self.pool.eviction.hears_queue:
            if not sequence.keys:
                self._name(sequence)
            self.pool.eviction.expect(self._names(sequence))

    def fork(self, parent: Sequence, child: Sequence) -> None:
        table = parent.tables[0]
        self.pool.fork(table, child.id)
        child.tables = [table.copy()]
        child.registered = parent.registered
        self._slots += len(table) * self.block_size
        self._internal += self._never_used(child)
        if self._keys is not None:
            self._name(child)
            if parent.worth < len(parent.keys):  # what they have in common was refused to the cache from there on
                child.worth = parent.worth
        child.horizon = parent.horizon = parent.computed + 1  # to be asked before either writes

    def swap_out(self, sequence: Sequence) -> None:
        blocks = sequence.tables[0][: -(-sequence.computed // self.block_size)]
        if self.host is None or len(blocks) > self.host.free:
            return
        sequence.swapped, sequence.stored = self.host.take(len(blocks)), sequence.computed
        for place, (block, target) in enumerate(zip(blocks, sequence.swapped, strict=True)):
            self.moves.append(Move(MoveKind.SWAP_OUT, sequence.id, 0, place, block, target))
            if self.journal is not None:
                self.journal.write(Event.SWAP_OUT, block, sequence.id, 0, self.pool.holders(block), target)

    def release(self, sequence: Sequence, filled: int, returns: bool) -> None:
        pool, table = self.pool, sequence.tables[0]
        if self._promptly:
            self._tell(sequence)
        self._register(sequence, filled)
        full = filled // self.block_size
        if sequence.registered > full:  # its chunk of this step was taken back
            pool.unregister(table[full : sequence.registered])
            sequence.registered = full
        registered = sequence.registered
        if returns and registered:
            pool.publish(table[:registered], sequence.keys[:registered])
        pool.release(table, registered, sequence.id)
        self._slots -= len(table) * self.block_size
        self._internal -= self._never_used(sequence)
        sequence.tables = [[]]
        sequence.registered = sequence.horizon = 0
        sequence.worth = len(sequence.keys)
        if returns:
            self.expect(sequence)

    def forget(self, sequence: Sequence) -> None:
        if sequence.swapped:
            assert self.host is not None
            self.host.give_back(sequence.swapped)
            sequence.swapped, sequence.stored = [], 0

    def fits(self, tokens: int, prompt: int) -> bool:
        return tokens <= (self.pool.blocks - 1) * self.block_size

    def usage(self, computed: int) -> Usage:
        pool = self.pool
        used = pool.blocks - 1 - pool.free
        # Only whole blocks are shared, so what is empty in a block is empty in one table alone.
        empty = self._slots - computed
        stored, internal = used * self.block_size - empty, self._internal
        saved = self._slots // self.block_size - used
        return _tuple(Usage, (used, pool.idle, pool.free - pool.idle, stored, empty - internal, internal, 0, saved))

    def _never_used(self, sequence: Sequence) -> int:
        """Slots of a sequence's last block behind all that it will ever compute."""
        return max(len(sequence.tables[0]) * self.block_size - sequence.end + 1, 0)

    def _name(self, sequence: Sequence) -> None:
        assert self._keys is not None
        request = sequence.request
        sequence.keys = self._keys.of(request.row, sequence.branch)
        if request.beam:  # what beams write has no name: they go on from each other
            sequence.keys = sequence.keys[: request.prompt_len // self.block_size]
        sequence.worth = len(sequence.keys)
        sequence.named = bisect_left(sequence.keys, PRIVATE_KEYS)

    def _swap_in(self, sequence: Sequence, hit: Hit, blocks: list[Block]) -> None:
        """Fetch what is on the host into the first of the `blocks` that were taken, and leave the host."""
        for place, (source, target) in enumerate(zip(hit.host, blocks, strict=False), len(hit.blocks[0])):
            self.moves.append(Move(MoveKind.SWAP_IN, sequence.id, 0, place, source, target))
            if self.journal is not None:
                self.journal.write(Event.SWAP_IN, target, sequence.id, 0, 1, source)
        self.forget(sequence)

    def _unexpect(self, sequence: Sequence) -> None:
        """It waits no longer."""
        if self._keys is not None and self.pool.eviction.hears_queue:
            self.pool.eviction.unexpect(self._names(sequence))

    def _names(self, sequence: Sequence) -> Row[Key]:
        """The content that a sequence may find, and others too."""
        return sequence.keys[: sequence.named]

    def _tell(self, sequence: Sequence) -> None:
        """Policies want to know whose doing it is what happens next."""
        use, request = self.pool.use, sequence.request
        use.row, use.priority, use.category = request.row, request.priority, request.category
        use.prompt = request.prompt_len // self.block_size

    def _register(self, sequence: Sequence, reach: int) -> None:
        """Cache the blocks that `reach` tokens fill: in the step that computes them, or later if they are known late.

        Unless somebody wants to know at once, a private block just counts as cached: nobody else could hit it.
        """
        table = sequence.tables[0]
        sequence.horizon = len(table) * self.block_size + 1
        if self._keys is None:
            return
        first, full = sequence.registered, reach // self.block_size
        if full > sequence.worth:
            full = sequence.worth
        if full > first:
            if self._promptly:
                self._tell(sequence)
                use = self.pool.use
                use.place, use.before = first, sequence.keys[first - 1] if first else 0
            if first < sequence.named or self._promptly:
                admitted = self.pool.register(table[first:full], sequence.keys[first:full], sequence.id)
                if first + admitted < full:
                    full = sequence.worth = first + admitted
            sequence.registered = full
        if full < len(table) <= sequence.worth and (full < sequence.named or self._promptly) and not self._late:
            sequence.horizon -= 1  # to be asked when the last block is full, not only when it overflows

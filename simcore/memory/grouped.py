"""Memory of a model whose layers do not all keep the same: groups of them, each with tables of its own, in one pool.

The rules are those of vLLM 0.33's hybrid KV-cache manager. A block holds the tokens of one group's layers, and groups
have equally many layers, so any block can be any group's. https://docs.vllm.ai/en/latest/design/hybrid_kv_cache_manager
"""

from collections.abc import Iterator
from collections.abc import Sequence as Row

from simcore.memory.base import Growth, Hit, Move, MoveKind, Usage
from simcore.memory.keys import BlockKeys, Key, key_in
from simcore.memory.kinds import Kind, kinds_of
from simcore.memory.paged import PagedMemory
from simcore.memory.pool import NULL_BLOCK, BlockPool
from simcore.policies.eviction import Block
from simcore.serving.request import Sequence

DENSE = -1
"""Retention: every block of a window's layers is cached."""


class GroupedMemory(PagedMemory):
    """One block table a sequence for each group of layers.

    What has slid out of a window is let go of while the sequence runs; the null block stands in its place. A prefix
    counts as cached as far as it is in all groups, where a window needs no more than its own length of it.

    Layers with a state have a table of one block, whatever the length, which every token overwrites. There is no prefix
    caching then: what the state was at an earlier token is gone.
    """

    def __init__(
        self,
        pool: BlockPool,
        block_size: int,
        keys: BlockKeys | None,
        windows: Row[int],
        *,
        retention: int = DENSE,
        max_model_len: int,
        step_tokens: int,
        late: bool = False,
    ) -> None:
        """A table for each of the `windows`, 0: full attention, STATE: a state, without `keys`. The pool must enter
        private blocks; so must the keys.

        retention: see `memory.prefix_retention`; step_tokens: the most that one step computes; late: see `PagedMemory`.
        """
        super().__init__(pool, block_size, keys, late=late)
        self.tables = len(windows)
        self._kinds = kinds_of(windows, block_size, step_tokens * (2 if late else 1), max_model_len)
        by_window = {kind.window: kind for kind in self._kinds}
        self._of = [by_window[window] for window in windows]
        self._retention = retention
        self._lag = int(late)
        self._nulls = 0  # entries of all tables that are the null block
        self._growing = [table for table, kind in enumerate(self._of) if not kind.state]
        self._states = 0  # entries of all tables that hold a state
        assert keys is None or len(self._growing) == self.tables

    def lookup(self, sequence: Sequence) -> Hit:
        """The longest prefix that all groups have, less one block where that is the whole prompt.

        Each kind in turn shortens it, until none does; with full attention and one kind of window, once is enough. What
        the first one had more is the junction, be it full attention or not.
        """
        if self._keys is None:
            return Hit(0, 0, [[] for _ in self._of], [])
        if not sequence.keys:
            self._name(sequence)
        found: dict[Kind, list[list[Block]]] = {}
        length = longest = min((sequence.length - 1) // self.block_size, len(sequence.keys))
        junction = 0
        while True:
            for kind in self._kinds:
                if kind.window or kind not in found:
                    found[kind] = self._find(kind, sequence.keys, longest)
                    longest = len(found[kind][0])
                    junction = max(junction, longest)  # of any kind: vLLM's HybridKVCacheCoordinator too
                else:
                    longest = min(longest, len(found[kind][0]))
            if longest == length or (len(self._kinds) == 2 and not self._kinds[0].window):
                break
            length = longest
        blocks: list[list[Block]] = [[] for _ in self._of]
        for kind in self._kinds:
            for group, table in zip(kind.tables, found[kind], strict=True):
                blocks[group] = table[:longest]
        tokens = longest * self.block_size
        return Hit(tokens, tokens, blocks, [], junction if junction > longest else 0)

    def admit(self, sequence: Sequence, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        pool, size = self.pool, self.block_size
        hits = len(hit.blocks[0])
        nulls = [min(kind.below(hit.tokens), hits) for kind in self._of]
        held = [table[gone:] for table, gone in zip(hit.blocks, nulls, strict=True)]
        room = pool.free - sum(map(pool.count_idle, held)) - spare
        if whole:
            blocks = -(-sequence.length // size)
            if sum(max(kind.needs(blocks) - hits, 0) for kind in self._of) > room:
                return False
        reach = hit.tokens + tokens
        need = -(-reach // size) - hits
        needs = [1 if kind.state else need for kind in self._of]
        if sum(needs) > room:
            return False
        if self._promptly:
            self._tell(sequence)
            self._unexpect(sequence)
        for group, (table, gone) in enumerate(zip(held, nulls, strict=True)):
            names = [key_in(group, key) for key in sequence.keys[gone:hits]]
            pool.share(table, names, sequence.id, gone)
        sequence.tables = [
            [NULL_BLOCK] * gone + table + pool.take(count, sequence.id)
            for table, gone, count in zip(held, nulls, needs, strict=True)
        ]
        sequence.nulls = nulls
        self._nulls += sum(nulls)
        sequence.registered = hits
        sequence.junction = hit.junction
        self._count(sequence, 1)
        self._register(sequence, reach)
        sequence.horizon = reach + 1
        return True

    def grow(self, sequence: Sequence, tokens: int) -> Growth | None:
        pool, size = self.pool, self.block_size
        self._slide(sequence)
        reach = sequence.computed + tokens
        need = -(-reach // size) - len(sequence.tables[self._growing[0]]) if self._growing else 0
        written = [0 if kind.state else sequence.computed // size for kind in self._of]
        shared = [
            (group, place)
            for group, (table, place) in enumerate(zip(sequence.tables, written, strict=True))
            if place < len(table) and pool.holders(table[place]) > 1
        ]
        if len(shared) + max(need, 0) * len(self._growing) > pool.free:
            return None
        for group, place in shared:
            table = sequence.tables[group]
            source, table[place] = table[place], pool.copy(table[place], sequence.id)
            self.moves.append(Move(MoveKind.COPY, sequence.id, group, place, source, table[place]))
        growth: Growth = []
        if need > 0:
            for group in self._growing:
                blocks = pool.take(need, sequence.id)
                sequence.tables[group] += blocks
                growth.append((group, blocks))
            self._slots += need * len(self._growing) * size
        self._register(sequence, min(reach, sequence.length))
        sequence.horizon = max(min(self._events(sequence)), reach + 1)
        return growth

    def fork(self, parent: Sequence, child: Sequence) -> None:
        for table, gone in zip(parent.tables, parent.nulls, strict=True):
            self.pool.fork(table[gone:], child.id)
        child.tables = [table.copy() for table in parent.tables]
        child.nulls = parent.nulls.copy()
        self._nulls += sum(child.nulls)
        self._count(child, 1)
        child.registered, child.junction = parent.registered, parent.junction
        if self._keys is not None:
            self._name(child)
            if parent.worth < len(parent.keys):
                child.worth = parent.worth
        child.horizon = parent.horizon = parent.computed + 1  # to be asked before either writes

    def release(self, sequence: Sequence, filled: int, returns: bool) -> None:
        if self._promptly:
            self._tell(sequence)
        self._register(sequence, filled)
        full = filled // self.block_size
        if sequence.registered > full:  # its chunk of this step was taken back
            for table in sequence.tables:
                self.pool.unregister(table[full : sequence.registered])
        for table, gone in zip(sequence.tables, sequence.nulls, strict=True):
            self._let_go(table[gone:], sequence, gone)
        self._count(sequence, -1)
        sequence.tables = [[] for _ in self._of]
        self._nulls -= sum(sequence.nulls)
        sequence.nulls = []
        sequence.registered = sequence.horizon = sequence.in_flight = 0
        if returns:
            self.expect(sequence)

    def fits(self, tokens: int, prompt: int) -> bool:
        """A sequence can only be sure to go on after a preemption if it would be admitted as a whole."""
        blocks = -(-tokens // self.block_size)
        return sum(kind.needs(blocks) for kind in self._of) < self.pool.blocks

    def usage(self, computed: int) -> Usage:
        """Slots that are empty are not told apart: all count as `internal`. A state fills its block."""
        usage = super().usage(computed * len(self._growing) + self._states * self.block_size)
        internal, saved = usage.reserved + usage.internal, usage.saved - self._nulls
        return usage._replace(reserved=0, internal=internal, saved=saved)

    def _count(self, sequence: Sequence, sign: int) -> None:
        """The slots and states of all of a sequence's tables come, or go (-1)."""
        self._slots += sign * sum(map(len, sequence.tables)) * self.block_size
        self._states += sign * (self.tables - len(self._growing))

    def _find(self, kind: Kind, keys: Row[Key], most: int) -> list[list[Block]]:
        """The longest cached prefix of at most `most` blocks: a table for each of a kind's groups, equally long.

        With a window, that is where the last run of enough cached blocks ends; what lies before it does not matter.
        """
        if not kind.window:
            return self._find_all(kind, keys, most)
        run: list[list[Block]] = []  # the last first
        for place in range(most - 1, -1, -1):
            blocks = self._cached(kind, keys[place])
            if blocks is None:
                run = []
                continue
            run.append(blocks)
            if len(run) >= kind.tail:
                return [[NULL_BLOCK] * place + [blocks[i] for blocks in reversed(run)] for i in range(len(kind.tables))]
        return [[blocks[i] for blocks in reversed(run)] for i in range(len(kind.tables))]

    def _find_all(self, kind: Kind, keys: Row[Key], most: int) -> list[list[Block]]:
        tables: list[list[Block]] = [[] for _ in kind.tables]
        for place in range(most):
            blocks = self._cached(kind, keys[place])
            if blocks is None:
                break
            for table, block in zip(tables, blocks, strict=True):
                table.append(block)
        return tables

    def _cached(self, kind: Kind, key: Key) -> list[Block] | None:
        """The blocks of all of a kind's groups for one key, if each has one."""
        blocks: list[Block] = []
        for group in kind.tables:
            block = self.pool.block_of(key_in(group, key))
            if block is None:
                return None
            blocks.append(block)
        return blocks

    def _slide(self, sequence: Sequence) -> None:
        """Let go of what has slid out of the windows, but for what a plan in flight may read."""
        processed = sequence.computed - sequence.in_flight
        for group, kind in enumerate(self._of):
            table, before = sequence.tables[group], sequence.nulls[group]
            gone = min(kind.below(processed), len(table))
            if gone > before:
                self._let_go(table[before:gone], sequence, before)
                table[before:gone] = [NULL_BLOCK] * (gone - before)
                sequence.nulls[group] = gone
                self._nulls += gone - before

    def _let_go(self, blocks: list[Block], sequence: Sequence, first: int) -> None:
        """The last of the blocks first, as in any table, from place `first` on; they need not be cached in order."""
        entered = self.pool.entered
        cached = [block for block in blocks if entered(block)]
        others = [block for block in blocks if not entered(block)]
        self.pool.release(cached + others, len(cached), sequence.id, first)

    def _register(self, sequence: Sequence, reach: int) -> None:
        """Cache the blocks that `reach` tokens fill, where they can serve a hit; what is passed over never is."""
        full = min(reach // self.block_size, sequence.worth)
        if self._keys is not None and full > sequence.registered:
            if self._promptly:
                self._tell(sequence)
            for group, table in enumerate(sequence.tables):
                first = max(sequence.registered, sequence.nulls[group])
                places = [place for place in range(first, full) if self._serves(group, place, sequence)]
                blocks = [table[place] for place in places]
                keys = [key_in(group, sequence.keys[place]) for place in places]
                use = self.pool.use
                use.place, use.before = places[0] if places else 0, 0
                self.pool.register(blocks, keys, sequence.id)
            sequence.registered = full

    def _names(self, sequence: Sequence) -> Row[Key]:
        shared = super()._names(sequence)
        return [key_in(group, key) for group in range(self.tables) for key in shared]

    def _events(self, sequence: Sequence) -> Iterator[int]:
        """Where a decoding sequence will be when a step changes something of its tables."""
        size = self.block_size
        yield len(sequence.tables[self._growing[0]]) * size + 1 if self._growing else sequence.end
        if self._keys is not None and sequence.registered < sequence.worth:
            yield (sequence.registered + 1) * size + self._lag
        for kind, gone in zip(self._of, sequence.nulls, strict=True):
            if kind.window and not kind.state:
                yield (gone + 1) * size + kind.window + self._lag

    def _serves(self, group: int, place: int, sequence: Sequence) -> bool:
        """Whether a later sequence could use a group's block at a place of a table.

        With sparse retention, a window's layers keep only what a hit needs that ends with the prompt, with a prefix
        that others were found to share, or every so many tokens.
        """
        kind, size = self._of[group], self.block_size
        if not kind.window:
            return True
        if self._retention == DENSE:
            return kind.tail > 0
        segment = self._retention // size
        if segment and (kind.tail >= segment or place % segment >= segment - kind.tail):
            return True
        ends = ((sequence.request.prompt_len - 1) // size, sequence.junction)
        return any(end - kind.tail <= place < end for end in ends)

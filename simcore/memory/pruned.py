"""Paged memory from which live sequences drop tokens.

What stays is packed into whole blocks, whichever tokens they are: a block that has lost half of its tokens frees
nothing. Each head of each layer keeps equally many, so that one block table still serves all of them.

Cached blocks are never written into: others may find them, and what they hold is the whole prefix. So a sequence packs
what it keeps into blocks of its own that are not cached, then into fresh ones, and lets go of the cached ones; a later
request can still hit those. Only where no fresh ones are free it gives up its claim on the cache, and packs into its
own cached blocks.
"""

from simcore.memory.keys import BlockKeys
from simcore.memory.paged import PagedMemory
from simcore.memory.pool import BlockPool
from simcore.policies.eviction import Block
from simcore.record.journal import Event
from simcore.scenario.pruning import PruningSection
from simcore.serving.request import UNLIMITED, Sequence


class Budget:
    """How many tokens stay of a sequence, and when some are dropped."""

    def __init__(self, options: PruningSection, block_size: int) -> None:
        self._budget = options.budget or UNLIMITED
        self._keep = options.keep
        self._slack = 0 if options.during == "prompt" else options.slack or block_size

    def stays(self, tokens: int) -> int:
        """How many may stay, when so many have been computed and all that is known of a sequence is among them."""
        return self._budget if self._keep == 1 else min(self._budget, max(round(self._keep * tokens), 1))

    def next_at(self, stays: int) -> int:
        """How many tokens are stored when some are dropped again, if so many have just been kept."""
        return stays + self._slack if self._slack else UNLIMITED


class PrunedMemory(PagedMemory):
    """One block table a sequence, for all layers and heads, whose slots are positions less the dropped tokens.

    To the rules of paged memory a pruned sequence is just a shorter one. What it computes from then on is not cached:
    it has not seen the whole of the prefix that its name says.
    """

    def __init__(self, pool: BlockPool, block_size: int, keys: BlockKeys | None, budget: Budget) -> None:
        super().__init__(pool, block_size, keys)
        self.budget = budget
        self._leaving: dict[int, tuple[list[Block], int]] = {}
        """by sequence: the blocks that it lets go of after this step, and how many of them, the first, are cached"""

    def pack(self, sequence: Sequence, tokens: int) -> list[Block] | None:
        """The block table of a running sequence when it keeps so many of its tokens; None: no room for it now.

        Until `keep` follows, after the step, it holds all of its old table too.
        """
        pool, table = self.pool, sequence.tables[0]
        count = -(-tokens // self.block_size)
        cached, own = table[: sequence.registered], table[sequence.registered :]
        if count - len(own) > pool.free:
            given_up = [block for block in cached if pool.holders(block) == 1]
            if count - len(own) - len(given_up) > pool.free:
                return None
            pool.unregister(given_up)
            cached = [block for block in cached if pool.holders(block) > 1]
            own = given_up + own
        elif cached:  # after a preemption it wants all of them again, those too that only itself can find
            pool.publish(cached, sequence.keys[: len(cached)])
        lacking = count - len(own)
        fresh = pool.take(lacking, sequence.id) if lacking > 0 else []
        self._slots += len(fresh) * self.block_size
        self._leaving[sequence.id] = cached + own[count:], len(cached)
        return own[:count] + fresh

    def keep(self, sequence: Sequence, table: list[Block], dropped: int) -> None:
        """The step is done, and what stays of a sequence is packed into `table`, which `pack` has said."""
        pool, size = self.pool, self.block_size
        if self._promptly:
            self._tell(sequence)
        self._internal -= self._never_used(sequence)
        leaving, cached = self._leaving.pop(sequence.id)
        pool.release(leaving, cached, sequence.id)
        self._slots -= len(leaving) * size
        sequence.drop(dropped)
        sequence.tables = [table]
        sequence.registered = sequence.worth = 0
        sequence.horizon = len(table) * size + 1
        self._internal += self._never_used(sequence)
        if self.journal is not None:
            for place, block in enumerate(table, 1):
                self.journal.write(Event.PRUNE, block, sequence.id, 0, 1, place)

"""Memories below the pool: what the prefix cache evicts is kept there, and fetched instead of being computed again.

A tier keeps blocks under the keys of their content. A block is written to it when the level above evicts it, or when it
is full; a request whose prompt goes on in a tier where the pool's prefix cache ends has that fetched. What is fetched
stays where it was: the tiers are inclusive upwards. This is how vLLM's KV connectors and LMCache work:
https://docs.vllm.ai/en/latest/features/disagg_prefill.html, https://arxiv.org/abs/2510.09665.

Nothing here takes time. What travels is listed as transfers; who carries them says when they have arrived. See
docs/tiers.md for what is modelled.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from simcore.memory.base import Hit, MoveKind, Usage
from simcore.memory.keys import BlockKeys, Key
from simcore.memory.paged import PagedMemory
from simcore.memory.pool import BlockPool
from simcore.policies.admission import Admission
from simcore.policies.eviction import Block, EvictionOrder, Setting, Use
from simcore.record.journal import NOBODY, Event, Journal
from simcore.record.rows import Rows
from simcore.serving.request import Sequence as Branch
from simcore.ticks import Tick

TRANSFER_COLUMNS = ("tier", "fetch", "blocks", "asked", "began", "ended")
"""What is recorded of a transfer that has arrived: times in ticks; fetch: 1, or 0 for a write."""


class Origin(NamedTuple):
    """Where in its sequence a block was filled; eviction policies want to know."""

    place: int
    """which block of the sequence, from 0"""
    before: Key
    """the content of the block before it"""


Entry = tuple[Key, Origin]
"""What one block holds."""


@dataclass(slots=True, eq=False)
class Transfer:
    """Blocks on their way over the link of a tier, all in one go."""

    tier: int
    """its number, from 0"""
    kind: MoveKind
    """SWAP_OUT: to the tier; SWAP_IN: from there to the pool"""
    keys: list[Key]
    """what travels; in the order in which the tier's policy hears that it has arrived"""
    ticks: Tick
    """what it takes on an idle link"""
    asked: Tick
    sequence: Branch | None = None
    """who waits for it, and is not admitted before"""
    awaited: bool = False
    """the step that was planned with it ends no sooner than it arrives"""
    began: Tick = 0
    """when it got the link"""


class Tier:
    """A store of blocks under the keys of their content, which never holds more than `blocks`.

    To its eviction policy a block is what it holds, and is held as long as a transfer is reading or writing it.
    """

    def __init__(
        self,
        name: str,
        blocks: int,
        eviction: EvictionOrder,
        setting: Setting,
        *,
        on_write: bool = False,
        blocking: bool = True,
        latency: Tick = 0,
        fetch_ticks: Tick = 0,
        write_ticks: Tick = 0,
    ) -> None:
        """A transfer takes `latency` and then so many ticks a block; `setting.capacity` is `blocks`."""
        self.name = name
        self.blocks = blocks
        self.on_write = on_write
        """blocks are written when they are full, not when the level above evicts them"""
        self.blocking = blocking
        """a request waits for what is fetched from here before it is admitted"""
        self.hits = 0
        """blocks that were found here, and asked for, so far"""
        self.evictions = 0
        """blocks that made room for others so far"""
        self.skipped = 0
        """blocks that were not written, because all that is here was on its way in or out"""
        self.fetching = 0
        self.writing = 0
        """blocks on the link or waiting for it"""
        self.use = Use()
        self.eviction = eviction
        eviction.begin(setting)
        self._latency = latency
        self._ticks = {MoveKind.SWAP_IN: fetch_ticks, MoveKind.SWAP_OUT: write_ticks}
        self._content: dict[Key, Origin] = {}  # what is still on its way here included
        self._coming: set[Key] = set()
        self._pins: dict[Key, int] = {}  # how many transfers need what is here

    def __len__(self) -> int:
        """Blocks that are taken, for what is on its way here too."""
        return len(self._content)

    def __contains__(self, key: Key) -> bool:
        """Whether it can be fetched."""
        return key in self._content and key not in self._coming

    def __iter__(self) -> Iterator[Key]:
        return iter(self._content)

    def ticks(self, kind: MoveKind, blocks: int) -> Tick:
        """How long a transfer of so many blocks takes on an idle link."""
        return self._latency + blocks * self._ticks[kind]

    def insert(self, entries: Iterable[Entry]) -> tuple[list[Key], list[Entry]]:
        """Take room for what is not here yet; what has to be written, and what was evicted for it."""
        written: list[Key] = []
        evicted: list[Entry] = []
        use = self.use
        for key, origin in entries:
            if key in self._content:
                if key not in self._pins:
                    self._pin([key])
                    self._unpin([key])
                continue
            if len(self._content) == self.blocks:
                if len(self._pins) == self.blocks:
                    self.skipped += 1
                    continue
                evicted += self._drop(self.eviction.victims(1))
            self._content[key] = origin
            self._coming.add(key)
            self._pins[key] = 1
            use.place, use.before = origin
            self.eviction.registered([key], [key], use)
            written.append(key)
        self.writing += len(written)
        return written, evicted

    def fetch(self, keys: list[Key]) -> None:
        """What was found here is about to be read."""
        self.hits += len(keys)
        self.fetching += len(keys)
        self._pin(keys)

    def arrived(self, kind: MoveKind, keys: list[Key]) -> None:
        """What was written is here, or what was read is there."""
        if kind is MoveKind.SWAP_OUT:
            self._coming.difference_update(keys)
            self.writing -= len(keys)
        else:
            self.fetching -= len(keys)
        self._unpin(keys)

    def expired(self, now: Tick) -> list[Entry]:
        """What the policy finds too old is gone."""
        return self._drop(self.eviction.expired(now)) if self.eviction.expires else []

    def _drop(self, keys: list[Key]) -> list[Entry]:
        self.evictions += len(keys)
        return [(key, self._content.pop(key)) for key in keys]

    def _pin(self, keys: list[Key]) -> None:
        use = self.use
        for key in keys:
            pins = self._pins.get(key, 0)
            self._pins[key] = pins + 1
            use.place, use.before = self._content[key]
            self.eviction.shared([key], [key], [] if pins else [key], use)

    def _unpin(self, keys: list[Key]) -> None:
        use = self.use
        for key in keys:
            self._pins[key] -= 1
            if not self._pins[key]:
                del self._pins[key]
                use.place, use.before = self._content[key].place + 1, 0
                self.eviction.released([key], use)


class Tiers(list[Tier]):
    """All tiers below a pool, from near to far, and what travels between them."""

    def __init__(self, tiers: Iterable[Tier]) -> None:
        super().__init__(tiers)
        self.log = Rows(len(TRANSFER_COLUMNS))
        """of the transfers that have arrived"""
        self._now: Tick = 0
        self._step = 0
        self._writes: list[list[Key]] = [[] for _ in self]  # to each tier, not yet listed as transfers
        self._fetches: list[Transfer] = []
        self._filling: list[tuple[int, dict[Key, Origin]]] = []  # by the step that fills them, oldest first
        self._through = any(tier.on_write for tier in self)

    def turn(self, step: int, now: Tick) -> None:
        """What follows happens in `step`, at `now`."""
        self._step, self._now = step, now
        for number, tier in enumerate(self):
            tier.use.now = now
            if old := tier.expired(now):
                self._descend(old, number + 1)

    def doing_of(self, use: Use) -> None:
        """Whose request causes what follows."""
        for tier in self:
            tier.use.row, tier.use.priority, tier.use.category = use.row, use.priority, use.category

    def find(self, keys: Iterable[Key]) -> list[int]:
        """For each block of the longest prefix of `keys` that is here, the nearest tier that has it."""
        found: list[int] = []
        for key in keys:
            number = next((number for number, tier in enumerate(self) if key in tier), None)
            if number is None:
                break
            found.append(number)
        return found

    def fetch(self, keys: Sequence[Key], numbers: Sequence[int], sequence: Branch, waits: bool) -> int:
        """Send for blocks that were found, with one transfer from each tier; returns how many transfers that are."""
        used = sorted(set(numbers))
        for number in used:
            wanted = [key for key, each in zip(keys, numbers, strict=True) if each == number]
            self[number].fetch(wanted)
            ticks = self[number].ticks(MoveKind.SWAP_IN, len(wanted))
            wanted.reverse()  # the tail of a chain is of no use without its head, and should go first
            waiting = sequence if waits else None
            self._fetches.append(
                Transfer(number, MoveKind.SWAP_IN, wanted, ticks, self._now, waiting, awaited=not waits)
            )
        return len(used)

    def filled(self, entries: dict[Key, Origin]) -> None:
        """Blocks of the pool are full when the step that was planned is done."""
        if self._through and entries:
            self._filling.append((self._step, entries))

    def not_filled(self, keys: Iterable[Key]) -> None:
        """That was taken back."""
        for key in keys:
            for _, entries in self._filling:
                entries.pop(key, None)

    def done(self, step: int) -> None:
        """What a step has filled can be written."""
        full = [entries for filled_in, entries in self._filling if filled_in <= step]
        if full:
            self._filling = [(filled_in, entries) for filled_in, entries in self._filling if filled_in > step]
        for entries in full:
            for number, tier in enumerate(self):
                if tier.on_write:
                    self._insert(number, reversed(entries.items()))

    def evicted(self, entries: list[Entry]) -> list[Key]:
        """The pool has evicted this; what of it is written to the first tier."""
        return self._descend(entries, 0)

    def transfers(self) -> list[Transfer]:
        """What is to be carried from now on, in this order; who asks takes it away."""
        listed, self._fetches = self._fetches, []
        for number, keys in enumerate(self._writes):
            if keys:
                ticks = self[number].ticks(MoveKind.SWAP_OUT, len(keys))
                listed.append(Transfer(number, MoveKind.SWAP_OUT, keys, ticks, self._now))
                self._writes[number] = []
        return listed

    def arrived(self, transfer: Transfer, now: Tick) -> None:
        """The end of a transfer."""
        self[transfer.tier].use.now = now
        self[transfer.tier].arrived(transfer.kind, transfer.keys)
        fetch = transfer.kind is MoveKind.SWAP_IN
        self.log.append(transfer.tier, fetch, len(transfer.keys), transfer.asked, transfer.began, now)

    def _descend(self, entries: list[Entry], number: int) -> list[Key]:
        """The level above a tier has evicted this. A tier that was written to before has had its chance."""
        if number == len(self) or self[number].on_write or not entries:
            return []
        return self._insert(number, entries)

    def _insert(self, number: int, entries: Iterable[Entry]) -> list[Key]:
        written, evicted = self[number].insert(entries)
        self._writes[number] += written
        self._descend(evicted, number + 1)
        return written


class TieredPool(BlockPool):
    """A pool that tells the tiers below it what it caches and what it evicts.

    All cached content counts, private content too: no server knows that nobody else will ask for it.
    """

    keeps_private = True

    def __init__(
        self,
        blocks: int,
        eviction: EvictionOrder,
        tiers: Tiers,
        journal: Journal | None = None,
        admission: Admission | None = None,
        setting: Setting | None = None,
    ) -> None:
        super().__init__(blocks, eviction, journal, admission, setting)
        self.tiers = tiers
        self._origins: dict[Key, Origin] = {}  # of what is cached

    @property
    def prompt(self) -> bool:
        return True

    def register(self, blocks: list[Block], keys: Sequence[Key], sequence: int) -> int:
        place, before = self.use.place, self.use.before
        admitted = super().register(blocks, keys, sequence)
        entries: dict[Key, Origin] = {}
        for key in keys[:admitted]:
            entries[key] = Origin(place, before)
            place, before = place + 1, key
        self._origins |= entries
        self.tiers.filled(entries)
        return admitted

    def unregister(self, blocks: Sequence[Block]) -> None:
        keys = [self._keys[block] for block in blocks]
        super().unregister(blocks)
        gone = [key for key in keys if key not in self._cached]
        for key in gone:
            self._origins.pop(key, None)
        self.tiers.not_filled(gone)

    def _forget_idle(self, blocks: list[Block]) -> None:
        held = {self._keys[block]: block for block in blocks}
        super()._forget_idle(blocks)
        gone = [(key, self._origins.pop(key)) for key in held if key not in self._cached]
        self.tiers.doing_of(self.use)
        for key in self.tiers.evicted(gone):
            if self.journal is not None:
                self.journal.write(Event.SWAP_OUT, held[key], NOBODY, key, 0, 1)


class TieredMemory(PagedMemory):
    """Paged memory with tiers below its pool.

    A request that waits for blocks of a tier holds those that it was given, for all that is known of it: so it needs
    none when it is admitted, and requests that hold some of what they need cannot keep each other from the rest.
    """

    def __init__(self, pool: TieredPool, block_size: int, keys: BlockKeys) -> None:
        super().__init__(pool, block_size, keys)
        self.tiers = pool.tiers
        self._coming: dict[Branch, int] = {}  # who waits for so many transfers
        self._hits: dict[Branch, Hit] = {}  # of those, and of those whose transfers have arrived
        self._away = 0  # tokens stored for sequences that hold blocks and do not run

    def turn(self, step: int, now: Tick) -> None:
        super().turn(step, now)
        self.tiers.turn(step, now)

    def lookup(self, sequence: Branch) -> Hit:
        """Behind the pool's prefix the blocks of the tiers, for as long as one of them has the next."""
        if sequence in self._hits:
            return self._hits[sequence]
        hit = super().lookup(sequence)
        first, most = len(hit.blocks[0]), (sequence.length - 1) // self.block_size
        numbers = self.tiers.find(sequence.keys[first:most])
        if not numbers:
            return hit
        fetched = len(numbers) * self.block_size
        waits = any(self.tiers[number].blocking for number in set(numbers))
        return hit._replace(tokens=hit.tokens + fetched, fetched=fetched, tiers=numbers, waits=waits)

    def fetch(self, sequence: Branch, hit: Hit, spare: int) -> bool:
        """Take blocks for all that is known of a sequence, and send for what was found in the tiers.

        It is to be admitted when that is there. False: no room, and nothing has changed.
        """
        self._coming[sequence] = 0
        if not self.admit(sequence, sequence.length - hit.tokens, hit, spare, whole=True):
            del self._coming[sequence]
            return False
        self._hits[sequence] = hit
        self._away += hit.tokens
        return True

    def admit(self, sequence: Branch, tokens: int, hit: Hit, spare: int, whole: bool) -> bool:
        if sequence in self._hits:
            del self._hits[sequence]
            self._away -= hit.tokens
            self._register(sequence, hit.tokens + tokens)
            return True
        if not hit.tiers:
            return super().admit(sequence, tokens, hit, spare, whole)
        reach = sequence.length if whole else hit.tokens + tokens
        (found,) = hit.blocks
        first = len(found)
        if -(-reach // self.block_size) - first > self.pool.free - self.pool.count_idle(found) - spare:
            return False
        # Taking blocks may evict to the tiers, which must not drop what is fetched: that comes first.
        self._tell(sequence)
        self.tiers.doing_of(self.pool.use)
        keys = sequence.keys[first : first + len(hit.tiers)]
        transfers = self.tiers.fetch(keys, hit.tiers, sequence, hit.waits)
        if hit.waits:
            self._coming[sequence] = transfers
        admitted = super().admit(sequence, tokens, hit, spare, whole)
        assert admitted
        if self.journal is not None:
            for block, key, number in zip(sequence.tables[0][first:], keys, hit.tiers, strict=False):
                self.journal.write(Event.SWAP_IN, block, sequence.id, key, 1, number + 1)
        return True

    def expect(self, sequence: Branch) -> None:
        super().expect(sequence)
        for tier in self.tiers:
            if tier.eviction.hears_queue:
                if not sequence.keys:
                    self._name(sequence)
                tier.eviction.expect(sequence.keys[: sequence.named])

    def arrived(self, transfer: Transfer, now: Tick) -> Branch | None:
        """The end of a transfer; returns the sequence for which nothing is missing any more."""
        self.tiers.arrived(transfer, now)
        sequence = transfer.sequence
        if sequence is None:
            return None
        self._coming[sequence] -= 1
        if self._coming[sequence]:
            return None
        del self._coming[sequence]
        self._register(sequence, self._hits[sequence].tokens)
        return sequence

    def usage(self, computed: int) -> Usage:
        return super().usage(computed + self._away)

    def _unexpect(self, sequence: Branch) -> None:
        super()._unexpect(sequence)
        for tier in self.tiers:
            if tier.eviction.hears_queue:
                tier.eviction.unexpect(sequence.keys[: sequence.named])

    def _register(self, sequence: Branch, reach: int) -> None:
        """What is on its way can be found when it is there, and who got blocks for all its prompt has to be asked for
        each of them.
        """
        if sequence in self._coming:
            return
        super()._register(sequence, reach)
        if sequence.registered < sequence.worth:
            sequence.horizon = min(sequence.horizon, (sequence.registered + 1) * self.block_size)

"""Leaves first: what a radix tree does to an eviction policy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass

from simcore.policies.eviction.base import Block, EvictionOrder, Name, Setting, Use
from simcore.ticks import Tick


@dataclass
class LeavesFirst(EvictionOrder):
    """A policy under which a block goes only when no block that continues it is cached, as in SGLang's radix tree.

    https://arxiv.org/abs/2312.07104, section 3. A block that the policy chooses too early is put off, and goes as soon
    as the last one behind it has gone. So nothing is ever cached that cannot be hit, which the flat pool of hashes does
    not promise.
    """

    policy: EvictionOrder

    def __post_init__(self) -> None:
        """It is no policy that a scenario names: there is nothing to check."""
        self.hears_queue, self.expires = self.policy.hears_queue, self.policy.expires

    def begin(self, setting: Setting) -> None:
        self._names: dict[Block, Name] = {}
        self._before: dict[Name, Name] = {}
        self._copies: Counter[Name] = Counter()  # cached blocks of a content
        self._behind: Counter[Name] = Counter()  # contents cached that continue one
        self._put_off: dict[Name, list[Block]] = {}  # chosen, but something behind them is cached
        self._ready: list[Block] = []  # chosen, and leaves by now
        self.policy.begin(setting)

    def registered(self, blocks: Sequence[Block], names: Sequence[Name], use: Use) -> None:
        before = use.before
        for block, name in zip(blocks, names, strict=True):
            self._names[block] = name
            self._copies[name] += 1
            if self._copies[name] == 1:
                self._before[name] = before
                self._behind[before] += 1
            before = name
        self.policy.registered(blocks, names, use)

    def shared(self, blocks: Sequence[Block], names: Sequence[Name], woken: Sequence[Block], use: Use) -> None:
        recalled = set()
        for block, name in zip(blocks, names, strict=True):
            if block in self._ready or block in self._put_off.get(name, ()):
                self._recall(block, name)
                self.policy.registered((block,), (name,), use)  # it had forgotten it
                recalled.add(block)
        self.policy.shared(blocks, names, [block for block in woken if block not in recalled], use)

    def released(self, blocks: Sequence[Block], use: Use) -> None:
        self.policy.released(blocks, use)

    def unregistered(self, blocks: Iterable[Block]) -> None:
        blocks = list(blocks)
        self.policy.unregistered(blocks)
        for block in blocks:
            self._forget(block)

    def victims(self, count: int) -> list[Block]:
        victims: list[Block] = []
        while len(victims) < count:
            block = self._ready.pop() if self._ready else self.policy.victims(1)[0]
            victims += self._leaf(block)
        return victims

    def expired(self, now: Tick) -> list[Block]:
        return [leaf for block in self.policy.expired(now) for leaf in self._leaf(block)]

    def expect(self, names: Sequence[Name]) -> None:
        self.policy.expect(names)

    def unexpect(self, names: Sequence[Name]) -> None:
        self.policy.unexpect(names)

    def __iter__(self) -> Iterator[Block]:
        put_off = sum(map(len, self._put_off.values())) + len(self._ready)
        idle = sum(1 for _ in self.policy) + put_off
        return iter(deepcopy(self).victims(idle) if idle else ())

    def replay(self, names: Sequence[Name], capacity: int, next_uses: Sequence[int] | None = None) -> bytearray:
        return self.policy.replay(names, capacity, next_uses)  # single accesses have no chains

    def _leaf(self, block: Block) -> list[Block]:
        """The block itself, forgotten; or nothing yet, where something behind it is cached."""
        name = self._names[block]
        if self._behind[name] and self._copies[name] == 1:
            self._put_off.setdefault(name, []).append(block)
            return []
        self._forget(block)
        return [block]

    def _recall(self, block: Block, name: Name) -> None:
        """A block that was chosen is used again."""
        if block in self._ready:
            self._ready.remove(block)
        else:
            self._put_off[name].remove(block)

    def _forget(self, block: Block) -> None:
        name = self._names.pop(block)
        self._copies[name] -= 1
        if self._copies[name]:
            return
        del self._copies[name]
        before = self._before.pop(name)
        self._behind[before] -= 1
        if not self._behind[before]:
            del self._behind[before]
            self._ready += self._put_off.pop(before, ())

"""W-TinyLFU."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use

_SAMPLE = 32  # uses between two agings, in sizes of the main part
_PROTECTED = 0.8  # share of the main part for what was used again


@dataclass
class WTinyLFU(Eviction):
    """A small LRU window before a segmented LRU: what leaves the window stays only if used more often than its victim.

    Frequencies are of contents, evicted ones included, and are halved now and then. They are counted exactly, where the
    paper has a sketch: libCacheSim's, with its sketch, misses up to 2 % more. https://doi.org/10.1145/3149371
    """

    name = "w-tinylfu"
    window: float = parameter(0.01, help="Share of the cache that the window has.", gt=0, lt=1)

    def start(self, setting: Setting) -> None:
        self._main_room = setting.capacity - max(int(setting.capacity * self.window), 1)
        self._protected_room = int(self._main_room * _PROTECTED)
        self._window: OrderedDict[Block, None] = OrderedDict()
        self._trial: OrderedDict[Block, None] = OrderedDict()  # the main part's lower list
        self._protected: OrderedDict[Block, None] = OrderedDict()  # and its upper one
        self._names: dict[Block, Name] = {}
        self._uses: dict[Name, int] = {}
        self._until_aging = _SAMPLE * self._main_room

    def insert(self, block: Block, name: Name, use: Use) -> None:
        self._names[block] = name
        self._window[block] = None
        self._count(name)

    def hit(self, block: Block, use: Use) -> None:
        if block in self._window:
            self._window.move_to_end(block)
            return
        self._count(self._names[block])
        if block in self._protected:
            self._protected.move_to_end(block)
            return
        del self._trial[block]
        self._protected[block] = None
        if len(self._protected) > self._protected_room:
            self._trial[self._protected.popitem(last=False)[0]] = None

    def victim(self) -> Block:
        while self._window:
            candidate, _ = self._window.popitem(last=False)
            name = self._names[candidate]
            if len(self._trial) + len(self._protected) < self._main_room:
                self._enter_main(candidate)
                self._count(name)
                continue
            victim = candidate
            if self._main_room:
                rival = next(iter(self._trial or self._protected))
                if self._uses.get(name, 0) > self._uses.get(self._names[rival], 0):
                    self.remove(rival)
                    self._enter_main(candidate)
                    victim = rival
            self._count(name)
            self._names.pop(victim, None)
            return victim
        block, _ = (self._trial or self._protected).popitem(last=False)
        del self._names[block]
        return block

    def remove(self, block: Block) -> None:
        del self._names[block]
        for each in (self._window, self._trial, self._protected):
            each.pop(block, None)

    def _enter_main(self, block: Block) -> None:
        trial_room = self._main_room - self._protected_room
        full = len(self._trial) >= trial_room and len(self._protected) < self._protected_room
        (self._protected if full else self._trial)[block] = None

    def _count(self, name: Name) -> None:
        self._uses[name] = self._uses.get(name, 0) + 1
        self._until_aging -= 1
        if self._until_aging < 0:
            self._until_aging = _SAMPLE * max(self._main_room, 1)
            self._uses = {name: uses // 2 for name, uses in self._uses.items() if uses > 1}

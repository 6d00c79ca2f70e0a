"""SIEVE."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use

_END = -1


@dataclass
class Sieve(Eviction):
    """A hand goes from the oldest block to the newest, spares what was used since it last came by, and evicts the rest.

    Zhang et al., NSDI 2024: https://www.usenix.org/conference/nsdi24/presentation/zhang-yazhuo
    """

    name = "sieve"

    def start(self, setting: Setting) -> None:
        self._used: dict[Block, bool] = {}
        self._newer: dict[Block, Block] = {_END: _END}  # both ways round a ring that begins and ends with _END
        self._older: dict[Block, Block] = {_END: _END}
        self._hand = _END

    def insert(self, block: Block, name: Name, use: Use) -> None:
        newest = self._older[_END]
        self._newer[newest] = self._older[_END] = block
        self._older[block], self._newer[block] = newest, _END
        self._used[block] = False

    def hit(self, block: Block, use: Use) -> None:
        self._used[block] = True

    def victim(self) -> Block:
        used, newer = self._used, self._newer
        block = self._hand
        while block == _END or used[block]:
            used[block] = False
            block = newer[block]
        self._hand = block
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        newer, older = self._newer.pop(block), self._older.pop(block)
        self._newer[older], self._older[newer] = newer, older
        if self._hand == block:
            self._hand = newer
        del self._used[block]

"""Names of what was evicted not long ago."""

from collections import OrderedDict

from simcore.policies.eviction.base import Name

_NOTHING = 0


class Ghosts:
    """The last `most` names that were added, without those that have been recalled.

    A cache study tells what is coming before it asks for a victim, whose name might push that one out.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._names: OrderedDict[Name, None] = OrderedDict()
        self._coming = _NOTHING

    def add(self, name: Name) -> None:
        """Its block was evicted."""
        self._names[name] = None
        self._names.move_to_end(name)
        if len(self._names) > self.most:
            self._names.popitem(last=False)

    def recall(self, name: Name) -> None:
        """If the name is there, remember it until it is inserted."""
        if name in self._names:
            del self._names[name]
            self._coming = name

    def recalls(self, name: Name) -> bool:
        """Whether a name that is being inserted was there; it is no longer."""
        if self._coming == name:
            self._coming = _NOTHING
            return True
        if name in self._names:
            del self._names[name]
            return True
        return False

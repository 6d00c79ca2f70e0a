"""Names of what was evicted lately."""

from collections import OrderedDict

from simcore.policies.eviction.base import Name


class Ghosts:
    """The names of the last `room` contents that were evicted; the oldest is forgotten first.

    A victim is chosen before it is known what comes in its place, and its name must not push out the name that is about
    to be looked for: so nothing is forgotten before `recall`.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._names: OrderedDict[Name, None] = OrderedDict()

    def add(self, name: Name) -> None:
        """Remember a name; one that is known keeps its age."""
        self._names[name] = None

    def recall(self, name: Name) -> bool:
        """Whether a name is remembered; if so, it is forgotten."""
        known = name in self._names
        if known:
            del self._names[name]
        while len(self._names) > self._room:
            self._names.popitem(last=False)
        return known

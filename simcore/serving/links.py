"""Links between a pool and the tiers below it: one a tier and direction, which carries one transfer at a time."""

from collections.abc import Callable, Generator, Iterable

import simpy

from simcore.memory.base import MoveKind
from simcore.memory.tiers import Transfer
from simcore.ticks import Tick


class Link:
    """First come, first served; each transfer has the link for itself."""

    def __init__(self, env: simpy.Environment) -> None:
        self.turn = simpy.Resource(env, capacity=1)
        self.busy_until: Tick = 0
        """when all that was handed over will have arrived"""


class Links:
    """All links of one server."""

    def __init__(self, env: simpy.Environment, arrived: Callable[[Transfer], None]) -> None:
        """`arrived` is called at the end of each transfer."""
        self._env = env
        self._arrived = arrived
        self._links: dict[tuple[int, MoveKind], Link] = {}

    def carry(self, transfers: Iterable[Transfer]) -> Tick:
        """Hand transfers over, in this order; returns when those have arrived that are awaited, or 0 without any."""
        there = 0
        for transfer in transfers:
            link = self._links.setdefault((transfer.tier, transfer.kind), Link(self._env))
            link.busy_until = max(link.busy_until, int(self._env.now)) + transfer.ticks
            if transfer.awaited:
                there = max(there, link.busy_until)
            self._env.process(self._carry(link, transfer))
        return there

    def _carry(self, link: Link, transfer: Transfer) -> Generator[simpy.Event, None, None]:
        with link.turn.request() as turn:
            yield turn
            transfer.began = int(self._env.now)
            yield self._env.timeout(transfer.ticks)
        self._arrived(transfer)

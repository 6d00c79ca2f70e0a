"""How free memory is handed out in pieces: buddies, gaps, and frames of one size.

Sizes and addresses are in units from 0 on. Which piece is handed out follows from what is free alone, never from how
that came about: who takes a piece and gives it back has changed nothing.
"""

from bisect import bisect, insort
from heapq import heappop, heappush
from typing import Protocol


class Space(Protocol):
    """A stretch of units, pieces of which are free."""

    free: int
    """units that nobody holds"""

    def piece(self, size: int) -> int:
        """How many units are handed out when so many are asked for."""
        ...

    def take(self, size: int) -> int | None:
        """The address of `piece(size)` units that are handed out; None: there are not as many in one piece."""
        ...

    def give_back(self, start: int, size: int) -> None:
        """A piece that was handed out when `size` units were asked for is free again."""

    def gaps(self) -> list[tuple[int, int]]:
        """The free pieces, (address, units), by address."""
        ...


class Buddies:
    """Knowlton's buddy allocator: pieces are powers of two, split in halves and merged again.

    https://doi.org/10.1145/365628.365655. A space that is no power of two begins as the powers that it is the sum of,
    the largest first, so that each lies at a multiple of its size. Of the free pieces of the smallest size that will
    do, the first is handed out.
    """

    def __init__(self, units: int) -> None:
        self.free = units
        self._pieces: list[list[int]] = [[] for _ in range(units.bit_length())]  # addresses by the logarithm of size
        start = 0
        for order in reversed(range(units.bit_length())):
            if units >> order & 1:
                self._pieces[order].append(start)
                start += 1 << order

    def piece(self, size: int) -> int:
        return 1 << (size - 1).bit_length()

    def take(self, size: int) -> int | None:
        wanted = (size - 1).bit_length()
        order = next((order for order in range(wanted, len(self._pieces)) if self._pieces[order]), None)
        if order is None:
            return None
        start = self._pieces[order].pop(0)
        while order > wanted:
            order -= 1
            self._pieces[order].append(start + (1 << order))  # the list was empty: no smaller piece would have done
        self.free -= 1 << wanted
        return start

    def give_back(self, start: int, size: int) -> None:
        order = (size - 1).bit_length()
        self.free += 1 << order
        while True:
            pieces, buddy = self._pieces[order], start ^ (1 << order)
            place = bisect(pieces, buddy) - 1
            if place < 0 or pieces[place] != buddy:
                break
            del pieces[place]
            start &= buddy
            order += 1
        insort(pieces, start)

    def gaps(self) -> list[tuple[int, int]]:
        return sorted((start, 1 << order) for order, pieces in enumerate(self._pieces) for start in pieces)


class Gaps:
    """Pieces of any size, cut from the front of a gap; gaps that touch are one.

    First fit takes the first gap that is large enough, best fit the smallest, and of several the first
    (Knuth, The Art of Computer Programming, volume 1, section 2.5).
    """

    def __init__(self, units: int, best: bool = False) -> None:
        self.free = units
        self._best = best
        self._gaps = [(0, units)]  # by address

    def piece(self, size: int) -> int:
        return size

    def take(self, size: int) -> int | None:
        fitting = (place for place, (_, units) in enumerate(self._gaps) if units >= size)
        place = (
            min(fitting, key=lambda place: self._gaps[place][1], default=None) if self._best else next(fitting, None)
        )
        if place is None:
            return None
        start, units = self._gaps[place]
        self._gaps[place : place + 1] = [(start + size, units - size)] if units > size else []
        self.free -= size
        return start

    def give_back(self, start: int, size: int) -> None:
        self.free += size
        place = bisect(self._gaps, (start, 0))
        before, after = self._gaps[max(place - 1, 0) : place], self._gaps[place : place + 1]
        first, end = start, start + size
        if before and sum(before[0]) == start:
            first, place = before[0][0], place - 1
        last = place + (first < start)
        if after and after[0][0] == end:
            end, last = sum(after[0]), last + 1
        self._gaps[place:last] = [(first, end - first)]

    def gaps(self) -> list[tuple[int, int]]:
        return self._gaps.copy()


class Frames:
    """Pieces of one size, the first free one first. What is left over behind the last is free and never handed out."""

    def __init__(self, units: int, frame: int) -> None:
        self.free = units
        self._units = units
        self._frame = frame
        self._unused = 0  # where the frames begin that were never handed out
        self._returned: list[int] = []  # a heap of those before that are free

    def piece(self, size: int) -> int:
        return self._frame

    def take(self, size: int) -> int | None:
        if self._returned:
            start = heappop(self._returned)
        elif self._unused + self._frame <= self._units:
            start = self._unused
            self._unused += self._frame
        else:
            return None
        self.free -= self._frame
        return start

    def give_back(self, start: int, size: int) -> None:
        self.free += self._frame
        heappush(self._returned, start)

    def gaps(self) -> list[tuple[int, int]]:
        rest = self._units - self._unused
        return [(start, self._frame) for start in sorted(self._returned)] + [(self._unused, rest)] * (rest > 0)

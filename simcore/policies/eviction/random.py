"""A block drawn at random."""

from dataclasses import dataclass
from random import Random

from simcore.policies.base import parameter
from simcore.policies.eviction.base import Block, Eviction, Name, Setting, Use

_WORD = (1 << 64) - 1


def _hash(name: Name) -> int:
    """SplitMix64, since Python's integers are their own hashes. https://doi.org/10.1145/2660193.2660195"""
    name = name + 0x9E3779B97F4A7C15 & _WORD
    name = (name ^ name >> 30) * 0xBF58476D1CE4E5B9 & _WORD
    name = (name ^ name >> 27) * 0x94D049BB133111EB & _WORD
    return name ^ name >> 31


class _Bag:
    """Numbers of which each is drawn with the same probability."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._places: dict[int, int] = {}

    def add(self, number: int) -> None:
        self._places[number] = len(self.numbers)
        self.numbers.append(number)

    def remove(self, number: int) -> None:
        """The last one takes its place."""
        place, last = self._places.pop(number), self.numbers.pop()
        if last != number:
            self.numbers[place] = last
            self._places[last] = place

    def draw(self, random: Random) -> int:
        return self.numbers[int(random.random() * len(self.numbers))]


@dataclass
class RandomChoice(Eviction):
    """Evict a block drawn at random from a hash table: first a bucket that is not empty, then a block in it.

    So do libCacheSim and Redis, whose hash table is the cache. A block that shares its bucket is safer than one alone,
    so that up to 1 % more misses than with equal probabilities, which `load = 0` gives: that misses as often as FIFO
    where accesses are independent. https://doi.org/10.1109/TC.1973.5009115
    """

    name = "random"
    load: float = parameter(1.0, help="Blocks for each bucket of the hash table; 0: a table of one bucket.", ge=0)

    def start(self, setting: Setting) -> None:
        self._random = Random(setting.seed)
        self._count = max(round(setting.capacity / self.load), 1) if self.load else 1
        self._buckets: dict[int, _Bag] = {}
        self._filled = _Bag()
        self._bucket_of: dict[Block, int] = {}

    def insert(self, block: Block, name: Name, use: Use) -> None:
        number = _hash(name) % self._count
        bucket = self._buckets.get(number)
        if bucket is None:
            bucket = self._buckets[number] = _Bag()
        if not bucket.numbers:
            self._filled.add(number)
        bucket.add(block)
        self._bucket_of[block] = number

    def hit(self, block: Block, use: Use) -> None:
        """It does not matter."""

    def victim(self) -> Block:
        block = self._buckets[self._filled.draw(self._random)].draw(self._random)
        self.remove(block)
        return block

    def remove(self, block: Block) -> None:
        number = self._bucket_of.pop(block)
        bucket = self._buckets[number]
        bucket.remove(block)
        if not bucket.numbers:
            self._filled.remove(number)

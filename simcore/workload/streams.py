"""Independent streams of random numbers, one per purpose."""

from typing import NamedTuple

import numpy as np
from numpy.random import Generator


class Streams(NamedTuple):
    """Changing what one purpose draws leaves all others as they were (common random numbers)."""

    arrivals: Generator
    prompt: Generator
    output: Generator
    turns: Generator
    system: Generator
    think: Generator
    clients: Generator

    @classmethod
    def of(cls, seed: int) -> "Streams":
        """The streams of a scenario's seed (not negative)."""
        return cls(*map(np.random.default_rng, np.random.SeedSequence(seed).spawn(len(cls._fields))))

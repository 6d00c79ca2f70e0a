"""Time as an integer number of ticks of 2^-40 s (0.91 ps).

Sums of integers do not depend on how they are grouped, so single steps and jumps agree to the last bit whatever the
constants are. Seconds are rounded to ticks once, when they are read (half to even), and appear again only in results.
"""

import math

Tick = int
"""An instant or a duration: a number of ticks."""

TICKS_PER_SECOND = 1 << 40
MAX_TICKS = (1 << 63) - 1
"""What a 64-bit column holds: a run may last up to 97 days."""


def to_ticks(seconds: float) -> Tick:
    """The whole number of ticks nearest to `seconds` (half to even). Scaling by 2^40 is exact in a double."""
    return round(math.ldexp(seconds, 40))


def to_seconds(ticks: Tick) -> float:
    """Seconds of a number of ticks, correctly rounded."""
    return ticks / TICKS_PER_SECOND

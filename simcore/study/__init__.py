"""Caches judged without a server: how often contents are found again, by policy, capacity and order of touching.

A server finds a cached block only if it has all blocks before it, too. So two things are counted: *object hits*, of
blocks that are asked for one at a time, as in any cache; and *prefix hits*, the usable ones, up to a prompt's first
miss.
"""

from simcore.study.curve import Curve, lru_curve, sampled_curve
from simcore.study.play import Hits, hits, study
from simcore.study.policies import choose, label
from simcore.study.stream import FORWARD, ORDERS, TAIL_FIRST, Stream, read_stream, stream_of

__all__ = [
    "FORWARD",
    "ORDERS",
    "TAIL_FIRST",
    "Curve",
    "Hits",
    "Stream",
    "choose",
    "hits",
    "label",
    "lru_curve",
    "read_stream",
    "sampled_curve",
    "stream_of",
    "study",
]

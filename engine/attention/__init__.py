"""Attention as a model sees it: it is given q, k and v of the new tokens, and knows nothing of pages."""

from engine.attention.base import Attend
from engine.attention.dense import BlockLocalAttention, DenseAttention, PrunedAttention, StandardAttention
from engine.attention.paged import PATHS, PREFILL_PATHS, PagedAttention, decode_path, prefill_path

__all__ = [
    "PATHS",
    "PREFILL_PATHS",
    "Attend",
    "BlockLocalAttention",
    "DenseAttention",
    "PagedAttention",
    "PrunedAttention",
    "StandardAttention",
    "decode_path",
    "prefill_path",
]

"""Attention as a model sees it: it is given q, k and v of the new tokens, and knows nothing of pages."""

from engine.attention.base import Attend
from engine.attention.dense import BlockLocalAttention, DenseAttention
from engine.attention.paged import PagedAttention

__all__ = ["Attend", "BlockLocalAttention", "DenseAttention", "PagedAttention"]

"""Pruning: which tokens of a live sequence are dropped from its KV cache when it has too many."""

from simcore.policies.base import Family
from simcore.policies.pruning.attended import H2O, ObservedAttention
from simcore.policies.pruning.base import Pruning, View
from simcore.policies.pruning.choose import keep_highest
from simcore.policies.pruning.chunk_kv import ChunkKV
from simcore.policies.pruning.cur_dkv import CurDKV
from simcore.policies.pruning.key_diff import KeyDiff
from simcore.policies.pruning.key_norm import KeyNorm
from simcore.policies.pruning.lag_kv import LagKV
from simcore.policies.pruning.random import RandomTokens
from simcore.policies.pruning.snap_kv import SnapKV
from simcore.policies.pruning.streaming_llm import StreamingLLM
from simcore.policies.pruning.tova import TOVA
from simcore.policies.pruning.value_over_key import ValueOverKey

PRUNING: Family[Pruning] = Family(
    "pruning",
    Pruning,
    (
        StreamingLLM,
        H2O,
        ObservedAttention,
        TOVA,
        SnapKV,
        ChunkKV,
        KeyNorm,
        KeyDiff,
        LagKV,
        ValueOverKey,
        CurDKV,
        RandomTokens,
    ),
)
"""Every pruning policy by the name a scenario uses."""

__all__ = [
    "H2O", "PRUNING", "TOVA", "ChunkKV", "CurDKV", "KeyDiff", "KeyNorm", "LagKV", "ObservedAttention", "Pruning",
    "RandomTokens", "SnapKV", "StreamingLLM", "ValueOverKey", "View", "keep_highest",
]  # fmt: skip

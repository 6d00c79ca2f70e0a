"""SnapKV."""

from dataclasses import dataclass
from math import inf
from typing import Literal

from array_api_compat import array_namespace, device

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array
from simcore.policies.pruning.base import Pruning, View


@dataclass
class SnapKV(Pruning):
    """Keep the newest tokens, and those that these look at, with their neighbours; each head its own.

    The score is the attention that the window pays on average, pooled along the text. Query heads that share a KV head
    are averaged, as in kvpress; the authors' code stores tokens for each query head. https://arxiv.org/abs/2404.14469
    """

    name = "snap-kv"
    aliases = ("snapkv",)
    window: int = parameter(
        32, unit="tokens", help="Newest tokens, which judge the others and stay.", ge=1, le=1_000_000
    )
    kernel: int = parameter(5, unit="tokens", help="Neighbours over which attention is pooled; 1: none.", ge=1, le=1000)
    pooling: Literal["mean", "max"] = parameter("mean", help="What is taken of the neighbours.")

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        newest = view.newest(self.window)
        paid = xp.where(newest, 0.0, xp.mean(view.weights(), axis=(1, 2)))
        return xp.where(newest, inf, self._pool(paid))

    def _pool(self, x: Array) -> Array:
        """[kv_heads, tokens] likewise; beyond the ends are zeros."""
        xp = array_namespace(x)
        zeros = xp.zeros((x.shape[0], self.kernel - 1), dtype=x.dtype, device=device(x))
        before = self.kernel // 2
        padded = xp.concat([zeros[:, :before], x, zeros[:, before:]], axis=1)
        shifted = xp.stack([padded[:, shift : shift + x.shape[1]] for shift in range(self.kernel)])
        return xp.max(shifted, axis=0) if self.pooling == "max" else xp.mean(shifted, axis=0)

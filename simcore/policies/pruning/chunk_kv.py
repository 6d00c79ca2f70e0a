"""ChunkKV."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array, chunk_sums
from simcore.policies.pruning.base import View
from simcore.policies.pruning.snap_kv import SnapKV


@dataclass
class ChunkKV(SnapKV):
    """Keep or drop neighbours together, the same in all heads of a layer: by the mean of their SnapKV scores.

    A chunk with a token of the window stays. Where the last chunk has no room, its first tokens stay; kvpress drops all
    of it. https://arxiv.org/abs/2502.00299
    """

    name = "chunk-kv"
    aliases = ("chunkkv",)
    chunk: int = parameter(10, unit="tokens", help="Tokens that stay or go together.", ge=1, le=1_000_000)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        heads = super().score(view)
        total = xp.sum(heads, axis=0)
        means = chunk_sums(total, self.chunk) / chunk_sums(xp.ones_like(total), self.chunk)
        return xp.broadcast_to(means, heads.shape)

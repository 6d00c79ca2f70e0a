"""By the lengths of value and key."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from simcore.policies.pruning.arrays import Array, norm
from simcore.policies.pruning.base import Pruning, View


@dataclass
class ValueOverKey(Pruning):
    """Keep the tokens with long values and short keys, the same in all heads of a layer: how PagedEviction scores them.

    The score is the quotient of the lengths, the mean of all heads. PagedEviction drops whole pages of the output by
    the mean of their tokens. https://arxiv.org/abs/2509.04377
    """

    name = "value-over-key"
    aliases = ("paged-eviction",)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        quotients = norm(view.values) / norm(view.keys)
        return xp.broadcast_to(xp.mean(quotients, axis=0), quotients.shape)

"""By the length of the key."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array, norm
from simcore.policies.pruning.base import Pruning, View


@dataclass
class KeyNorm(Pruning):
    """Keep the tokens with the shortest keys, which get most attention; nothing but the keys is looked at.

    https://arxiv.org/abs/2406.11430
    """

    name = "key-norm"
    aliases = ("knorm", "l2norm")
    recent: int = parameter(0, unit="tokens", help="Newest tokens, which stay.", ge=0, le=1_000_000)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        return xp.where(view.newest(self.recent), inf, -norm(view.keys))

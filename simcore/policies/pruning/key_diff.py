"""By how little a key is like the others."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from simcore.policies.pruning.arrays import Array, norm, widened
from simcore.policies.pruning.base import Pruning, View


@dataclass
class KeyDiff(Pruning):
    """Keep the tokens whose keys point away from the mean direction of all: they are hardest to replace.

    The score is the cosine, negative. https://arxiv.org/abs/2504.15364
    """

    name = "key-diff"
    aliases = ("keydiff",)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        directions = widened(view.keys) / norm(view.keys)[..., None]
        mean = xp.mean(directions, axis=1, keepdims=True)
        return -xp.sum(directions * mean, axis=-1) / norm(mean)

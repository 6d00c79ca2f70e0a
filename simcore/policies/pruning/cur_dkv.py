"""CurDKV."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array, chunk_sums, norm
from simcore.policies.pruning.base import Pruning, View


@dataclass
class CurDKV(Pruning):
    """Keep the tokens with long keys and long values, each compared with those beside it.

    The score is the product of the shares that a token has in the squared lengths of its chunk: leverage scores, as
    kvpress approximates them. https://arxiv.org/abs/2509.15038
    """

    name = "cur-dkv"
    aliases = ("cur",)
    sinks: int = parameter(4, unit="tokens", help="First tokens of the text, which stay.", ge=0, le=1_000_000)
    chunk: int = parameter(16, unit="tokens", help="Tokens that are compared with each other.", ge=1, le=1_000_000)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        keys, values = norm(view.keys) ** 2, norm(view.values) ** 2
        shares = keys / chunk_sums(keys, self.chunk) * values / chunk_sums(values, self.chunk)
        return xp.where(view.positions < self.sinks, inf, shares)

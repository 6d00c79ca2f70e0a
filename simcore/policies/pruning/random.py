"""Any tokens: what every other policy has to beat."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array, numbers
from simcore.policies.pruning.base import Pruning, View

_WORD = (1 << 32) - 1


@dataclass
class RandomTokens(Pruning):
    """Keep any tokens, others in each head of each layer.

    A token has its number for ever, a hash of where it stands. So what stays is a uniform sample of all that were ever
    stored, however often tokens are dropped. All sequences draw the same. A baseline of https://github.com/NVIDIA/kvpress
    """

    name = "random"
    by_position = True
    seed: int = parameter(0, help="Another number, other tokens.", ge=0, lt=1 << 32)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.positions)
        head = numbers(view.positions.shape[0], view.positions)[:, None]
        number = _hash(view.positions + _hash(head + _hash(view.layer + _hash(self.seed))))
        return xp.astype(number, xp.float64)


def _hash(x: Array) -> Array:
    """32 bits from 32 bits, in ints or in int64, which never overflow. https://nullprogram.com/blog/2018/07/31/"""
    x = x + 0x9E3779B9 & _WORD
    x = (x ^ x >> 16) * 0x45D9F3B & _WORD
    x = (x ^ x >> 16) * 0x45D9F3B & _WORD
    return x ^ x >> 16

"""TOVA."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array
from simcore.policies.pruning.base import Pruning, View


@dataclass
class TOVA(Pruning):
    """Keep the tokens that the newest looks at, the same in all heads of a layer.

    The score is its attention, the mean of all heads. It may go itself, as in the authors' code; kvpress keeps it.
    https://arxiv.org/abs/2401.06104
    """

    name = "tova"
    recent: int = parameter(0, unit="tokens", help="Newest tokens, which stay.", ge=0, le=1_000_000)

    @property
    def window(self) -> int:
        return 1

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        paid = xp.mean(view.weights(), axis=(0, 1, 2))
        return xp.broadcast_to(xp.where(view.newest(self.recent), inf, paid), view.positions.shape)

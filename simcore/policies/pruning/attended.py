"""By the attention that a token has been paid so far."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array
from simcore.policies.pruning.base import Pruning, View


@dataclass
class H2O(Pruning):
    """Keep the newest tokens, and of the others the heavy hitters: those that were paid most attention so far.

    All queries that could see a token count, so that an old one is ahead. Needs to be told how many are to stay.
    https://arxiv.org/abs/2306.14048
    """

    name = "h2o"
    sums_attention = True
    recent: float = parameter(0.5, help="Share of what stays that is for the newest tokens.", ge=0, le=1)

    def score(self, view: View) -> Array:
        assert view.keep is not None, "a share of what stays is asked for"
        xp = array_namespace(view.attended)
        return xp.where(view.newest(round(self.recent * view.keep)), inf, view.attended)


@dataclass
class ObservedAttention(Pruning):
    """Keep the tokens that were paid most attention by each query that could see them: young and old are compared.

    Unlike in `h2o` the newest have no right to stay, and seldom need it. https://github.com/NVIDIA/kvpress
    """

    name = "observed-attention"
    sums_attention = True

    def score(self, view: View) -> Array:
        xp = array_namespace(view.attended)
        queries = view.positions[:, -1:] - view.positions + 1
        return view.attended / xp.astype(queries, view.attended.dtype)

"""LagKV."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array, numbers, softmax, widened
from simcore.policies.pruning.base import Pruning, View


@dataclass
class LagKV(Pruning):
    """Keep, of each part of the text, the tokens that stand out most in the range of the part that follows.

    A token stands out where its elements differ much from each other, once each is measured in the range that the next
    part has in it; keys and values count alike. All parts keep equally many. The first tokens stay, and the last part,
    which nothing follows, goes last, its oldest tokens first. https://arxiv.org/abs/2504.04704
    """

    name = "lag-kv"
    aliases = ("lagkv",)
    sinks: int = parameter(4, unit="tokens", help="First tokens, which stay.", ge=0, le=1_000_000)
    lag: int = parameter(128, unit="tokens", help="Tokens of a part.", ge=2, le=1_000_000)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.keys)
        kv_heads, tokens = view.positions.shape
        places = xp.astype(numbers(tokens, view.positions), xp.float64)
        scores = xp.broadcast_to(xp.where(places < self.sinks, inf, 1 + places), (kv_heads, tokens))
        parts = (tokens - self.sinks) // self.lag
        if parts < 2:
            return scores
        first, end = self.sinks, self.sinks + parts * self.lag
        shape = (kv_heads, parts, self.lag, -1)
        worth = sum(_stands_out(xp.reshape(x[:, first:end], shape)) for x in (view.keys, view.values))
        ranks = xp.astype(xp.argsort(xp.argsort(worth, axis=-1), axis=-1), xp.float64) / self.lag
        ranks = xp.reshape(ranks, (kv_heads, -1))
        return xp.concat([scores[:, :first], ranks, scores[:, end - self.lag :]], axis=1)


def _stands_out(x: Array) -> Array:
    """[kv_heads, parts, lag, head_dim] -> [kv_heads, parts - 1, lag]: shares of each part, a softmax."""
    xp = array_namespace(x)
    x = widened(x)
    low, high = (extreme(x[:, 1:], axis=2, keepdims=True) for extreme in (xp.min, xp.max))
    width = xp.where(high > low, high - low, inf)  # where the next part is all alike nothing stands out
    return softmax(xp.std((x[:, :-1] - low) / width, axis=-1, correction=1))

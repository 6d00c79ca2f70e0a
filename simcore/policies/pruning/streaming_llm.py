"""StreamingLLM."""

from dataclasses import dataclass
from math import inf

from array_api_compat import array_namespace

from simcore.policies.base import parameter
from simcore.policies.pruning.arrays import Array
from simcore.policies.pruning.base import Pruning, View


@dataclass
class StreamingLLM(Pruning):
    """Keep the first tokens, which get attention whatever they say, and of all others the newest.

    `sinks = 0` is a sliding window. The paper also gives what stays new positions, without gaps; here each keeps its
    own, as in kvpress. https://arxiv.org/abs/2309.17453
    """

    name = "streaming-llm"
    aliases = ("streamingllm",)
    by_position = True
    sinks: int = parameter(4, unit="tokens", help="First tokens of the text, which stay.", ge=0, le=1_000_000)

    def score(self, view: View) -> Array:
        xp = array_namespace(view.positions)
        return xp.where(view.positions < self.sinks, inf, xp.astype(view.positions, xp.float64))

from dataclasses import dataclass
from simcore.policies.pruning.base import Array, Pruning, View
from simcore.policies.base import parameter


@dataclass
class StreamingLLM(Pruning):
    """Keep the first tokens and the last ones: https://arxiv.org/abs/2309.17453"""

    name = "streaming-llm"
    sinks: int = parameter(4, help="First tokens that stay.", unit="tokens", ge=0)

    def score(self, view: View) -> Array:
        return view.positions

"""Late blocks first."""

from dataclasses import dataclass

from simcore.policies.eviction.base import Block, Name, Use
from simcore.policies.eviction.scored import Scored


@dataclass
class LengthAware(Scored):
    """Evict the block that stands latest in its sequence; of several the one that has not been used for longest.

    A block serves as many requests as have all before it in common with it, so a late one serves fewer. What vLLM's
    first prefix cache did among blocks equally old: https://docs.vllm.ai/en/v0.8.5/design/automatic_prefix_caching.html
    """

    name = "length-aware"

    def score(self, block: Block, name: Name | None, use: Use) -> int:
        return -use.place

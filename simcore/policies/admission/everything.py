"""No block is refused."""

from dataclasses import dataclass

from simcore.policies.admission.base import Admission
from simcore.policies.eviction import Name, Use


@dataclass
class Everything(Admission):
    """Keep every full block, as vLLM does.

    https://docs.vllm.ai/en/latest/design/prefix_caching.html
    """

    name = "everything"
    admits_all = True

    def admits(self, name: Name, use: Use) -> bool:
        return True

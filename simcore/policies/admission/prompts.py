"""Outputs come back only in conversations."""

from dataclasses import dataclass

from simcore.policies.admission.base import Admission
from simcore.policies.base import parameter
from simcore.policies.eviction import Name, Setting, Use


@dataclass
class Prompts(Admission):
    """Keep the blocks of prompts, up to a length, and none of outputs.

    As where a provider caches what is marked as the beginning of prompts:
    https://docs.claude.com/en/docs/build-with-claude/prompt-caching
    """

    name = "prompts"
    longest: int = parameter(
        0, help="Leading tokens of each prompt that may be kept; 0: all.", unit="tokens", ge=0, le=1_000_000_000
    )

    def start(self, setting: Setting) -> None:
        self._blocks = self.longest // setting.block_size if self.longest else 1 << 62

    def admits(self, name: Name, use: Use) -> bool:
        return use.place < min(use.prompt, self._blocks)

"""What a victim policy is asked."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simcore.policies.base import Policy

if TYPE_CHECKING:
    from simcore.serving.request import Sequence


@dataclass
class Victim(Policy, ABC):
    """Which running sequence gives way when one of them needs a block and none is free.

    A rule has to let somebody through, or two sequences could take the blocks from each other for ever. All but vLLM's
    `lowest-priority` do it by one and the same: **the one that was admitted first is never the victim while others
    run**. Then every run ends: let F be the first admitted. It gives way to nobody before it is alone, and alone it
    fits, since what never fits is refused on arrival. So each step that is given to its phase brings it a token: one of
    its prompt, of which every row has at least one a step, or one of its output. After finitely many steps F has ended;
    whoever is then the first goes on in the same way. A finite workload is done after finitely many such ends.
    """

    sees_progress: ClassVar[bool] = False
    """whether it looks at what the sequences have computed: it is brought up to date first"""

    def start(self, queue_rule: str) -> None:
        """Start; `queue_rule` is the name of the rule that goes with the queue."""

    @abstractmethod
    def choose(self, running: "list[Sequence]") -> "Sequence":
        """One of the running sequences, which stand in the order of admission; there is one at least.

        It may be the one that needs the block.
        """


@dataclass
class ScoredVictim(Victim):
    """The sequence with the largest score gives way, the first admitted excepted; among equals the last admitted."""

    sees_progress: ClassVar[bool] = True

    @abstractmethod
    def score(self, sequence: "Sequence") -> Any:
        """How well it would do as a victim."""

    def choose(self, running: "list[Sequence]") -> "Sequence":
        return max(reversed(running[1:] or running), key=self.score)

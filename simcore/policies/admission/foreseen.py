"""What an oracle would keep."""

from dataclasses import dataclass

from simcore.policies.admission.base import Admission
from simcore.policies.eviction import Name, Setting, Use
from simcore.policies.eviction.base import NEVER_AGAIN


@dataclass
class Foreseen(Admission):
    """Keep only what a later request of the workload contains, which no server can know.

    With the eviction policy `min` it is the oracle that may also refuse: https://doi.org/10.1147/sj.5.2.0078. A request
    that was preempted finds nothing of its own again.
    """

    name = "foreseen"

    def start(self, setting: Setting) -> None:
        self._next_use = setting.next_use

    def admits(self, name: Name, use: Use) -> bool:
        return self._next_use(name, use.row) != NEVER_AGAIN

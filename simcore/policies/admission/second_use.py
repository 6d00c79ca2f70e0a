"""What is used once may never be used again."""

from collections import OrderedDict
from dataclasses import dataclass

from simcore.policies.admission.base import Admission
from simcore.policies.base import parameter
from simcore.policies.eviction import Name, Setting, Use


@dataclass
class SecondUse(Admission):
    """Keep a block only if its content has been computed before, not long ago.

    The doorkeeper of TinyLFU, with exact names in place of a Bloom filter: https://arxiv.org/abs/1512.00727
    """

    name = "second-use"
    memory: float = parameter(
        4.0, help="How many names are remembered, as a multiple of the blocks in the pool.", gt=0, le=1000
    )

    def start(self, setting: Setting) -> None:
        self._seen: OrderedDict[Name, None] = OrderedDict()
        self._most = max(1, round(self.memory * setting.capacity))

    def admits(self, name: Name, use: Use) -> bool:
        if name in self._seen:
            self._seen.move_to_end(name)
            return True
        self._seen[name] = None
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)
        return False

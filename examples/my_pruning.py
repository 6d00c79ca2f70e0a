"""A pruning policy of one's own: `kvscope accuracy --pruning examples/my_pruning.py --budget 128`."""

from dataclasses import dataclass

from array_api_compat import array_namespace

from simcore.policies import Pruning, View, parameter


@dataclass
class LoudestValues(Pruning):
    """Keep the newest tokens, and of the others those with the longest values."""

    name = "loudest-values"
    recent: int = parameter(16, unit="tokens", help="Newest tokens, which stay.", ge=0)

    def score(self, view: View):
        xp = array_namespace(view.values)  # NumPy in the simulator's tests, torch in the engine
        return xp.where(view.newest(self.recent), xp.inf, xp.linalg.vector_norm(view.values, axis=-1))

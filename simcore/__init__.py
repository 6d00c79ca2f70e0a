"""What happens to the memory of an LLM server when requests are served: a discrete-event simulator.

>>> from simcore import Scenario, simulate
>>> simulate(Scenario.preset("default")).summary["preemptions"]  # doctest: +SKIP

What is named here is imported when it is first used, so that `import simcore` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simcore.errors import InputError, UnsupportedError
    from simcore.experiment import Comparison, compare
    from simcore.record.results import Results
    from simcore.scenario import Scenario
    from simcore.scenario.policies import load_policy
    from simcore.simulation import Simulation, simulate
    from simcore.study import hits
    from simcore.workload import Workload

__all__ = [
    "Comparison",
    "InputError",
    "Results",
    "Scenario",
    "Simulation",
    "UnsupportedError",
    "Workload",
    "compare",
    "hits",
    "load_policy",
    "simulate",
]

_HOMES = {
    "Comparison": "simcore.experiment",
    "InputError": "simcore.errors",
    "Results": "simcore.record.results",
    "Scenario": "simcore.scenario",
    "Simulation": "simcore.simulation",
    "UnsupportedError": "simcore.errors",
    "Workload": "simcore.workload",
    "compare": "simcore.experiment",
    "load_policy": "simcore.scenario.policies",
    "hits": "simcore.study",
    "simulate": "simcore.simulation",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simcore' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

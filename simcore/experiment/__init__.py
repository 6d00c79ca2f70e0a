"""One against many: settings, replications on common random numbers, and what can be said of their differences.

What is named here is imported when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simcore.experiment.asked import Condition, conditions_of, factor_of, read_experiment
    from simcore.experiment.comparison import Comparison, compare
    from simcore.experiment.design import Experiment, Factor, Run, Setting
    from simcore.experiment.goodput import Goodput, highest_rates
    from simcore.experiment.measures import METRICS, Metric
    from simcore.experiment.progress import Watcher
    from simcore.experiment.store import Store, default_store

__all__ = [
    "METRICS",
    "Comparison",
    "Condition",
    "Experiment",
    "Factor",
    "Goodput",
    "Metric",
    "Run",
    "Setting",
    "Store",
    "Watcher",
    "compare",
    "conditions_of",
    "default_store",
    "factor_of",
    "highest_rates",
    "read_experiment",
]

_HOMES = {
    "METRICS": "measures",
    "Comparison": "comparison",
    "Condition": "asked",
    "Experiment": "design",
    "Factor": "design",
    "Goodput": "goodput",
    "Metric": "measures",
    "Run": "design",
    "Setting": "design",
    "Store": "store",
    "Watcher": "progress",
    "compare": "comparison",
    "conditions_of": "asked",
    "default_store": "store",
    "factor_of": "asked",
    "highest_rates": "goodput",
    "read_experiment": "asked",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'simcore.experiment' has no attribute {name!r}")
    return getattr(import_module(f"simcore.experiment.{_HOMES[name]}"), name)

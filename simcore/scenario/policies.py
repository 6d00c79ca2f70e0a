"""Policies that a person brings: a scenario can choose them once they are loaded."""

from pathlib import Path

from simcore.policies.base import Policy
from simcore.policies.families import load_policies
from simcore.scenario.scenario import refresh


def load_policy(file: str | Path) -> list[type[Policy]]:
    """Run a Python file, and let scenarios choose the policies in it by their names.

    The file is code that you choose to run; no scenario can ask for it. Raises InputError where it holds no policy.

    >>> from simcore import Scenario, load_policy, simulate
    >>> load_policy("my_policy.py")  # doctest: +SKIP
    >>> simulate(Scenario.preset("chat", ["memory.eviction=mine"]))  # doctest: +SKIP
    """
    policies = load_policies(Path(file))
    refresh()
    return policies

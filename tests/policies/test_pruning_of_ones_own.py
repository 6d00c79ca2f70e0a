"""The example of a pruning policy: chosen by its name, and the same on NumPy and on torch."""

from pathlib import Path

import numpy as np
import pytest

from simcore import Scenario, load_policy, simulate
from simcore.policies import View
from simcore.policies.pruning import PRUNING, keep_highest

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_pruning.py"


def test_it_is_chosen_by_its_name() -> None:
    (policy,) = load_policy(EXAMPLE)
    scenario = Scenario.preset("pruning", ["pruning.policy=loudest-values", "workload.requests=5"])
    assert isinstance(PRUNING.make(scenario.pruning.policy), policy)
    results = simulate(scenario)
    assert results.summary["pruning"]["times"] == 5
    assert simulate(scenario.overridden(["pruning.policy=random"])).summary == results.summary


def test_it_keeps_long_values_and_the_newest() -> None:
    torch = pytest.importorskip("torch")
    load_policy(EXAMPLE)
    policy = PRUNING["loudest-values"](recent=1)
    values = np.array([[[3.0, 4.0], [0.0, 1.0], [6.0, 0.0], [0.0, 0.0]]])
    positions = np.arange(4)[None]
    places = keep_highest(policy.score(View(0, 1, positions, values=values)), 2)
    assert places.tolist() == [[2, 3]]
    on_torch = View(0, 1, torch.from_numpy(positions), values=torch.from_numpy(values))
    assert keep_highest(policy.score(on_torch), 2).tolist() == [[2, 3]]

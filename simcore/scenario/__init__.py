"""What a person writes down: the model, its hardware, the rules of memory and scheduling, the workload."""

from simcore.scenario.scenario import Scenario

__all__ = ["Scenario"]

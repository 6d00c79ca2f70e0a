"""Admission to the prefix cache: which full blocks are worth keeping at all."""

from simcore.policies.admission.base import Admission
from simcore.policies.admission.everything import Everything
from simcore.policies.admission.foreseen import Foreseen
from simcore.policies.admission.prompts import Prompts
from simcore.policies.admission.second_use import SecondUse
from simcore.policies.base import Family

ADMISSION: Family[Admission] = Family("admission", Admission, (Everything, SecondUse, Prompts, Foreseen))
"""Every admission policy by the name a scenario uses."""

__all__ = ["ADMISSION", "Admission", "Everything"]

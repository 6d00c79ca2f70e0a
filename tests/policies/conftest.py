"""What a test loads is gone after it."""

from collections.abc import Iterator

import pytest

from simcore.policies.families import FAMILIES
from simcore.scenario.scenario import refresh


@pytest.fixture(autouse=True)
def _no_policy_stays() -> Iterator[None]:
    before = [dict(family._members) for family in FAMILIES.values()]
    yield
    if before != [family._members for family in FAMILIES.values()]:
        for family, members in zip(FAMILIES.values(), before, strict=True):
            family._members = members
        refresh()

"""What all tests share: hypothesis is reproducible, and large published data is found or the test is skipped."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from simcore.policies.families import FAMILIES
from simcore.scenario.scenario import refresh

settings.register_profile("ci", derandomize=True, deadline=None)
settings.load_profile("ci")


@pytest.fixture(scope="session")
def shared() -> Path:
    """Published traces and recorded oracles, too large for the repository: $KVSCOPE_SHARED or ../shared."""
    beside_the_checkout = Path(__file__).parents[2] / "shared"
    folder = Path(os.environ.get("KVSCOPE_SHARED") or beside_the_checkout)
    if not folder.is_dir():
        pytest.skip(f"{folder} is missing: set KVSCOPE_SHARED to the folder of traces and oracles")
    return folder


@pytest.fixture(autouse=True)
def _no_policy_stays() -> Iterator[None]:
    before = [dict(family._members) for family in FAMILIES.values()]
    yield
    if before != [family._members for family in FAMILIES.values()]:
        for family, members in zip(FAMILIES.values(), before, strict=True):
            family._members = members
        refresh()

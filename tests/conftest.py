"""What all tests share: hypothesis is reproducible, and large published data is found or the test is skipped."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

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

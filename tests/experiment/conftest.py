"""Runs are kept nowhere but where a test says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from simcore.experiment import play


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("store")
    monkeypatch.setenv("KVSCOPE_STORE", str(folder))
    yield folder
    play._loaded.clear()

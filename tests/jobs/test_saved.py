"""A run that was saved is the run that was watched."""

import pickle
from pathlib import Path

import numpy as np
import pytest

import app.jobs.saved
from app.jobs.history import History
from app.jobs.saved import open_saved, read_history
from simcore import InputError, Scenario, simulate
from simcore.export.folder import ResultsFolder
from tests.jobs.test_history import CASES, watched


def saved(folder: Path, preset: str, keys: list[str], *, journal: bool = True) -> Path:
    with ResultsFolder(folder, "run") as out:
        return out.write(simulate(Scenario.preset(preset, keys), journal=journal))


def assert_same(one: History, other: History) -> None:
    """To the last number: what they are told by, and what they tell."""
    assert one.facts == other.facts
    assert len(one) == len(other) > 0
    for table, again in ((one.steps, other.steps), (one.entries, other.entries), (one.events, other.events)):
        assert table.names == again.names
        for name in table.names:
            assert np.array_equal(table[name], again[name]), name
    for step in np.random.default_rng(1).permutation(len(one))[:60].tolist():
        for then, now in zip(vars(one.at(step)).values(), vars(other.at(step)).values(), strict=True):
            assert np.array_equal(then, now)
        for then, now in zip(one.sequences(step), other.sequences(step), strict=True):
            assert np.array_equal(then, now)


@pytest.mark.parametrize("name", CASES)
def test_a_saved_run_is_the_one_that_was_watched(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    history, _, results = watched(*CASES[name])
    with ResultsFolder(tmp_path / "run", "run") as out:
        folder = out.write(results)
    assert_same(history, read_history(folder))
    monkeypatch.setattr(app.jobs.saved, "CHUNK", 200)
    told: list[float] = []
    (tmp_path / "spool").mkdir()
    again = pickle.loads(pickle.dumps(open_saved(told.append, folder, tmp_path / "spool")))
    assert_same(history, again)
    assert told == sorted(told)
    assert len(told) > 1


def test_after_hours_times_are_still_exact(tmp_path: Path) -> None:
    keys = ["workload.requests=20", "workload.arrivals.rate=0.0007"]
    history, _, results = watched("default", keys)
    assert history.steps["t"][-1] > 2**53, "beyond what seconds in floating point can tell"
    with ResultsFolder(tmp_path / "run", "run") as out:
        assert_same(history, read_history(out.write(results)))


def test_a_folder_without_a_journal_is_a_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path / "run", "default", ["workload.requests=5"], journal=False)
    with pytest.raises(InputError, match=r"holds no blocks\.parquet.*--blocks"):
        read_history(folder)


def test_a_broken_file_is_a_sentence(tmp_path: Path) -> None:
    folder = saved(tmp_path / "run", "default", ["workload.requests=5"])
    (folder / "blocks.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(InputError, match=r"blocks\.parquet: cannot be read"):
        read_history(folder)
    (folder / "blocks.parquet").write_bytes((folder / "requests.parquet").read_bytes())
    with pytest.raises(InputError, match=r"not those of a run|cannot be read"):
        read_history(folder)

"""A run that was saved is the run that was watched."""

from pathlib import Path

import numpy as np
import pytest

from app.jobs.history import Status
from app.jobs.saved import read_history
from simcore import InputError, Scenario, simulate
from simcore.export.folder import ResultsFolder
from tests.jobs.test_history import CASES, played


def saved(folder: Path, preset: str, keys: list[str], *, journal: bool = True) -> Path:
    with ResultsFolder(folder, "run") as out:
        return out.write(simulate(Scenario.preset(preset, keys), journal=journal))


@pytest.mark.parametrize("name", ["prefix caching and preemption", "swapping", "contiguous", "async scheduling"])
def test_every_block_is_as_it_was(name: str, tmp_path: Path) -> None:
    history, _ = played(*CASES[name])
    again = read_history(saved(tmp_path / "run", *CASES[name]))
    assert len(again) == len(history)
    same = 0
    steps = np.random.default_rng(1).permutation(len(history))[:200].tolist()
    for step in steps:
        then, now = history.at(step), again.at(step)
        assert (then.refs == now.refs).all()
        assert (then.key == now.key).all()
        owners = np.where(then.owner >= 0, history.rows[np.maximum(then.owner, 0)], -1)
        assert (owners[then.refs == 1] == now.owner[then.refs == 1]).all()
        same += int((then.filled == now.filled).mean() > 0.9)
    assert same > 0.9 * len(steps)  # how full a last block is, is an estimate


@pytest.mark.parametrize("name", ["prefix caching and preemption", "contiguous"])
def test_who_runs_is_known(name: str, tmp_path: Path) -> None:
    history, copy = played(*CASES[name])
    again = read_history(saved(tmp_path / "run", *CASES[name]))
    for step in range(0, len(history), 17):
        sequences = again.sequences(step)
        running = np.flatnonzero(np.isin(sequences.status, (Status.PREFILL, Status.DECODE)))
        expected = {history.row_of(sequence) for sequence in copy.tokens[step]}
        assert {int(sequences.row[s]) for s in running} == expected


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

"""A folder of results: what is in it, that it can be run again, and that it is there whole or not at all."""

import json
import os
from pathlib import Path

import polars as pl
import pytest

from app.cli import main
from simcore import InputError, Scenario, simulate
from simcore.export.folder import ResultsFolder

SMALL = ["workload.requests=25", "memory.blocks=120"]
ALWAYS = {"scenario.toml", "summary.json", "requests.parquet", "timeline.parquet", "run.json"}
COLUMNS = {
    "requests": "id arrival prompt_len output_len status queue ttft tpot itl_mean itl_p99 e2e preemptions "
    "hit_tokens_first hit_tokens computed_tokens",
    "timeline": "step t dt running waiting scheduled_tokens blocks_used blocks_cached blocks_free tokens_stored "
    "hit_tokens preemptions evictions",
    "blocks": "step t event block request key refs",
    "sequences": "step t event sequence request row tokens end ticks",
}
"""Others read these. Columns may be added, but none renamed, moved to another file, or taken away."""
SUMMARY = {
    "requests": "total finished rejected unfinished dropped skipped",
    "steps": "",
    "end_time": "",
    "preemptions": "",
    "tokens": "prompt output scheduled",
    "hits": "query_tokens hit_tokens hit_blocks",
    "evictions": "",
    "moves": "copies swaps_out swaps_in",
    "pruning": "times tokens",
    "throughput": "requests_per_s output_tokens_per_s",
    **dict.fromkeys(["ttft", "itl", "tpot", "e2e", "queue"], "mean p50 p90 p99"),
    "memory": "blocks used_mean used_peak stored_share internal_share reserved_share external_share saved_share",
}


def simulate_into(out: Path, *options: str) -> int:
    return main(["simulate", *(part for key in SMALL for part in ("--set", key)), "--out", str(out), *options])


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("all") / "results"
    assert simulate_into(out, "--blocks", "--perfetto") == 0
    return out


def test_files(folder: Path, tmp_path: Path) -> None:
    assert names(folder) == ALWAYS | {"blocks.parquet", "sequences.parquet", "trace.perfetto.json"}
    assert simulate_into(tmp_path / "less") == simulate_into(tmp_path / "log", "--steps", str(tmp_path / "steps")) == 0
    assert names(tmp_path / "less") == names(tmp_path / "log") == ALWAYS
    assert names(tmp_path) == {"less", "log", "steps"}, "nothing else is left"


@pytest.mark.parametrize("table", COLUMNS)
def test_columns(folder: Path, table: str) -> None:
    frame = pl.read_parquet(folder / f"{table}.parquet")
    assert set(COLUMNS[table].split()) <= set(frame.columns)
    assert len(frame) > 0
    assert not any(frame[name].is_nan().any() for name in frame.columns if frame[name].dtype.is_float()), (
        "null, not NaN"
    )


def test_a_column_has_one_type(folder: Path, tmp_path: Path) -> None:
    """Also where a run has nothing for it: tables of many runs can be put together."""
    nothing = ["--set", "scheduler.max_model_len=1", "--set", "scheduler.max_num_batched_tokens=200"]
    assert simulate_into(tmp_path / "empty", "--blocks", *nothing) == 0
    for table in COLUMNS:
        empty, full = (pl.read_parquet_schema(place / f"{table}.parquet") for place in (tmp_path / "empty", folder))
        assert empty == full


def test_summary_keys(folder: Path) -> None:
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    assert summary.pop("goodput").keys() == {"requests_per_s", "share"}, "the preset has an objective"
    for key, inner in SUMMARY.items():
        found = summary.pop(key)
        assert set(inner.split()) <= found.keys() if inner else isinstance(found, int | float)
    assert not summary


def test_files_agree(folder: Path) -> None:
    """What is there twice is there equally."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    requests, timeline, blocks, _ = (pl.read_parquet(folder / f"{table}.parquet") for table in COLUMNS)
    assert summary["requests"]["total"] == len(requests)
    assert summary["steps"] == len(timeline)
    assert summary["tokens"]["scheduled"] == requests["computed_tokens"].sum() == timeline["scheduled_tokens"].sum()
    assert summary["hits"]["hit_tokens"] == requests["hit_tokens"].sum() == timeline["hit_tokens"].sum()
    assert summary["hits"]["hit_blocks"] == (blocks["event"] == "hit").sum()
    assert summary["evictions"] == timeline["evictions"].sum() == (blocks["event"] == "evict").sum() > 0
    assert summary["e2e"]["mean"] == pytest.approx(requests["e2e"].mean())


def test_the_scenario_in_it_runs_again(folder: Path) -> None:
    scenario = Scenario.load(folder / "scenario.toml")
    assert scenario == Scenario.preset("default", SMALL)
    assert scenario.to_toml() == (folder / "scenario.toml").read_text(encoding="utf-8")
    assert simulate(scenario).summary == json.loads((folder / "summary.json").read_text(encoding="utf-8"))


def test_run_json_has_what_differs(folder: Path) -> None:
    about = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert about["interrupted"] is about["stalled"] is False
    assert {"cpu_s", "wall_s", "python", "platform", "packages", "command"} <= about.keys()


def test_a_new_folder_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = ["simulate", "--set", "workload.requests=2", "--set", 'name="two words"']
    assert main(options) == main(options) == 0
    assert names(tmp_path / "results") == {"two words-1", "two words-2"}


def test_results_are_not_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulate_into(tmp_path / "out", "--blocks") == 0
    (tmp_path / "out" / "notes.txt").write_text("mine", encoding="utf-8")
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    capsys.readouterr()

    assert simulate_into(tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert "not empty" in message
    assert "--force" in message
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

    assert simulate_into(tmp_path / "out", "--force", "--set", "seed=1") == 0
    assert names(tmp_path / "out") == ALWAYS | {"notes.txt"}, "the earlier run's blocks.parquet is gone"
    assert (tmp_path / "out" / "notes.txt").read_text(encoding="utf-8") == "mine"
    assert (tmp_path / "out" / "summary.json").read_bytes() != before["summary.json"]


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert simulate_into(tmp_path / "out") == 0
    assert names(tmp_path / "out") == ALWAYS


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_file_in_the_way(place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    assert simulate_into(tmp_path / place, "--force") == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert names(tmp_path) == {"file"}
    assert (tmp_path / "file").read_text(encoding="utf-8") == "mine"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user whom permissions bind")
def test_a_folder_that_must_not_be_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert simulate_into(tmp_path / "locked" / "out") == 2
    assert "permission denied" in capsys.readouterr().err


@pytest.mark.parametrize("broken", ["write_text", "write_bytes", "chmod", "rename"])
def test_a_disk_that_fails_leaves_nothing(broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = simulate(Scenario.preset("default", SMALL))

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with ResultsFolder(tmp_path / "out", "name") as place:
        monkeypatch.setattr(Path, broken, fail)
        with pytest.raises(InputError, match="out: cannot be written: no space left on device"):
            place.write(results)
    monkeypatch.undo()
    assert names(tmp_path) == set()


def test_a_run_that_fails_leaves_nothing(tmp_path: Path) -> None:
    place = ResultsFolder(tmp_path / "out", "name")
    with pytest.raises(RuntimeError), place:
        raise RuntimeError
    assert names(tmp_path) == set()


def test_a_scenario_that_is_wrong_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert simulate_into(tmp_path / "out", "--steps", str(tmp_path / "steps.jsonl"), "--set", "memory.blocks=1") == 2
    missing = ["--trace", str(tmp_path / "missing.csv")]
    assert simulate_into(tmp_path / "out", *missing) == 2
    assert simulate_into(tmp_path / "a" / "b" / "out", "--steps", str(tmp_path / "c" / "d" / "steps"), *missing) == 2
    assert simulate_into(tmp_path / "a" / ("n" * 300), *missing) == 2
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *missing]) == 2
    assert names(tmp_path) == set()

"""Runs end with the same results wherever they are done, and whatever happens to those who do them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from simcore import Comparison, InputError, Scenario, compare
from simcore.experiment import Store
from simcore.experiment.play import FAILED

ROOT = Path(__file__).parents[2]
RUNS = 200
SMALL = ["workload.requests=20"]
VARY = {"memory.eviction": ["lru", "random"], "memory.blocks": list(range(200, 300, 10))}
SWEEP = [
    "sweep", "default", "--set", SMALL[0], "--vary", "memory.eviction=lru,random",
    "--vary", "memory.blocks=200:290:10", "--replications", "10", "--jobs", "2", "--json",
]  # fmt: skip
posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

KILLER = '''
import os, signal
from dataclasses import dataclass
from simcore.policies.eviction.random import RandomChoice

@dataclass
class Killer(RandomChoice):
    """Kills its process, once or always."""

    name = "killer"

    def start(self, setting):
        super().start(setting)
        {how}
        os.kill(os.getpid(), signal.SIGKILL)
'''


class Counted:
    """Counts what it hears."""

    def __init__(self) -> None:
        self.total = self.kept = self.done = self.again = 0
        self.workers: set[str] = set()

    def planned(self, total: int, kept: int) -> None:
        self.total, self.kept = total, kept

    def finished(self, worker: str, cpu_s: float) -> None:
        self.done += 1
        self.workers.add(worker)

    def retried(self, runs: int) -> None:
        self.again += runs


def sweep(*, replications: int = 2, jobs: int = 1, cluster: str | None = None, store: Path | None = None,
          watcher: Counted | None = None) -> Comparison:  # fmt: skip
    scenario = Scenario.preset("default", SMALL)
    return compare(scenario, VARY, replications, jobs=jobs, cluster=cluster, store=store, progress=watcher)


def assert_equal(ours: Comparison, theirs: Comparison) -> None:
    assert_frame_equal(ours.runs, theirs.runs, check_exact=True)
    assert_frame_equal(ours.samples, theirs.samples, check_exact=True)


def test_processes_give_what_one_gives() -> None:
    watcher = Counted()
    assert_equal(sweep(jobs=2, watcher=watcher), sweep())
    assert (watcher.total, watcher.done, watcher.again) == (40, 40, 0)
    assert 1 <= len(watcher.workers) <= 2


def test_what_is_kept_is_not_done_again(tmp_path: Path) -> None:
    """Not even for other replications, or other factors that lead to the same scenario."""
    first = sweep(store=tmp_path)
    watcher = Counted()
    assert_equal(sweep(store=tmp_path, watcher=watcher), first)
    assert (watcher.total, watcher.kept, watcher.done) == (40, 40, 0)
    sweep(replications=3, store=tmp_path, watcher=watcher)
    assert (watcher.total, watcher.kept, watcher.done) == (60, 40, 20)


def test_the_key_is_the_content(tmp_path: Path) -> None:
    """Another name is the same run; another seed, key, or content of a trace is another one."""
    trace = tmp_path / "trace.jsonl"
    line = {"id": "a", "arrival": 0, "output_len": 4, "prompt_len": 40}

    def key(*overrides: str) -> str:
        scenario = Scenario.preset("default", [f"workload.trace={trace}", *overrides])
        return str(compare(scenario, replications=1, jobs=1, store=tmp_path / "store").runs["key"].item())

    trace.write_text(json.dumps(line), encoding="utf-8")
    first = key()
    assert key("name=other") == first
    assert len({first, key("seed=1"), key("memory.blocks=99"), key("metrics.warmup=0.1")}) == 4
    trace.write_text(json.dumps(line | {"prompt_len": 41}), encoding="utf-8")
    assert key() != first
    trace.unlink()
    with pytest.raises(InputError, match="cannot be read: no such file"):
        key()


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"digest": 1, "outcome": {}}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_is_done_again(damage: bytes, tmp_path: Path) -> None:
    first = sweep(store=tmp_path)
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == 40
    whole = files[7].read_bytes()
    files[7].write_bytes(damage)
    watcher = Counted()
    assert_equal(sweep(store=tmp_path, watcher=watcher), first)
    assert watcher.done == 1
    assert (
        re.sub(rb'"(worker|cpu_s)": [^,}]*', b"", files[7].read_bytes())[100:]
        == re.sub(rb'"(worker|cpu_s)": [^,}]*', b"", whole)[100:]
    )


def test_a_number_that_was_changed_is_noticed(tmp_path: Path) -> None:
    first = sweep(store=tmp_path)
    for file in tmp_path.rglob("*.json"):
        file.write_text(file.read_text().replace('"preemptions": 0.0', '"preemptions": 1.0'))
    assert_equal(sweep(store=tmp_path), first)


@posix
def test_a_worker_that_is_killed_once_costs_nothing(tmp_path: Path) -> None:
    policy = tmp_path / "killer.py"
    once = f"try: os.mkdir({str(tmp_path / 'killed')!r})\n        except FileExistsError: return"
    policy.write_text(KILLER.format(how=once), encoding="utf-8")
    watcher = Counted()
    vary = {"memory.eviction": ["random", "killer"], "memory.blocks": [200, 210, 220]}
    scenario = Scenario.preset("default", SMALL)
    comparison = compare(scenario, vary, 3, jobs=2, policies=[policy], progress=watcher)
    assert set(comparison.runs["status"]) == {"done"}
    assert 1 <= watcher.again <= 2
    random, killer = (
        comparison.runs.filter(pl.col("memory.eviction") == name)["ttft.mean"] for name in ("random", "killer")
    )
    assert random.to_list() == killer.to_list(), "it is the same policy after all"


@posix
def test_a_run_that_kills_its_worker_fails_alone(tmp_path: Path) -> None:
    policy = tmp_path / "killer.py"
    policy.write_text(KILLER.format(how="if setting.capacity != 209: return"), encoding="utf-8")
    scenario = Scenario.preset("default", SMALL)
    vary = {"memory.eviction": ["random", "killer"], "memory.blocks": [200, 210, 220]}
    runs = compare(scenario, vary, 2, jobs=2, policies=[policy]).runs
    bad = (pl.col("memory.eviction") == "killer") & (pl.col("memory.blocks") == 210)
    assert set(runs.filter(bad)["status"]) == {FAILED}
    assert set(runs.filter(~bad)["status"]) == {"done"}
    assert "died" in runs.filter(bad)["error"][0]


def start(*argv: str, store: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"KVSCOPE_STORE": str(store), "PYTHONUNBUFFERED": "1"},
        start_new_session=True,
    )


def wait_for_runs(store: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(store.rglob("*.json"))) < count:
        assert time.monotonic() < until
        time.sleep(0.02)


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes that loky started for it, without its tracker."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/cmdline").read_bytes() for child in children}
    return [child for child, name in names.items() if b"popen_loky" in name]


@posix
def test_a_sweep_of_200_runs_survives_ctrl_c_and_a_kill(tmp_path: Path) -> None:
    """Ctrl+C reaches all processes of a terminal; what was finished is kept, and a kill of a worker costs nothing."""
    store = tmp_path / "store"
    process = start(*SWEEP, store=store)
    wait_for_runs(store, 20)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    kept = len(list(store.rglob("*.json")))
    assert 20 <= kept < RUNS
    assert re.fullmatch(
        rf"{kept} of 200 runs are done and kept; the same command goes on from there\n"
        r"kvscope: interrupted; what was written is whole\n",
        err,
    )
    assert not list(store.rglob(".partial-*"))

    process = start(*SWEEP, store=store)
    wait_for_runs(store, kept + 10)
    if sys.platform == "linux":
        os.kill(workers_of(process)[0], signal.SIGKILL)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    runs = json.loads(out)["runs"]
    assert (len(runs), {run["status"] for run in runs}) == (RUNS, {"done"})
    if sys.platform == "linux":
        assert re.fullmatch(r"warning: a worker died; \d of its runs are done again\n", err)
    files = {file: file.stat().st_mtime_ns for file in store.rglob("*.json")}
    assert len(files) == RUNS

    process = start(*SWEEP, store=store)
    again, err = process.communicate(timeout=60)
    assert (process.returncode, again, err) == (0, out, "")
    assert files == {file: file.stat().st_mtime_ns for file in store.rglob("*.json")}, "nothing was done again"


@contextmanager
def cluster() -> Iterator[tuple[str, list[subprocess.Popen[str]]]]:
    """A Dask scheduler and two workers, in processes of their own."""
    pytest.importorskip("distributed")
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__ADMIN__LOG_FORMAT": "%(message)s"}
    scheduler = subprocess.Popen(
        [*dask, "--host", "127.0.0.1", "--port", "0", "--no-dashboard"],
        stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, encoding="utf-8", env=env,
    )  # fmt: skip
    assert scheduler.stderr is not None
    address = ""
    for line in scheduler.stderr:
        if found := re.search(r"Scheduler at:\s+(tcp://\S+)", line):
            address = found[1]
            break
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-nanny"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    workers = [subprocess.Popen([*worker, "--no-dashboard"], env=env, encoding="utf-8", **quiet) for _ in range(2)]
    try:
        yield address, workers
    finally:
        for process in (*workers, scheduler):
            process.kill()
            process.wait()
        scheduler.stderr.close()


@posix
def test_a_cluster_loses_a_worker(tmp_path: Path) -> None:
    """The same results as here, though one of two workers is killed when it is half through."""
    with cluster() as (address, workers):
        process = start(*SWEEP, "--cluster", address, store=tmp_path / "cluster")
        wait_for_runs(tmp_path / "cluster", 40)
        workers[0].kill()
        out, err = process.communicate(timeout=120)
    assert (process.returncode, err) == (0, "")
    here = start(*SWEEP, store=tmp_path / "here")
    assert here.communicate(timeout=120)[0] == out


def test_no_cluster_answers() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match="no scheduler of a Dask cluster answers"):
        sweep(cluster="tcp://127.0.0.1:9")


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        Store(tmp_path / "file")

"""A run in a process of its own: what it can be told, what it leaves behind, and what is said when it dies."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import app.jobs.brought
from app.jobs.brought import bring, brought
from app.jobs.live import LiveRun, Pace, RunState
from app.jobs.snapshots import Board, Snapshot
from app.jobs.spool import PREFIX
from app.jobs.work import Work
from simcore import Scenario, simulate
from simcore.export.folder import ResultsFolder

KEYS = ["workload.requests=40", "memory.blocks=200"]
ROOT = Path(__file__).parents[2]
Start = Callable[..., LiveRun]


def left_behind() -> set[str]:
    return {path.name for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}{os.getpid()}-*")}


@pytest.fixture
def start() -> Iterator[Start]:
    before, runs = left_behind(), []

    def begin(keys: list[str] | None = None, pace: Pace | None = None, preset: str = "default") -> LiveRun:
        runs.append(LiveRun(Scenario.preset(preset, KEYS if keys is None else keys), pace=pace))
        return runs[-1]

    yield begin
    for run in runs:
        run.close()
    assert left_behind() <= before


def wait(run: LiveRun, until: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not until():
        assert run.failure is None, run.failure
        assert time.monotonic() < end, run.snapshot
        run.poll()
        time.sleep(0.005)


def test_it_is_the_run_that_simulate_makes(start: Start, tmp_path: Path) -> None:
    run = start(pace=Pace(paused=False, factor=None))
    wait(run, lambda: run.over is not None)
    expected = simulate(Scenario.preset("default", KEYS), journal=True)
    assert run.history is not None
    for name in ("t", "blocks_used", "tokens_stored", "running"):
        assert (run.history.steps[name] == expected.record.steps[name]).all()
    assert (run.history.entries["block"] == expected.journal.columns()["block"]).all()
    run.save(tmp_path / "live")
    news = []
    wait(run, lambda: bool(news.extend(run.poll()) or news))
    assert news == [("saved", str(tmp_path / "live"))]
    with ResultsFolder(tmp_path / "plain", "plain") as folder:
        folder.write(expected)
    for name in ("summary.json", "requests.parquet", "timeline.parquet", "blocks.parquet", "scenario.toml"):
        assert (tmp_path / "live" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_pause_step_and_go(start: Start) -> None:
    run = start()
    wait(run, lambda: run.state == RunState.PAUSED)
    assert run.snapshot.step == 0
    for _ in range(3):
        run.step()
    wait(run, lambda: run.snapshot.step == 3 and run.state == RunState.PAUSED)
    run.step(10)
    wait(run, lambda: run.snapshot.step == 13 and run.state == RunState.PAUSED)
    assert run.history is not None
    assert len(run.history) == 14
    run.go()
    wait(run, lambda: run.snapshot.step > 20)
    run.pause()
    wait(run, lambda: run.state == RunState.PAUSED)
    step = run.snapshot.step
    time.sleep(0.2)
    run.poll()
    assert run.snapshot.step == step


def test_it_runs_until_a_step_a_time_and_an_event(start: Start) -> None:
    run = start(pace=Pace(factor=None))
    wait(run, lambda: run.state == RunState.PAUSED)
    run.go(step=100)
    wait(run, lambda: run.snapshot.step == 100 and run.state == RunState.PAUSED)
    run.go(seconds=3.0)
    wait(run, lambda: run.snapshot.now >= 3 * 2**40 and run.state == RunState.PAUSED)
    history = run.history
    assert history is not None
    assert history.steps["t"][run.snapshot.step - 1] < 3 * 2**40
    step = run.snapshot.step
    run.go(event="eviction")
    wait(run, lambda: run.snapshot.step > step and run.state == RunState.PAUSED)
    assert history.next("eviction", step) == run.snapshot.step


def test_it_keeps_the_pace(start: Start) -> None:
    run = start(pace=Pace(factor=2.0))
    wait(run, lambda: run.state == RunState.PAUSED)
    begun, first = time.monotonic(), run.snapshot.now
    run.go()
    wait(run, lambda: (run.snapshot.now - first) / 2**40 > 1.0)
    passed = (run.snapshot.now - first) / 2**40
    assert run.state == RunState.RUNNING
    assert passed < 2.0 * (time.monotonic() - begun) + 0.5


def test_a_killed_worker_is_a_sentence_and_its_run_can_be_looked_at(start: Start) -> None:
    run = start()
    wait(run, lambda: run.state == RunState.PAUSED)
    run.step(50)
    wait(run, lambda: run.snapshot.step == 50)
    assert run.pid is not None
    os.kill(run.pid, signal.SIGKILL)
    news: list[tuple[str, object]] = []
    end = time.monotonic() + 60
    while not news and time.monotonic() < end:
        news += run.poll()
        time.sleep(0.01)
    assert news == [
        (
            "failure",
            "The process that simulates was killed (SIGKILL); what it had done up to step 50 can still be looked at.",
        )
    ]
    assert run.history is not None
    assert run.history.at(50).step == 50
    run.go()  # nobody is there to hear it


def test_nothing_is_left_when_the_window_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal, time\n"
        "from app.jobs.live import LiveRun, Pace\n"
        "from simcore import Scenario\n"
        "run = LiveRun(Scenario.preset('default'), pace=Pace(paused=False, factor=0.1))\n"
        "while run.snapshot.step < 3:\n"
        "    run.poll()\n"
        "    time.sleep(0.01)\n"
        "print(run.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    worker = int(done.stdout)
    end = time.monotonic() + 120
    while list(tmp_path.iterdir()) and time.monotonic() < end:
        time.sleep(0.05)
    assert not list(tmp_path.iterdir())
    while time.monotonic() < end:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            break
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        pytest.fail("the worker outlives its window")


def test_a_scenario_that_cannot_be_run_is_a_sentence(start: Start) -> None:
    run = start(["memory.blocks=100", "scheduler.max_model_len=2048"], preset="orca")
    end = time.monotonic() + 60
    while run.failure is None and time.monotonic() < end:
        run.poll()
        time.sleep(0.01)
    assert run.failure is not None
    assert "has no such piece" in run.failure


def test_policies_that_were_brought_can_be_chosen_in_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app.jobs.brought, "_files", [])
    bring([ROOT / "examples" / "my_policy.py"])
    scenario = Scenario.preset("default", [*KEYS, "memory.eviction=least-hit"])
    told = []
    for policies in (brought(), ()):
        run = LiveRun(scenario, policies, Pace(paused=False, factor=None))
        end = time.monotonic() + 60
        while run.over is None and run.failure is None and time.monotonic() < end:
            run.poll()
            time.sleep(0.01)
        told.append(run.failure)
        run.close()
    assert told[0] is None
    assert told[1] is not None, "nothing is run from a scenario alone"
    assert "least-hit" in told[1]
    work = Work(read_policy, scenario.to_toml())
    while not work.over:
        messages = work.poll()
        time.sleep(0.01)
    assert messages == [("done", "least-hit")]


def read_policy(tell: object, text: str) -> str:
    return str(Scenario.from_toml(text, Path()).memory.eviction.model_dump()["policy"])


def test_a_full_disk_is_a_sentence(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no disk that is always full")
    make = LiveRun.__init__.__globals__["make_folder"]

    def full() -> Path:
        folder = make()
        (folder / "steps.t").symlink_to("/dev/full")
        return Path(folder)

    monkeypatch.setitem(LiveRun.__init__.__globals__, "make_folder", full)
    run = start()
    end = time.monotonic() + 60
    while run.failure is None and time.monotonic() < end:
        run.poll()
        time.sleep(0.01)
    assert run.failure is not None
    assert "no space left on device" in run.failure


def test_a_run_that_goes_on_cannot_be_saved_and_one_that_was_stopped_can(start: Start, tmp_path: Path) -> None:
    run = start(pace=Pace(paused=False, factor=0.5))
    wait(run, lambda: run.snapshot.step > 3)
    run.save(tmp_path / "out")
    news: list[tuple[str, object]] = []
    wait(run, lambda: bool(news.extend(run.poll()) or news))
    assert news == [("problem", "The run goes on; stop it, and it can be saved.")]
    run.stop()
    wait(run, lambda: run.over is not None)
    assert run.over["interrupted"]  # type: ignore[index]
    run.save(tmp_path / "out")
    news = []
    wait(run, lambda: bool(news.extend(run.poll()) or news))
    assert (tmp_path / "out" / "blocks.parquet").is_file()


def test_the_newest_snapshot_is_never_torn(tmp_path: Path) -> None:
    with Board(tmp_path / "board", create=True) as writer, Board(tmp_path / "board") as reader:
        assert reader.newest() is None
        for number in range(1, 200):
            writer.publish(Snapshot(*[number] * len(Snapshot._fields)))
            if number % 7 == 0:
                seen = reader.newest()
                assert seen is not None
                assert seen[0] == number
                assert set(seen[1]) == {number}


def test_time_travel_in_a_run_of_100_000_steps_takes_less_than_a_tenth_of_a_second(start: Start) -> None:
    run = start(
        ["workload.requests=5000", "workload.arrivals.rate=4.0", "memory.blocks=600"], Pace(paused=False, factor=None)
    )
    wait(run, lambda: run.over is not None, 120)
    history = run.history
    assert history is not None
    assert len(history) > 100_000
    spent = []
    for step in np.random.default_rng(1).integers(0, len(history), 60).tolist():
        begun = time.process_time()
        history.at(step)
        spent.append(time.process_time() - begun)
    assert max(spent) < 0.1

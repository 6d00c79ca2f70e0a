"""Ctrl+C and kills at any moment: what is there afterwards is whole, and nobody sees a traceback."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from app.cli.interrupts import interrupt, on_interrupt

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")

ROOT = Path(__file__).parents[2]
FILES = {"scenario.toml", "summary.json", "requests.parquet", "timeline.parquet", "run.json"}
FILES |= {"blocks.parquet", "sequences.parquet"}
MOMENTS = 4
GENTLE = [signal.SIGINT, signal.SIGTERM]


def start(*argv: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), *argv],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )


def simulate(folder: Path) -> subprocess.Popen[str]:
    small = ["--set", "workload.requests=60"]
    return start("simulate", *small, "--blocks", "--out", str(folder / "out"), "--steps", str(folder / "steps"))


def is_whole(folder: Path) -> bool:
    """Whether there are results, of which every part is there and tells of the same run; False: there are none."""
    out = folder / "out"
    if not out.exists():
        return False
    assert {path.name for path in out.iterdir()} == FILES
    summary = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    timeline = pl.read_parquet(out / "timeline.parquet")
    requests = pl.read_parquet(out / "requests.parquet")
    assert len(timeline) == summary["steps"]
    assert len(requests) == summary["requests"]["total"]
    assert requests["computed_tokens"].sum() == timeline["scheduled_tokens"].sum() == summary["tokens"]["scheduled"]
    assert (pl.read_parquet(out / "blocks.parquet")["event"] == "hit").sum() == summary["hits"]["hit_blocks"]
    return True


@pytest.fixture(scope="module")
def span(tmp_path_factory: pytest.TempPathFactory) -> tuple[float, float]:
    """How long it takes until a run begins, and from then to the end of the program, in seconds."""
    begun = time.monotonic()
    process = simulate(tmp_path_factory.mktemp("undisturbed"))
    assert process.stdout is not None
    process.stdout.readline()
    running = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 0
    return running - begun, time.monotonic() - running


@pytest.mark.parametrize("moment", range(MOMENTS))
@pytest.mark.parametrize("ending", GENTLE, ids=lambda number: number.name)
def test_asked_to_end_while_it_runs(
    ending: signal.Signals, moment: int, span: tuple[float, float], tmp_path: Path
) -> None:
    """What was done is kept, be it in the midst of the run, of writing, or of the very end."""
    process = simulate(tmp_path)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(span[1] * moment / MOMENTS)
    process.send_signal(ending)
    _, err = process.communicate(timeout=60)
    names = {path.name for path in tmp_path.iterdir()}
    done = False
    if is_whole(tmp_path):
        assert names == {"out", "steps"}
        done = not json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["interrupted"]
    else:
        assert not names  # not a step had been taken
    if done:
        assert process.returncode in (0, 130, -ending)
    else:
        assert process.returncode == 130
        assert err == "kvscope: interrupted; what was written is whole\n"


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_asked_to_end_while_it_starts(moment: int, span: tuple[float, float], tmp_path: Path) -> None:
    process = simulate(tmp_path)
    time.sleep(span[0] * moment / MOMENTS)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGTERM)  # 0: the machine had been slower before
    assert "Traceback" not in err
    assert {path.name for path in tmp_path.iterdir()} <= {"out", "steps"}
    if process.returncode == -signal.SIGTERM:  # nobody listened yet
        assert not list(tmp_path.iterdir())
    else:
        assert is_whole(tmp_path) or process.returncode == 130


@pytest.mark.parametrize("moment", range(MOMENTS))
def test_killed(moment: int, span: tuple[float, float], tmp_path: Path) -> None:
    """Nothing is there that is not whole, but for what says in its name that it is a part."""
    process = simulate(tmp_path)
    time.sleep(sum(span) * (moment + 1) / MOMENTS)
    process.kill()
    process.communicate(timeout=60)
    names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".partial-")}
    assert names in (set(), {"out"}, {"out", "steps"})
    assert is_whole(tmp_path) == ("out" in names)


@pytest.mark.parametrize(
    "argv",
    [["scenario", "check"], ["trace", "info"], ["benchmark", "simulate", "--trace"]],
    ids=lambda argv: " ".join(argv),
)
def test_other_commands_asked_to_end(argv: list[str], tmp_path: Path) -> None:
    """They wait for a pipe that nobody writes into."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    process = start(*argv, str(pipe))
    with pipe.open("wb"):  # as soon as they read
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err == "kvscope: interrupted; what was written is whole\n"


def test_an_interrupt_that_is_lost_comes_again() -> None:
    """Compiled code may let no exception through, as a finalizer does."""

    class Deaf:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    before = [signal.getsignal(number) for number in GENTLE], sys.unraisablehook

    def work() -> None:
        with on_interrupt(interrupt):
            Deaf()
            for _ in range(3000):
                time.sleep(0.01)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert before == ([signal.getsignal(number) for number in GENTLE], sys.unraisablehook)

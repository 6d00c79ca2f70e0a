"""Work in a process of its own: progress, results, and every way in which it can end."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.jobs.preview import Head, inspect_trace, preview_of, shared_tokens
from app.jobs.work import Message, Work
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.workload.columns import Runs, Workload

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "data" / "traces"


def count(tell: Callable[[Any], None], to: int) -> int:
    for number in range(to):
        tell(number)
    return to


def refuse(tell: Callable[[Any], None]) -> None:
    raise InputError("file.csv, line 3: no")


def stumble(tell: Callable[[Any], None]) -> None:
    raise KeyError("left")


def leave(tell: Callable[[Any], None]) -> None:
    sys.exit("enough")


def die(tell: Callable[[Any], None]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def sleep(tell: Callable[[Any], None]) -> None:
    tell("asleep")
    time.sleep(600)


def have_a_child(tell: Callable[[Any], None]) -> None:
    handle, _ = tempfile.mkstemp()
    os.close(handle)
    tell((tempfile.gettempdir(), subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]).pid))
    time.sleep(600)


def all_of(work: Work) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + 60
    while not work.over:
        messages += work.poll()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return messages


def test_progress_then_the_result() -> None:
    assert all_of(Work(count, 3)) == [
        Message("progress", 0),
        Message("progress", 1),
        Message("progress", 2),
        Message("done", 3),
    ]


@pytest.mark.parametrize(
    ("function", "words"),
    [(refuse, "file.csv, line 3: no"), (stumble, "KeyError"), (leave, "SystemExit: enough"), (die, "SIGKILL")],
)
def test_what_goes_wrong_is_a_sentence(function: Callable[..., Any], words: str) -> None:
    (message,) = all_of(Work(function))
    assert message.kind == "failed"
    assert words in message.content


@pytest.mark.skipif(os.name != "posix", reason="groups of processes are POSIX's")
@pytest.mark.parametrize("cancelled", [True, False])
def test_no_process_and_no_file_is_left(cancelled: bool) -> None:
    """Whether the window ends it, or the system does, which may be short of memory."""
    work = Work(have_a_child, family=True)
    deadline = time.monotonic() + 60
    while not (messages := work.poll()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    folder, child = messages[0].content
    assert os.listdir(folder)
    if cancelled:
        work.cancel()
    else:
        os.kill(work.process.pid or 0, signal.SIGKILL)
        assert "SIGKILL" in all_of(work)[-1].content
    assert not os.path.exists(folder)
    while is_alive(child):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="groups of processes are POSIX's")
def test_nothing_is_left_when_the_window_is_killed() -> None:
    window = (
        "import os, signal, time\n"
        "from app.jobs.work import Work\n"
        "from tests.jobs.test_jobs_work import have_a_child\n"
        "if __name__ == '__main__':\n"
        "    work = Work(have_a_child, family=True)\n"
        "    while not (messages := work.poll()):\n"
        "        time.sleep(0.01)\n"
        "    print(*messages[0].content, work.process.pid, sep='|', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", window]
    found = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, cwd=ROOT)
    folder, child, process = found.stdout.split("|")
    deadline = time.monotonic() + 60
    while is_alive(int(child)) or is_alive(int(process)) or os.path.exists(folder):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no mere entry that its parent has not read yet."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in ("", "Z")


def test_it_is_cancelled_at_once() -> None:
    work = Work(sleep)
    deadline = time.monotonic() + 60
    while not work.poll():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    begin = time.monotonic()
    work.cancel()
    assert work.over
    assert work.poll() == []
    assert time.monotonic() - begin < 60


def test_a_preview_adds_up() -> None:
    scenario = Scenario.preset("default")
    preview = preview_of(scenario.workload, 0)
    assert preview.requests == preview.drawn == 1000
    assert preview.prompt_counts.sum() == preview.output_counts.sum() == 1000
    width = preview.time[1] - preview.time[0]
    assert preview.rate.sum() * width == pytest.approx(1000)
    tokens = (preview.new_tokens + preview.shared_tokens).sum() * width
    assert tokens / 1000 == pytest.approx(preview.numbers["prompt mean"])


def test_sharing_counts_what_an_earlier_request_had() -> None:
    # r0: 10 of source 1, then private; r1: the same and 5 of source 2; r2: 4 of source 1; r3: all of r1 and its output
    runs = Runs(
        offsets=np.array([0, 1, 3, 4, 7]),
        source=np.array([1, 1, 2, 1, 1, 2, 9]),
        length=np.array([10, 10, 5, 4, 10, 5, 3]),
    )
    workload = Workload(
        "test",
        arrival=np.arange(4.0),
        prompt_len=np.array([12, 15, 4, 20]),
        output_len=np.array([1, 3, 1, 1]),
        runs=runs,
        output_source=np.array([-1, 9, -1, -1]),
    )
    assert shared_tokens(workload).tolist() == [0, 10, 4, 18]


def test_a_trace_tells_its_head_before_it_is_read(tmp_path: Path) -> None:
    told: list[Any] = []
    report = inspect_trace(told.append, TRACES / "kvscope.jsonl", "auto", False, 0)
    assert isinstance(told[0], Head)
    assert told[0].lines[0].startswith("{")
    assert report.info["requests"] == 4
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match="is empty"):
        inspect_trace(told.append, tmp_path / "empty.csv", "auto", False, 0)

"""However the window ends, no process and no file of its runs is left, and no edit is lost."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

import app.jobs.brought
from app.desktop import settings
from app.desktop.session import LiveSession, make_session
from app.desktop.window import MainWindow
from app.jobs.brought import bring
from app.jobs.spool import PREFIX

ROOT = Path(__file__).parents[2]
PATIENCE = 120
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="processes are found in /proc")

RUNNING = """
from app.desktop.application import main
from app.desktop.window import MainWindow
made = MainWindow.restore_edits
def begin(self):
    made(self)
    self.document.set("seed", 77)
    self.session.set_speed(0.0)
    self.begin()
    self.session.framed.connect(lambda: self.session.newest < 0 or print(self.session.newest, flush=True))
    return True
MainWindow.restore_edits = begin
raise SystemExit(main([]))
"""


def open_window(tmp_path: Path, *command: str) -> "subprocess.Popen[str]":
    """A process with a window that nobody sees; its settings and its files are the test's."""
    places = {"XDG_CONFIG_HOME": str(tmp_path / "settings"), "TMPDIR": str(tmp_path / "files")}
    (tmp_path / "files").mkdir(exist_ok=True)
    environment = {**os.environ, **places, "PYTHONPATH": str(ROOT), "QT_QPA_PLATFORM": "offscreen"}
    return subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def family(tmp_path: Path) -> list[int]:
    """The processes that have the test's place for files, whosever children they are."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            if process.name.isdigit() and str(tmp_path / "files").encode() in (process / "environ").read_bytes():
                found.append(int(process.name))
        except OSError:
            continue  # it has ended, or is another person's
    return found


def wait_until(held: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not held():
        assert time.monotonic() < end
        time.sleep(0.02)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_run_at_full_speed_ends_with_the_window(tmp_path: Path, number: signal.Signals) -> None:
    window = open_window(tmp_path, "-c", RUNNING)
    assert window.stdout is not None
    assert int(window.stdout.readline()) >= 0
    assert len(family(tmp_path)) > 1, "the worker is one of them"
    window.send_signal(number)
    _, errors = window.communicate(timeout=PATIENCE)
    assert window.returncode == 128 + number
    assert "Traceback" not in errors
    wait_until(lambda: not family(tmp_path))
    assert not [file for file in (tmp_path / "files").iterdir() if file.name.startswith(PREFIX)]
    (kept,) = (tmp_path / "settings").rglob("unsaved.toml")
    assert "seed = 77" in kept.read_text()


@needs_proc
@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.35, 0.5, 0.7])
def test_a_window_that_is_only_beginning_leaves_nothing(tmp_path: Path, seconds: float) -> None:
    window = open_window(tmp_path, "main.py", "desktop")
    time.sleep(seconds)
    window.terminate()
    window.communicate(timeout=PATIENCE)
    assert window.returncode in (-signal.SIGTERM, 128 + signal.SIGTERM)  # the first: nobody listened yet
    wait_until(lambda: not family(tmp_path))
    assert not list((tmp_path / "files").iterdir())


def test_edits_that_were_not_saved_are_here_again(
    window: MainWindow, make_window: Callable[[], MainWindow], qtbot: QtBot
) -> None:
    assert not window.restore_edits()
    window.document.set("seed", 77)
    window.end()
    assert not window.isVisible()
    again = make_window()
    assert again.restore_edits()
    assert again.document.value("seed") == 77
    assert not again.document.saved
    again.document.undo.undo()
    assert again.document.value("seed") != 77
    assert not settings.unsaved().exists()


POLICY = """
import os, sys
from simcore.policies import Eviction

class Quitter(Eviction):
    name = "quitter"

    def start(self, setting): pass
    def insert(self, block, name, use):
        LEAVE

    def hit(self, block, use): pass
    def release(self, block, use): pass
    def victim(self): pass
    def remove(self, block): pass
"""


@pytest.fixture
def live(qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> Iterator[MainWindow]:
    monkeypatch.setattr(app.jobs.brought, "_files", [])
    window = MainWindow(make_session)
    window.show_page("live")
    window.show()
    yield window
    window.document.undo.setClean()
    window.close()
    window.deleteLater()


@pytest.mark.parametrize(
    ("leave", "words"),
    [("os._exit(3)", "ended with code 3"), ("sys.exit(3)", "quitter.py, line 10, in insert: SystemExit: 3")],
)
def test_a_policy_that_ends_its_process_is_told_of(
    live: MainWindow,
    answer: Callable[[str], list[str]],
    tmp_path: Path,
    qtbot: QtBot,
    leave: str,
    words: str,
) -> None:
    file = tmp_path / "quitter.py"
    file.write_text(POLICY.replace("LEAVE", leave))
    bring([file])
    live.document.set("memory.eviction", "quitter")
    assert live.document.valid, live.document.problems
    said = answer("OK")
    live.begin()
    session = live.session
    assert isinstance(session, LiveSession)
    qtbot.waitUntil(lambda: bool(said))
    assert words in said[0]
    assert session.state == "failed"
    live.document.set("memory.eviction", None)
    live.begin()
    qtbot.waitUntil(lambda: session.newest > 10)

"""Starting: what will not do is said in a sentence."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.desktop.application import main, tell_of_errors, unfit
from app.desktop.window import MainWindow

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("qt", "python", "words"),
    [
        ("6.10.3", (3, 11), ""),
        ("6.10.3", (3, 13), ""),
        ("6.12.0", (3, 11), "kills the process"),
        ("6.11.0", (3, 12), "pyqtgraph"),
        ("6.9.1", (3, 11), "too old"),
        ("", (3, 11), "not installed"),
    ],
)
def test_pairs_that_crash_are_refused(qt: str, python: tuple[int, int], words: str) -> None:
    problem = unfit(qt, python)
    assert (words in problem) if words else not problem
    assert "\n" not in problem


def test_a_bad_pair_opens_nothing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("app.desktop.application.qt_version", lambda: "6.12.0")
    assert main([]) == 2
    assert "install what fits" in capsys.readouterr().err


def test_a_policy_that_is_none_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--policy", str(tmp_path / "mine.py")]) == 2
    assert "mine.py: there is no such file" in capsys.readouterr().err


def test_without_a_screen_it_says_so() -> None:
    environment = {key: value for key, value in os.environ.items() if key not in _SCREENS}
    command = [sys.executable, "main.py", "desktop"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert "no screen" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_error_that_nobody_foresaw_is_told(
    window: MainWindow,
    answer: Callable[[str], list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    tell_of_errors(window)
    said = answer("OK")
    error = KeyError("left")
    sys.excepthook(KeyError, error, None)
    assert "KeyError: 'left'" in said[0]
    assert window.isVisible()
    assert "KeyError" in capsys.readouterr().err


_SCREENS = ("QT_QPA_PLATFORM", "DISPLAY", "WAYLAND_DISPLAY")

"""What `kvscope benchmark desktop` measures, on a small pool and for a moment."""

import math

from pytestqt.qtbot import QtBot

from app.desktop.benchmark import measure


def test_frames_answers_and_steps_are_measured(qtbot: QtBot) -> None:
    measured = measure(1.5, blocks=2048)
    assert measured["frames_per_s"] > 0
    assert measured["steps_per_s"] > 0
    assert measured["inputs"] > 0
    assert 0 < measured["frame_ms_p50"] <= measured["frame_ms_p99"]
    assert 0 < measured["input_ms_p50"] <= measured["input_ms_p99"]
    assert all(math.isfinite(value) for value in measured.values())

"""The memory of a run that goes on does not grow with it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_twenty_seconds_at_full_speed_hold_memory_flat() -> None:
    if not Path("/proc/self/status").exists():
        pytest.skip("this system does not tell what memory a process has")
    command = [sys.executable, "scripts/soak.py", str(20 / 60), "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    last = done.stdout.splitlines()[-3]
    entries = int(re.split(r"\s+", last.strip())[2].replace(",", ""))
    assert entries > 100_000, "otherwise nothing could have grown"
    assert "window: holds" in done.stdout
    assert "worker: holds" in done.stdout


def test_memory_that_grows_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import soak
    finally:
        sys.path.pop(0)
    flat = [(float(second), 100 * second, 120.0, 150.0) for second in range(60)]
    assert soak.verdict(flat, 60) == 0
    growing = [(second, told, ours, theirs + 4 * second) for second, told, ours, theirs in flat]
    assert soak.verdict(growing, 60) == 1
    assert "worker: GROWS" in capsys.readouterr().out
    assert soak.verdict(flat[:3], 60) == 1

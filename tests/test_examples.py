"""Every example runs as it stands, and says something."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAMPLES = Path(__file__).parent / "data" / "traces"
ARGUMENTS = {"hit_accounting.py": [str(SAMPLES / "mooncake.jsonl")]}


@pytest.mark.parametrize("example", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_example(example: str, tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / example), *ARGUMENTS.get(example, [])]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 1
    assert not any(tmp_path.iterdir())

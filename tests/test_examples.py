"""Every example runs as it is, in a process of its own and in any folder, and says what it promises."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
SAYS = {
    "first_run": [r'"finished": 300', r"blocks_used"],
    "my_policy": [],
    "my_pruning": [],
    "hit_accounting": [r"2  hits of an infinite cache", r"1  hits of the simulator", r" 0  unexplained"],
    "real_engine": [r"Verdict: they agree", r"ok  blocks swapped in +[1-9]", r"ok  blocks copied +[1-9]"],
    "own_workload": [r"false: .* 0 hit", r"true: .* [\d,]{6,} hit", r"results are the same: True"],
    "compare_policies": [r"baseline", r"lower|higher|too few"],
    "fair_clients": [r"│ 1 +┆ 485 +┆ 41\.\d+ ┆ 62\.", r"│ 4 +┆ 66 +┆ 40\.\d+ ┆ 0\.29"],
    "sweep_blocks": [r"TTFT p99", r" 0\.000 ± +0\.000"],
    "time_travel": [r"(\d+) of \1 used blocks", r"allocate"],
}
"""Patterns of what each prints."""


def test_all_are_here() -> None:
    assert SAYS.keys() == {path.stem for path in EXAMPLES.glob("*.py")}


@pytest.mark.parametrize("name", SAYS)
def test_example(name: str, tmp_path: Path) -> None:
    arguments = [write_trace(tmp_path / "trace.jsonl")] if name == "hit_accounting" else []
    done = subprocess.run(
        [sys.executable, EXAMPLES / f"{name}.py", *arguments],
        cwd=tmp_path,
        env=os.environ | {"PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for pattern in SAYS[name]:
        assert re.search(pattern, done.stdout)
    assert [path.name for path in tmp_path.iterdir()] == [path.name for path in arguments], "nothing is left behind"


def write_trace(path: Path) -> Path:
    """Two equal prompts of two blocks, the second of them partial."""
    line = {"timestamp": 0, "input_length": 600, "output_length": 2, "hash_ids": [1, 2]}
    path.write_text(f"{json.dumps(line)}\n" * 2, encoding="utf-8")
    return path

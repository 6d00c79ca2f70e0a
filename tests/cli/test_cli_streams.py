"""Standard streams that are closed, full or read by nobody, and an environment that lacks what others have."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simcore.scenario.presets import preset_names

pytestmark = pytest.mark.skipif(os.name != "posix", reason="streams are closed as in POSIX")

ROOT = Path(__file__).parents[2]
LEAVE = "mkdir gone; cd gone; rmdir ../gone;"
MOONCAKE = str(ROOT / "tests" / "data" / "traces" / "mooncake.jsonl")
SIMULATE = ["simulate", "--set", "workload.requests=3", "--out", "out"]
COMMANDS = [
    SIMULATE,
    [*SIMULATE, "--json"],
    ["scenario", "list"],
    ["memory"],
    ["scenario", "new"],
    ["trace", "info", MOONCAKE],
    ["--help"],
]
WHOLE = {"scenario.toml", "summary.json", "requests.parquet", "timeline.parquet", "run.json"}
every_command = pytest.mark.parametrize(
    "argv", COMMANDS, ids=lambda argv: " ".join(map(str, argv)).replace(MOONCAKE, "")
)


def start(
    *argv: str, first: str = "", streams: str = "", env: Mapping[str, str] = os.environ, **options: Any
) -> subprocess.Popen[str]:
    """A command in a process of its own, of this very program; a shell does something `first`, and to the `streams`."""
    command = ["/bin/sh", "-c", f'{first} exec "$0" "$@" {streams}', sys.executable, str(ROOT / "main.py"), *argv]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    return subprocess.Popen(command, encoding="utf-8", env=env, **pipes)


def run(*argv: str, **options: Any) -> tuple[int, str, str]:
    """The exit code, and what was said on the two streams."""
    process = start(*argv, **options)
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(argv: list[str]) -> bool:
    """Whether what a command writes is there, and whole."""
    if argv[0] == "simulate":
        return {path.name for path in Path("out").iterdir()} == WHOLE
    return Path("scenario.toml").is_file() or argv[:2] != ["scenario", "new"]


@every_command
def test_output_is_closed(argv: list[str]) -> None:
    assert run(*argv, streams=">&-") == (0, "", "")
    assert written(argv)


@every_command
def test_nobody_reads_the_output(argv: list[str]) -> None:
    """As in `kvscope ... | head -1`: it is no error, and the work is done."""
    process = start(*argv)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert written(argv)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
@every_command
def test_output_is_full(argv: list[str]) -> None:
    code, _, err = run(*argv, streams=">/dev/full")
    assert code == 2
    assert err.startswith("kvscope: ")
    assert err.endswith("No space left on device\n")
    assert err.count("\n") == 1
    assert written(argv), "what goes to a file was not in the way"


def test_nobody_hears_a_complaint() -> None:
    assert run("simulate", "none.toml", streams="2>&-") == (2, "", "")
    assert run("simulate", "none.toml", streams=">&- 2>&-") == (2, "", "")
    if Path("/dev/full").exists():
        assert run("simulate", "none.toml", streams="2>/dev/full") == (2, "", "")


def test_a_trace_for_a_closed_output() -> None:
    """What is printed line by line goes nowhere too; the facts are said on the other stream."""
    code, out, err = run("trace", "convert", "chat", "--to", "vidur", streams=">&-")
    assert (code, out) == (0, "")
    assert err.splitlines()[-1].startswith("3,000 requests; vidur cannot carry")


def test_all_streams_are_closed() -> None:
    assert run(*SIMULATE, streams="<&- >&- 2>&-") == (0, "", "")
    assert written(SIMULATE)


@pytest.mark.parametrize("argv", [SIMULATE, ["trace", "info", MOONCAKE]], ids=["simulate", "trace info"])
def test_json_is_one_document(argv: list[str]) -> None:
    """And nothing else, with warnings on the other stream; the same document for a pipe and for a file."""
    small = ["--set", "memory.blocks=9"] if argv == SIMULATE else []
    code, out, err = run(*argv, *small, "--json")
    assert code == 0
    facts = json.loads(out)
    assert out == json.dumps(facts, indent=2) + "\n"
    if small:
        assert facts == json.loads(Path("out", "summary.json").read_text(encoding="utf-8"))
        assert err == "warning: the pool holds 128 tokens, fewer than one sequence may have (2,048)\n"
    shutil.rmtree("out", ignore_errors=True)
    assert run(*argv, *small, "--json", streams=">file") == (0, "", err)
    assert Path("file").read_text(encoding="utf-8") == out


def test_a_bare_environment() -> None:
    """No HOME, no PATH, no language: text is ASCII then, and names of files are not."""
    code, out, err = run(*SIMULATE[:-2], "--set", "name=\u65e5\u672c", env={})
    assert (code, err) == (0, "")
    assert {path.name for path in Path("results").iterdir()} == {"\u65e5\u672c-1"}
    assert "3 of 3 finished" in out
    for language in ({"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}):
        assert run("scenario", "new", "caf\u00e9", "--out", "a.toml", env=language) == (0, "a.toml\n", "")
        assert 'name = "caf\u00e9"\n' in Path("a.toml").read_text(encoding="utf-8")
        Path("a.toml").unlink()
    said = "kvscope: n\\xf6.toml: cannot be read: no such file or directory\n"
    assert run("scenario", "check", "n\u00f6.toml", env={"PYTHONIOENCODING": "ascii"}) == (2, "", said)


def test_a_terminal_of_no_size() -> None:
    code, out, err = run(*SIMULATE, env={"TERM": "dumb", "COLUMNS": "1", "LINES": "-1"})
    assert (code, err) == (0, "")
    assert written(SIMULATE)
    assert "\x1b" not in out


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    for argv, sentence in (
        (["simulate"], "results: cannot be written: no such file or directory"),
        (["simulate", "none.toml"], "none.toml: cannot be read: no such file or directory"),
        (["scenario", "new"], "scenario.toml: cannot be written: no such file or directory"),
        (["trace", "info", "none.csv"], "none.csv: cannot be read: no such file or directory"),
    ):
        assert run(*argv, first=LEAVE) == (2, "", f"kvscope: {sentence}\n")
    assert run(*SIMULATE[:-1], str(tmp_path / "out"), first=LEAVE)[::2] == (0, "")
    code, out, _ = run("scenario", "list", first=LEAVE)
    assert code == 0
    assert all(name in out for name in preset_names("scenarios"))

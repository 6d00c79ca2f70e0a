"""A run that is stopped, killed, stalled or out of disk, as whoever started it in a process of its own sees it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

PROGRAM = "import sys; from app.cli import main; sys.exit(main(sys.argv[1:]))"
FOR_HOURS = (
    "workload={ requests = 20, arrivals = { process = 'all-at-once' }, "
    "prompt = { distribution = 'fixed', tokens = 16 }, output = { distribution = 'fixed', tokens = 10_000_000 } }",
    "memory={ blocks = 5000, block_size = 65_536 }",
    "scheduler={ max_model_len = 20_000_000, max_num_seqs = 8 }",
    "timing={ model = 'constant' }",
)
"""Takes hours, and is stopped before."""

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals and limits of POSIX")


def command(*options: str | Path, overrides: tuple[str, ...] = (), program: str = PROGRAM) -> list[str]:
    chosen = [part for override in overrides for part in ("--set", override)]
    return [sys.executable, "-c", program, "simulate", *map(str, options), *chosen]


def run(
    *options: str | Path, overrides: tuple[str, ...] = (), program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    arguments = command(*options, overrides=overrides, program=program)
    return subprocess.run(arguments, capture_output=True, encoding="utf-8", timeout=60)


@contextmanager
def under_way(folder: Path, *options: str | Path) -> Iterator[subprocess.Popen[str]]:
    """A run of hours into `folder`/out that has taken its first steps."""
    arguments = command("--out", folder / "out", "--steps", folder / "steps.jsonl", *options, overrides=FOR_HOURS)
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")
    try:
        while not any(path.is_file() and path.stat().st_size for path in folder.glob(".partial-*")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        yield process
    finally:
        process.kill()
        process.communicate()


@posix_only
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_interrupted(options: tuple[str, ...], tmp_path: Path) -> None:
    """Ctrl+C: what was done until then is kept, whole."""
    with under_way(tmp_path, *options) as process:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
    assert "interrupted" in err
    assert {path.name for path in tmp_path.iterdir()} == {"out", "steps.jsonl"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))
    if options:
        assert json.loads(out) == summary
    assert summary["requests"]["unfinished"] == summary["requests"]["total"] == 20
    assert summary["requests"]["finished"] == 0
    steps = summary["steps"]
    assert steps > 0
    assert len(pl.read_parquet(tmp_path / "out" / "timeline.parquet")) == steps
    assert len((tmp_path / "steps.jsonl").read_text(encoding="utf-8").splitlines()) == steps
    computed = pl.read_parquet(tmp_path / "out" / "requests.parquet")["computed_tokens"].sum()
    assert computed == summary["tokens"]["scheduled"] == 8 * (16 + steps - 1)
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["interrupted"] is True


@posix_only
def test_killed(tmp_path: Path) -> None:
    """Nothing is there that could be taken for results, and the next run finds the place free."""
    with under_way(tmp_path) as process:
        process.kill()
        process.communicate()
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "steps.jsonl").exists()
    assert all(path.name.startswith(".partial-") for path in tmp_path.iterdir())
    assert run("--out", tmp_path / "out", overrides=("workload.requests=2",)).returncode == 0


@posix_only
@pytest.mark.parametrize("limited", ["results", "steps"])
def test_the_disk_is_full(limited: str, tmp_path: Path) -> None:
    """A file must not grow beyond 4 kB, in the place of a disk that is full."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)); "
    log = ("--steps", str(tmp_path / "steps.jsonl")) if limited == "steps" else ()
    done = run("--out", tmp_path / "out", *log, overrides=("workload.requests=200",), program=limit + PROGRAM)
    assert done.returncode == 2
    assert done.stderr.startswith("kvscope: ")
    assert "cannot be written: file too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_stalled(tmp_path: Path) -> None:
    """A request that never fits holds up all behind it, as in vLLM; who is left is named, and the results are kept."""
    trace = tmp_path / "trace.jsonl"
    requests = [("small", 0.0, 10), ("huge", 0.1, 1000), ("behind", 0.2, 10)]
    lines = [{"id": id, "arrival": t, "prompt_len": n, "output_len": 5} for id, t, n in requests]
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    files = ("--trace", trace, "--out", tmp_path / "out", "--steps", tmp_path / "steps.jsonl")
    done = run(*files, "--json", overrides=("memory.blocks=20", "scheduler.never_fits=wait"))
    assert done.returncode == 3
    assert "unfinished: huge, behind" in done.stderr
    summary = json.loads(done.stdout)
    assert summary["requests"]["finished"] == 1
    assert summary["requests"]["unfinished"] == 2
    assert json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8")) == summary
    status = pl.read_parquet(tmp_path / "out" / "requests.parquet")["status"].to_list()
    assert status == ["finished", "unfinished", "unfinished"]
    assert json.loads((tmp_path / "out" / "run.json").read_text(encoding="utf-8"))["stalled"] is True
    *_, last = (tmp_path / "steps.jsonl").read_text(encoding="utf-8").splitlines()
    assert json.loads(last)["stall"] is True


def test_a_pipe_gets_plain_text(tmp_path: Path) -> None:
    """No progress, no colors: the same bytes for a file, a pipe and a log."""
    done = run("--out", tmp_path / "out", overrides=("workload.requests=60",))
    assert done.returncode == 0
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "\r" not in done.stdout
    assert "60 of 60 finished" in done.stdout


def test_json_is_all_that_is_printed(tmp_path: Path) -> None:
    done = run("--out", tmp_path / "out", "--json", "--blocks", "--perfetto", overrides=("workload.requests=20",))
    assert done.returncode == 0
    assert done.stderr == ""
    assert json.loads(done.stdout) == json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))


@posix_only
@pytest.mark.parametrize("options", [(), ("--json",)])
def test_a_terminal_sees_progress(options: tuple[str, ...], tmp_path: Path) -> None:
    """How many requests are done, and how fast; with --json not even there."""
    import pty

    ours, theirs = pty.openpty()
    arguments = command("--out", tmp_path / "out", *options, overrides=("workload.requests=60",))
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=theirs, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    seen = b""
    try:
        while part := os.read(ours, 4096):
            seen += part
    except OSError:
        pass  # the other end is closed
    finally:
        os.close(ours)
        assert process.wait(60) == 0
    if options:
        assert seen == b""
    else:
        assert b"/60" in seen
        assert b"requests" in seen


@posix_only
def test_killed_while_results_are_replaced(tmp_path: Path) -> None:
    """Files of two runs side by side must not pass for the results of one: run.json is there only with all others."""
    options = ("--out", tmp_path / "out", "--force")
    assert run(*options, overrides=("workload.requests=2",)).returncode == 0
    dies = "import os; move = os.replace; os.replace = lambda a, b: (move(a, b), os.kill(os.getpid(), 9)); "
    done = run(*options, overrides=("workload.requests=3",), program=dies + PROGRAM)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "out" / "run.json").exists()

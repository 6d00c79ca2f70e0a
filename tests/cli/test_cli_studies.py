"""`kvscope hits` and `kvscope curve`: what they print and write, what they refuse, and how they end."""

import csv
import gzip
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from app.cli import main

ROOT = Path(__file__).parents[2]
TRACES = ROOT / "tests" / "data" / "traces"
Said = Callable[[], tuple[str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids").write_text("1\n2\n1\n3\n1\n", encoding="utf-8")
    (tmp_path / "ids.csv").write_text("1\n2\n", encoding="utf-8")
    (tmp_path / "ids.gz").write_bytes(gzip.compress(b"one\ntwo\none\n"))
    (tmp_path / "empty").touch()
    (tmp_path / "blank").write_text(" \n\n", encoding="utf-8")
    (tmp_path / "two").write_text("1\n2 3\n", encoding="utf-8")
    (tmp_path / "junk").write_bytes(b"\x7fELF\0\0\1,\n")
    (tmp_path / "latin").write_bytes(b"a\nb\xff\n")
    (tmp_path / "table").write_text("a,b\n1,2\n", encoding="utf-8")
    (tmp_path / "damaged.npy").write_bytes(b"\x93NUMPY\1")
    np.save(tmp_path / "reals.npy", np.ones(3))
    np.save(tmp_path / "none.npy", np.ones(0, int))
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    def both() -> tuple[str, str]:
        captured = capsys.readouterr()
        return captured.out, captured.err

    return both


def test_json(folder: Path, said: Said) -> None:
    assert main(["hits", str(TRACES / "mooncake.jsonl"), "--capacity", "1,9", "--order", "forward", "--json"]) == 0
    out, err = said()
    assert err == ""
    row = {"policy": "lru", "order": "forward", "requests": 3, "accesses": 6}
    assert json.loads(out) == [
        row | {"capacity": 1, "object_hits": 1, "prefix_hits": 1},
        row | {"capacity": 9, "object_hits": 2, "prefix_hits": 2},
    ]
    assert main(["hits", "ids.gz", "--capacity", "2", "--policy", "lru,fifo", "--json"]) == 0
    row = {"capacity": 2, "order": "forward", "requests": 3, "accesses": 3, "object_hits": 1, "prefix_hits": None}
    assert json.loads(said()[0]) == [{"policy": policy} | row for policy in ("lru", "fifo")]
    assert main(["curve", "ids", "--json"]) == 0
    curve = json.loads(said()[0])
    assert [(row["capacity"], row["object_hits"], row["prefix_hits"]) for row in curve] == [(1, 0, None), (2, 2, None)]


def test_table(folder: Path, said: Said) -> None:
    assert main(["hits", str(TRACES / "mooncake.jsonl"), "--capacity", "9"]) == 0
    out, _ = said()
    assert "3 requests, 6 blocks of 512 tokens, 4 of them distinct" in out
    for text in ("tail-first", "33.33%", "accesses/"):
        assert text in out
    assert main(["curve", "ids", "--sampled", "1"]) == 0
    assert "60.00%" in said()[0]


def test_sessions(folder: Path, said: Said) -> None:
    found = []
    for sessions in ("sequential", "stagger60"):
        trace = str(TRACES / "kv-cache-tester.jsonl")
        assert main(["hits", trace, "--capacity", "2", "--sessions", sessions, "--json"]) == 0
        found.append(json.loads(said()[0]))
    assert found[0] != found[1]


@pytest.mark.parametrize("command", [["hits", "--capacity", "1,2,3", "--policy", "lru,fifo"], ["curve"]])
@pytest.mark.parametrize("suffix", [".svg", ".png"])
def test_a_chart_and_its_data(command: list[str], suffix: str, folder: Path, said: Said) -> None:
    asked = [*command, str(TRACES / "mooncake.jsonl"), "--chart"]
    assert main([*asked, f"one{suffix}"]) == main([*asked, f"two{suffix}"]) == 0
    one, two = (folder / f"{name}{suffix}" for name in ("one", "two"))
    assert one.read_bytes().startswith(b"\x89PNG" if suffix == ".png" else b"<?xml")
    assert one.read_bytes() == two.read_bytes()
    if suffix == ".svg":
        for text in ("capacity (blocks of 512 tokens)", "lru, forward", "lru, tail-first", "ratio", "mooncake.jsonl"):
            assert f"<!-- {text}" in one.read_text(encoding="utf-8") or text == "ratio"
    with one.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["order"] for row in rows} == {"forward", "tail-first"}
    assert max(int(row["prefix_hits"]) for row in rows) == 2


def test_out_and_chart_may_share_their_data(folder: Path, said: Said) -> None:
    assert main(["hits", "ids", "--capacity", "1,2", "--out", "same.csv", "--chart", "same.svg"]) == 0
    lines = (folder / "same.csv").read_text(encoding="utf-8").splitlines()
    assert lines == [
        "policy,capacity,order,requests,accesses,object_hits,prefix_hits",
        "lru,1,forward,5,5,0,",
        "lru,2,forward,5,5,2,",
    ]


WRONG = {
    "hits none": "none: cannot be read: no such file or directory",
    "hits empty": "empty: is empty",
    "hits blank": "blank: is empty",
    "hits junk --format ids": "junk: is binary, and ids come as text, one a line, or as a .npy file",
    "hits latin": "latin, line 2: byte 0xff is not UTF-8",
    "hits two": 'two, line 2: "2 3" is more than the one id of a line',
    "hits table": "table: is in no known trace format, its columns or keys are ",
    "hits damaged.npy": "damaged.npy: is damaged, its NumPy array cannot be read",
    "hits reals.npy": "reals.npy: holds float64 of shape (3,), and ids are integers in one dimension",
    "hits none.npy": "none.npy: holds no id",
    "hits ids --capacity abc": '--capacity must be whole numbers of blocks with commas between them, not "abc"',
    "hits ids --capacity 0": "a capacity must be a whole number of blocks from 1 to 1,000,000,000, not 0",
    "hits ids --policy lruu": 'no eviction policy is called "lruu"; did you mean lru?',
    "hits ids --policy lru:x=1": '"lru:x=1": lru has no parameter "x"; it has none',
    "hits ids --admission some": 'no admission policy is called "some"; there are everything',
    "hits ids --order backward": 'an order must be one of forward, tail-first, not "backward"',
    "hits ids --format csv": "format must be one of auto, ids, kvscope, ",
    "hits ids --format mooncake": "ids, line 1: expected a JSON object, found 1",
    "hits ids --chart a.pdf": "a.pdf: a chart's name must end in .svg or .png",
    "hits ids --chart no/a.svg": "no/a.svg: cannot be written: no such file or directory",
    "hits ids.csv --chart ids.svg": "ids.csv: would be overwritten, and it is what is read; choose another name",
    "hits ids --out .": ".: is a folder, and a file is to be written there",
    "hits VIDUR": "is a trace of the format vidur whose prompts have no block hashes of one block size",
    "hits SERVEGEN --format ids": "is a folder or an archive, and ids come in one file",
    "curve ids --sampled 0": "the share of contents to sample must be above 0 and at most 1, not 0.0",
    "curve ids --sampled 1e-9": "a sample of 1e-09 holds none of 5 accesses; take a larger share",
    "curve ids --order x": 'an order must be one of forward, tail-first, not "x"',
    "curve ids --sessions x": 'sessions must be one of sequential, stagger60, not "x"',
    "curve none": "none: cannot be read: no such file or directory",
}


@pytest.mark.parametrize("line", WRONG)
def test_refused_in_a_sentence(line: str, folder: Path, said: Said) -> None:
    before = sorted(folder.iterdir())
    argv = line.replace("VIDUR", str(TRACES / "vidur.csv")).replace("SERVEGEN", str(TRACES / "servegen")).split()
    if argv[0] == "hits" and "--capacity" not in argv:
        argv += ["--capacity", "1"]
    assert main(argv) == 2
    out, err = said()
    assert out == ""
    assert err.count("\n") == 1
    assert WRONG[line] in err
    assert sorted(folder.iterdir()) == before


def test_a_capacity_is_needed(folder: Path, said: Said) -> None:
    assert main(["hits", "ids"]) == 2
    assert "--capacity" in said()[1]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_policy_from_a_file_in_several_processes(folder: Path, said: Said) -> None:
    rows = []
    for jobs in ("1", "2"):
        policy = f"lru,{ROOT / 'examples' / 'my_policy.py'}"
        assert main(["hits", "ids", "--capacity", "1,2", "--policy", policy, "--jobs", jobs, "--json"]) == 0
        rows.append(json.loads(said()[0]))
    assert [row["policy"] for row in rows[1]] == ["lru", "lru", "least-hit", "least-hit"]
    assert rows[0] == rows[1]


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_interrupted(jobs: str, tmp_path: Path) -> None:
    """Ctrl+C, which all processes of a terminal hear: nothing is left, and one sentence is said."""
    ids = np.random.default_rng(0).integers(0, 300_000, 600_000)
    np.save(tmp_path / "ids.npy", ids)
    capacities = ",".join(map(str, range(1000, 100_000, 1000)))
    process = subprocess.Popen(
        [sys.executable, ROOT / "main.py", "hits", "ids.npy", "--capacity", capacities, "--jobs", jobs, "--out", "out"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) == 1 and time.monotonic() < deadline:  # until it is about to read
        time.sleep(0.05)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=30)  # until no worker has its end of the pipes open
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert (process.returncode, out) == (130, "")
    assert err == "kvscope: interrupted; what was written is whole\n"
    assert [path.name for path in tmp_path.iterdir()] == ["ids.npy"]

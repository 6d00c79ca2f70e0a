"""One small hand-made trace per format, with the columns worked out by hand."""

import gzip
import io
import math
import tarfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from simcore.errors import InputError
from simcore.scenario.distributions import TraceFormat
from simcore.workload.columns import PRIVATE, VOCABULARY, Workload
from simcore.workload.traces import FORMATS, read_trace

TRACES = Path(__file__).parents[1] / "data" / "traces"

Piece = tuple[int, int, int]
"""source, start, length"""


@dataclass(frozen=True)
class Sample:
    file: str
    format: str
    arrival: list[float]
    prompt_len: list[int]
    output_len: list[int]
    ids: list[str]
    block: int | None = None
    runs: list[list[Piece]] = field(default_factory=list)


SAMPLES = [
    Sample("azure.csv", "azure", [0, 0.1000001, 20576.1], [4800, 3200, 110], [10, 8, 27], ["r0", "r1", "r2"]),
    Sample("azure2024.csv", "azure", [0, 1.000001], [2100, 2400], [5, 6], ["r0", "r1"]),
    Sample("burstgpt.csv", "burstgpt", [5, 45.5], [400, 1000], [20, 0], ["r0", "r1"]),
    Sample("vidur.csv", "vidur", [0, 4.25], [300, 400], [40, 100], ["r0", "r1"]),
    Sample("vidur_lengths.csv", "vidur", [math.nan, math.nan], [3700, 2000], [50, 160], ["r0", "r1"]),
    Sample(
        "mooncake.jsonl",
        "mooncake",
        [0, 0.027, 3.5],
        [1100, 600, 1024],
        [500, 7, 0],
        ["r0", "r2", "r1"],
        512,
        [[(1, 0, 512), (2, 0, 512), (3, 0, 76)], [(1, 0, 512)], [(1, 0, 512), (4, 0, 512)]],
    ),
    Sample(
        "bailian.jsonl",
        "bailian",
        [0.114, 60.5],
        [20, 33],
        [110, 1],
        ["r0", "r1"],
        16,
        [[(1, 0, 16), (2, 0, 4)], [(1, 0, 16), (3, 0, 16), (4, 0, 1)]],
    ),
    Sample(
        "kv-cache-tester.jsonl",
        "kv-cache-tester",
        [0, 10, 30, 30, 30, 70],  # the streamed request would come at 12.5 s, but its list has it after 30 s
        [130, 64, 128, 200, 63, 64],
        [5, 6, 7, 8, 9, 0],
        ["r0", "r1", "r2", "r3", "r4", "r5"],
        64,
        [
            [(1, 0, 64), (2, 0, 64)],
            [(3, 0, 64)],
            [(3, 0, 64), (4, 0, 64)],
            [(1, 0, 64), (2, 0, 64), (5, 0, 64)],
            [],
            [(6, 0, 64)],
        ],
    ),
    Sample(
        "llmservingsim.jsonl",
        "llmservingsim",
        [0.046926808, 0.347938951],
        [6, 4],
        [531, 769],
        ["r0", "r1"],
        None,
        [[], [(VOCABULARY, 5, 3), (VOCABULARY, 3, 1)]],
    ),
    Sample(
        "kvscope.jsonl",
        "kvscope",
        [0.25, 0.5, 1, 2],
        [50, 6, 17, 9],
        [1, 3, 4, 2],
        ["hashes", "ids", "segments", "private"],
        None,
        [
            [(1, 0, 16), (2, 0, 16), (3, 0, 16)],
            [(VOCABULARY, 7, 3), (VOCABULARY, 9, 2), (VOCABULARY, 2, 1)],
            [(5, 0, 5), (6, 0, 12)],
            [],
        ],
    ),
]


def check(workload: Workload, sample: Sample) -> None:
    assert workload.format == sample.format
    np.testing.assert_array_equal(workload.arrival, sample.arrival)
    np.testing.assert_array_equal(workload.prompt_len, sample.prompt_len)
    np.testing.assert_array_equal(workload.output_len, sample.output_len)
    assert [workload.id_of(row) for row in range(len(workload))] == sample.ids
    assert workload.block == sample.block
    assert workload.skipped == 0
    if sample.runs:
        assert workload.runs
        assert [workload.runs.of(row) for row in range(len(workload))] == sample.runs
    else:
        assert workload.runs is None


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.file)
@pytest.mark.parametrize("format", ["auto", "named"])
def test_a_sample_of_each_format(sample: Sample, format: str) -> None:
    check(read_trace(TRACES / sample.file, sample.format if format == "named" else "auto"), sample)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.file)
def test_content_tells_what_a_name_does_not(sample: Sample, tmp_path: Path) -> None:
    """A zipped file, with Windows line ends, a byte order mark, blank lines and a name that lies."""
    lines = (TRACES / sample.file).read_bytes().split(b"\n")
    path = tmp_path / "trace.tar"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + b"\r\n\r\n".join(lines)))
    check(read_trace(path), sample)


def test_every_format_that_a_scenario_may_name_has_a_reader() -> None:
    assert {"auto", *FORMATS} == set(get_args(TraceFormat))
    assert {sample.format for sample in SAMPLES} | {"servegen"} == set(FORMATS)


def test_sessions_sixty_seconds_apart() -> None:
    """By time, then line, then place in the list; a sub-agent's clock starts when it does."""
    workload = read_trace(TRACES / "kv-cache-tester.jsonl", sessions="stagger60")
    np.testing.assert_array_equal(workload.arrival, [0, 10, 12.5, 30, 60, 100])
    assert workload.ids == ["r0", "r1", "r3", "r2", "r4", "r5"]
    assert workload.runs
    assert workload.runs.of(2) == [(1, 0, 64), (2, 0, 64), (5, 0, 64)]


def test_what_only_the_native_format_tells() -> None:
    workload = read_trace(TRACES / "kvscope.jsonl")
    assert workload.priority is not None
    assert workload.output_source is not None
    assert workload.priority.tolist() == [2, 0, 0, 0]
    assert workload.output_source.tolist() == [PRIVATE, PRIVATE, 4, PRIVATE]


def test_a_native_trace_of_hashes_has_blocks(tmp_path: Path) -> None:
    """The same hash of another block size names other tokens."""
    path = tmp_path / "trace.jsonl"
    line = '{"id": "%s", "arrival": 0, "output_len": 1, "prompt_len": 40, "prefix_hashes": [1, 2], "hash_block": %d}\n'
    path.write_text(line % ("a", 32) + line % ("b", 32), encoding="utf-8")
    workload = read_trace(path)
    assert workload.block == 32
    assert workload.runs
    assert workload.runs.of(0) == workload.runs.of(1) == [(1, 0, 32), (2, 0, 8)]
    path.write_text(line % ("a", 32) + line % ("b", 20), encoding="utf-8")
    workload = read_trace(path)
    assert workload.block is None
    assert workload.runs
    assert workload.runs.of(1) == [(3, 0, 20), (4, 0, 20)]


def test_broken_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    """The ids go on counting the rows of the file."""
    path = tmp_path / "trace.csv"
    rows = ["1.5,10,1", "oops", "0.5,11,1", "2.5,-1,1", "3.5,12,nan", "4.5,13,1", '"', "5.5,1\xff"]
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows]), encoding="latin-1")
    workload = read_trace(path, skip_bad_lines=True)
    assert workload.skipped == 5
    assert workload.ids == ["r2", "r0", "r5"]
    assert workload.arrival.tolist() == [0.5, 1.5, 4.5]
    with pytest.raises(InputError, match="line 3: it has 1 fields"):
        read_trace(path)


def test_a_line_passed_over_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    good = '{"id": "%s", "arrival": 0, "output_len": 1, "prompt_segments": [["a", 3]]}\n'
    bad = '{"id": "b", "arrival": 0, "output_len": 0, "prompt_segments": [["b", 3]]}\n'
    path.write_text(good % "a" + bad + good % "b", encoding="utf-8")
    workload = read_trace(path, skip_bad_lines=True)
    assert (workload.skipped, workload.ids) == (1, ["a", "b"])
    assert workload.runs
    assert [workload.runs.of(row) for row in (0, 1)] == [[(1, 0, 3)], [(1, 0, 3)]]


def test_long_tables_are_read_like_short_ones(tmp_path: Path) -> None:
    """More rows than are read at once, with one to pass over in the middle."""
    path = tmp_path / "trace.csv"
    rows = [f"{row / 8},{row + 1},{row % 7}" for row in range(20_000)]
    rows[9_000] = "x"
    path.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *rows]), encoding="utf-8")
    workload = read_trace(path, skip_bad_lines=True)
    kept = np.delete(np.arange(20_000), 9_000)
    np.testing.assert_array_equal(workload.arrival, kept / 8)
    np.testing.assert_array_equal(workload.prompt_len, kept + 1)
    np.testing.assert_array_equal(workload.output_len, kept % 7)
    assert workload.ids == [f"r{row}" for row in kept]


def test_servegen_from_a_folder_or_an_archive(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(TRACES / "servegen", "data/language/tiny")
    path = tmp_path / "servegen.csv"
    path.write_bytes(packed.getvalue())
    with tarfile.open(path) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    of_folder = read_trace(TRACES / "servegen", span=(0.0, 1800.0))
    for other in (read_trace(path, span=(0.0, 1800.0)), read_trace(tmp_path / "unpacked", span=(0.0, 1800.0))):
        for column in ("arrival", "prompt_len", "output_len"):
            np.testing.assert_array_equal(getattr(of_folder, column), getattr(other, column))

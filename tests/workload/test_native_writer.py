"""The native format: what is written reads back as the same requests with the same tokens in common."""

import gzip
import json
from collections.abc import Hashable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.scenario.workload import WorkloadSection
from simcore.workload import Workload, make_workload, write_native
from simcore.workload.columns import PRIVATE, VOCABULARY, Runs
from simcore.workload.traces import read_trace

Run = tuple[int, int, int]


def workload(prompts: list[tuple[list[Run], int]], outputs: list[int] | None = None, **columns: Any) -> Workload:
    """Requests with these runs (source, start, length) and so many private tokens after them."""
    runs = [run for named, _ in prompts for run in named]
    source, start, length = np.array(runs, np.int64).reshape(-1, 3).T
    return Workload(
        format="synthetic",
        arrival=np.arange(len(prompts)) / 3,
        prompt_len=np.array([private + sum(run[2] for run in named) for named, private in prompts]),
        output_len=np.arange(len(prompts)) + 1,
        runs=Runs(np.cumsum([0, *(len(named) for named, _ in prompts)]), source, length, start),
        output_source=None if outputs is None else np.array(outputs),
        **columns,
    )


def tokens(workload: Workload) -> list[list[int]]:
    """The tokens of each request, numbered as they first appear."""
    known: dict[Hashable, int] = {}
    rows = []
    for row in range(len(workload)):
        named = [] if workload.runs is None else workload.runs.of(row)
        names: list[Hashable] = [(s, start + i) for s, start, length in named for i in range(length)]
        names += [("private", row, i) for i in range(len(names), int(workload.prompt_len[row]))]
        source = PRIVATE if workload.output_source is None else int(workload.output_source[row])
        who: Hashable = ("private output", row) if source == PRIVATE else source
        names += [(who, i) for i in range(int(workload.output_len[row]))]
        rows.append([known.setdefault(name, len(known)) for name in names])
    return rows


def again(workload: Workload, name: str = "workload.jsonl") -> Workload:
    """Written and read."""
    with TemporaryDirectory() as folder:
        write_native(workload, Path(folder) / name)
        return read_trace(Path(folder) / name)


def assert_same(read: Workload, written: Workload) -> None:
    assert read.format == "kvscope"
    assert read.arrival.tolist() == written.arrival.tolist()
    assert read.prompt_len.tolist() == written.prompt_len.tolist()
    assert read.output_len.tolist() == written.output_len.tolist()
    assert [read.id_of(row) for row in range(len(read))] == [written.id_of(row) for row in range(len(written))]
    assert tokens(read) == tokens(written)


LENGTH = st.integers(1, 20)
SEGMENTS = st.lists(st.tuples(st.integers(1, 5), st.just(0), LENGTH), max_size=5)
LITERALS = st.lists(st.tuples(st.just(VOCABULARY), st.integers(0, 9), LENGTH), min_size=1, max_size=4)
PROMPTS = st.one_of(
    st.tuples(SEGMENTS, st.integers(0, 9)).filter(lambda prompt: bool(prompt[0]) or prompt[1] > 0),
    st.tuples(LITERALS, st.just(0)),
)


@given(st.lists(st.tuples(PROMPTS, st.sampled_from([PRIVATE, 1, 4, 7]), st.integers(-3, 3)), min_size=1, max_size=8))
def test_any_workload_of_segments_and_token_ids(rows: list[tuple[tuple[list[Run], int], int, int]]) -> None:
    prompts, outputs, priority = (list(column) for column in zip(*rows, strict=True))
    written = workload(prompts, outputs, priority=np.array(priority))
    read = again(written)
    assert_same(read, written)
    assert (np.zeros(len(rows)) if read.priority is None else read.priority).tolist() == priority


@given(st.lists(st.tuples(st.lists(st.integers(1, 9), max_size=4), st.integers(0, 16)), min_size=1, max_size=8))
def test_block_hashes_stay_block_hashes(rows: list[tuple[list[int], int]]) -> None:
    """Full blocks and a private rest; where there is no rest, the last block is cut."""
    prompts = [([(hash, 0, 16) for hash in hashes], rest) for hashes, rest in rows if hashes or rest]
    cut = [(hash, 0, 16) for hash in (1, 2)]
    written = workload([*prompts, ([*cut, (3, 0, 5)], 0)], block=16)
    read = again(written)
    assert_same(read, written)
    assert read.block == 16
    assert read.runs is not None
    assert written.runs is not None
    assert read.runs.length.tolist() == written.runs.length.tolist()


def test_the_lines(tmp_path: Path) -> None:
    prompts: list[tuple[list[Run], int]] = [([], 3), ([(2, 0, 4)], 1), ([(0, 5, 2), (0, 1, 1)], 0)]
    write_native(workload(prompts, [PRIVATE, 9, PRIVATE]), tmp_path / "w.jsonl")
    lines = (tmp_path / "w.jsonl").read_text(encoding="utf-8").splitlines()
    segments = [[2, 4], ["private 1", 1]]
    assert [json.loads(line) for line in lines] == [
        {"id": "r0", "arrival": 0.0, "prompt_len": 3, "output_len": 1},
        {"id": "r1", "arrival": 1 / 3, "prompt_segments": segments, "output_len": 2, "output_segment": 9},
        {"id": "r2", "arrival": 2 / 3, "prompt_token_ids": [5, 6, 1], "output_len": 3},
    ]


def test_gzip(tmp_path: Path) -> None:
    written = make_workload(WorkloadSection(requests=50), 0)
    assert_same(again(written, "w.jsonl.gz"), written)
    for name in ("a.jsonl.gz", "b.jsonl.gz", "a.jsonl"):
        write_native(written, tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == (tmp_path / "a.jsonl").read_bytes()


def test_shared_system_prompts(tmp_path: Path) -> None:
    keys = {"requests": 40, "conversations": {"turns": {"distribution": "fixed", "turns": 1}, "system_prompts": 3}}
    written = make_workload(WorkloadSection.model_validate(keys), 0)
    assert_same(again(written), written)


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"after": np.array([-1, 0])}, "that a request waits for another one's end"),
        ({"samples": np.array([1, 2])}, "how many samples are wanted"),
        ({"arrival": np.array([np.nan, np.nan])}, "that a request's arrival is unknown"),
        ({"output_len": np.array([1, 0])}, "that a request has no prompt or no output"),
        ({"prompt_len": np.array([0, 1])}, "that a request has no prompt or no output"),
    ],
)
def test_what_has_no_words(tmp_path: Path, wrong: dict[str, Any], what: str) -> None:
    columns = {"arrival": np.zeros(2), "prompt_len": np.ones(2, int), "output_len": np.ones(2, int)}
    with pytest.raises(InputError, match=rf'w\.jsonl" cannot be written in the format kvscope, .* {what}\.$'):
        write_native(Workload("synthetic", **(columns | wrong)), tmp_path / "w.jsonl")
    assert not (tmp_path / "w.jsonl").exists()


@pytest.mark.parametrize(
    ("prompt", "outputs", "what"),
    [
        (([(1, 3, 2)], 0), None, "that a prompt holds another part of a segment than its beginning"),
        (([(0, 3, 2)], 1), None, "that a prompt is token ids in part"),
        (([(0, 3, 2), (1, 0, 2)], 0), None, "that a prompt is token ids in part"),
        (([(1, 0, 2)], 0), [VOCABULARY], "which token ids an output has"),
    ],
)
def test_tokens_that_have_no_words(
    tmp_path: Path, prompt: tuple[list[Run], int], outputs: list[int] | None, what: str
) -> None:
    with pytest.raises(InputError, match=what):
        write_native(workload([prompt], outputs), tmp_path / "w.jsonl")


@pytest.mark.parametrize("name", [".", "missing/w.jsonl"])
def test_a_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match="cannot be written: "):
        write_native(make_workload(WorkloadSection(requests=1), 0), tmp_path / name)


@pytest.mark.parametrize(
    "name", ["mooncake_conversation_trace.first2400s.jsonl.gz", "kv_cache_tester_traces0001-0063.jsonl.gz"]
)
def test_published_traces_written_in_the_native_format(shared: Path, name: str) -> None:
    trace = make_workload(WorkloadSection(trace=shared / "traces" / name, limit=300), 0)
    read = again(trace)
    assert read.block == trace.block
    assert read.prompt_len.tolist() == trace.prompt_len.tolist()
    assert read.runs is not None
    assert trace.runs is not None
    assert read.runs.offsets.tolist() == trace.runs.offsets.tolist()
    assert read.runs.length.tolist() == trace.runs.length.tolist()
    pairs = set(zip(read.runs.source.tolist(), trace.runs.source.tolist(), strict=True))
    assert len(pairs) == len(np.unique(read.runs.source)) == len(np.unique(trace.runs.source)), "one name for one name"

"""Any native workload is read as it was written, and anything at all is a workload or an InputError."""

import gzip
import io
import json
import tarfile
from collections.abc import Hashable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcore.errors import InputError
from simcore.workload.columns import PRIVATE, Workload
from simcore.workload.traces import FORMATS, read_trace, trace_info

TRACES = Path(__file__).parents[1] / "data" / "traces"
FILES = sorted(path for path in TRACES.iterdir() if path.is_file())

Token = tuple[Hashable, ...]

names = st.one_of(st.integers(0, 4), st.sampled_from(["0", "a", "é"]))


@st.composite
def prompts(draw: st.DrawFn) -> dict[str, Any]:
    match draw(st.sampled_from(["ids", "private", "hashes", "segments"])):
        case "ids":
            return {"prompt_token_ids": draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))}
        case "private":
            return {"prompt_len": draw(st.integers(1, 30))}
        case "hashes":
            block, prompt_len = draw(st.integers(1, 5)), draw(st.integers(1, 30))
            hashes = draw(st.lists(names, max_size=-(-prompt_len // block)))
            return {"prompt_len": prompt_len, "prefix_hashes": hashes, "hash_block": block}
        case _:
            pieces = st.lists(st.tuples(names, st.integers(0, 5)), max_size=5)
            return {"prompt_segments": draw(pieces.filter(lambda pieces: any(length for _, length in pieces)))}


requests = st.builds(
    lambda arrival, output_len, prompt, extra: {"arrival": arrival, "output_len": output_len, **prompt, **extra},
    st.floats(0, 1e9),
    st.integers(1, 9),
    prompts(),
    st.fixed_dictionaries({}, optional={"priority": st.integers(-9, 9), "output_segment": names}),
)


def written(row: int, request: dict[str, Any]) -> list[Token]:
    """The names of all tokens that a line of the native format stands for."""
    tokens: list[Token] = [("id", token) for token in request.get("prompt_token_ids", [])]
    for segment, length in request.get("prompt_segments", []):
        tokens += [("segment", segment, place) for place in range(length)]
    if "prompt_len" in request:
        block = request.get("hash_block", 16)
        for name in request.get("prefix_hashes", []):
            tokens += [("hash", block, name, place) for place in range(block)]
        tokens = tokens[: request["prompt_len"]]
        tokens += [("private", row, place) for place in range(len(tokens), request["prompt_len"])]
    segment = request.get("output_segment")
    output = ("segment", segment) if segment is not None else ("output", row)
    return tokens + [(*output, place) for place in range(request["output_len"])]


def read(workload: Workload, row: int) -> list[Token]:
    """The names of all tokens of a request."""
    runs = workload.runs.of(row) if workload.runs else []
    tokens: list[Token] = [(source, start + place) for source, start, length in runs for place in range(length)]
    tokens += [("private", row, place) for place in range(len(tokens), int(workload.prompt_len[row]))]
    source = PRIVATE if workload.output_source is None else int(workload.output_source[row])
    output = ("output", row) if source == PRIVATE else (source,)
    return tokens + [(*output, place) for place in range(int(workload.output_len[row]))]


def numbered(requests: list[list[Token]]) -> list[list[int]]:
    """Tokens in the order of their first appearance: equal lists, equal tokens."""
    numbers: dict[Token, int] = {}
    return [[numbers.setdefault(token, len(numbers)) for token in tokens] for tokens in requests]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("traces") / "trace"


@settings(max_examples=300)
@given(st.lists(requests, min_size=1, max_size=8), st.booleans())
def test_what_is_written_is_read(path: Path, requests: list[dict[str, Any]], zipped: bool) -> None:
    lines = [json.dumps({"id": f"request {row}", **request}) for row, request in enumerate(requests)]
    content = "\n".join(lines).encode()
    path.write_bytes(gzip.compress(content, mtime=0) if zipped else content)
    workload = read_trace(path)

    order = sorted(range(len(requests)), key=lambda row: requests[row]["arrival"])
    assert [workload.id_of(row) for row in range(len(workload))] == [f"request {row}" for row in order]
    assert workload.arrival.tolist() == [requests[row]["arrival"] for row in order]
    assert workload.output_len.tolist() == [requests[row]["output_len"] for row in order]
    expected = [written(row, requests[row]) for row in order]
    found = [read(workload, row) for row in range(len(workload))]
    assert numbered(found) == numbered(expected)
    priority = [0] * len(order) if workload.priority is None else workload.priority.tolist()
    assert priority == [requests[row].get("priority", 0) for row in order]


@settings(max_examples=300)
@given(st.lists(prompts(), min_size=1, max_size=6))
def test_runs_are_canonical(path: Path, prompts: list[dict[str, Any]]) -> None:
    """No run is empty, and none goes on where the one before it ends: equal tokens, equal runs."""
    lines = [
        json.dumps({"id": str(row), "arrival": 0, "output_len": 1, **prompt}) for row, prompt in enumerate(prompts)
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    workload = read_trace(path)
    if workload.runs is None:
        return
    for row in range(len(workload)):
        runs = workload.runs.of(row)
        assert all(length > 0 for _, _, length in runs)
        for (source, start, length), (next_source, next_start, _) in pairwise(runs):
            assert (source, start + length) != (next_source, next_start)


def same(one: Workload, other: Workload) -> None:
    assert trace_info(one) == trace_info(other)
    np.testing.assert_array_equal(one.arrival, other.arrival)
    np.testing.assert_array_equal(one.prompt_len, other.prompt_len)


@settings(max_examples=400)
@given(st.data())
def test_garbage(path: Path, data: st.DataObject) -> None:
    """Bytes that are damaged, or were never a trace, plain or zipped: a workload or an InputError, and both alike."""
    content = data.draw(st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode), damaged()))
    format = data.draw(st.sampled_from(["auto", *FORMATS]))
    skip_bad_lines = data.draw(st.booleans())
    results: list[Workload | str] = []
    for packed in (content, gzip.compress(content, mtime=0)):
        path.write_bytes(packed)
        try:
            results.append(read_trace(path, format, skip_bad_lines=skip_bad_lines))
        except InputError as error:
            results.append(str(error))
    assert not any("\n" in result for result in results if isinstance(result, str))
    if isinstance(results[0], Workload):
        assert isinstance(results[1], Workload)
        same(results[0], results[1])
    elif not content.startswith(b"\x1f\x8b"):
        assert results[0] == results[1]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A sample of some format with a few bytes changed, left out or put in."""
    content = bytearray(draw(st.sampled_from(FILES)).read_bytes())
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(content)))
        content[place : place + draw(st.integers(0, 3))] = draw(st.binary(max_size=3) | st.sampled_from([b"-", b"e9"]))
    return bytes(content)


@settings(max_examples=200)
@given(st.data())
def test_damaged_archives(path: Path, data: st.DataObject) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(TRACES / "servegen", "tiny")
    content = bytearray(packed.getvalue().rstrip(b"\0"))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content) - 1))
        content[place : place + data.draw(st.integers(0, 2))] = data.draw(st.binary(max_size=2))
    path.write_bytes(bytes(content))
    with suppress(InputError):
        read_trace(path, span=(0.0, 1800.0))

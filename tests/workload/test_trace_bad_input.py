"""Every class of bad input, and the one sentence that it gets."""

import gzip
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest

from simcore.errors import InputError
from simcore.workload.traces import FORMATS, read_trace

TRACES = Path(__file__).parents[1] / "data" / "traces"

HEADERS = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens",
    "burstgpt": "Timestamp,Request tokens,Response tokens",
    "vidur": "arrived_at,num_prefill_tokens,num_decode_tokens",
}
TIMES = {"azure": "2023-11-16 18:17:03.5", "burstgpt": "5", "vidur": "5"}
OBJECTS: dict[str, dict[str, Any]] = {
    "kvscope": {"id": "a", "arrival": 0, "output_len": 1, "prompt_len": 40},
    "mooncake": {"timestamp": 0, "input_length": 1000, "output_length": 5, "hash_ids": [1, 2]},
    "bailian": {
        "chat_id": 1,
        "parent_chat_id": -1,
        "timestamp": 0,
        "input_length": 20,
        "output_length": 5,
        "hash_ids": [1, 2],
    },
    "llmservingsim": {"input_toks": 3, "output_toks": 4, "arrival_time_ns": 5},
    "kv-cache-tester": {
        "block_size": 64,
        "requests": [{"t": 0, "type": "n", "in": 130, "out": 1, "hash_ids": [1, 2]}],
    },
}
LENGTH = {
    "kvscope": "prompt_len",
    "mooncake": "input_length",
    "bailian": "input_length",
    "llmservingsim": "input_toks",
    "kv-cache-tester": "in",
}
TIME = {
    "kvscope": "arrival",
    "mooncake": "timestamp",
    "bailian": "timestamp",
    "llmservingsim": "arrival_time_ns",
    "kv-cache-tester": "t",
}
TABLES, JSON_LINES = sorted(HEADERS), sorted(OBJECTS)


def line(format: str, **changes: Any) -> str:
    """A good line of JSON with some keys changed, or left out by `...`."""
    value = json.loads(json.dumps(OBJECTS[format]))
    if format == "kvscope" and changes:
        value["id"] = "b"
    target = value["requests"][0] if format == "kv-cache-tester" and changes.keys() & {"t", "in", "out"} else value
    target.update(changes)
    for key in [key for key, changed in changes.items() if changed is ...]:
        del target[key]
    return json.dumps(value)


def table(format: str, time: str | None = None, prompt: str = "10", output: str = "2") -> bytes:
    """A good row, and one with some fields changed."""
    rows = [HEADERS[format], f"{TIMES[format]},10,2", f"{TIMES[format] if time is None else time},{prompt},{output}"]
    return "\n".join(rows).encode()


def sentence(tmp_path: Path, content: bytes, format: str = "auto", **options: Any) -> str:
    """What is said of a file with some content, without its path."""
    path = tmp_path / "trace"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_trace(path, format, **options)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    return text.removeprefix(str(path))


WHOLE = "must be a whole number from 0 to 2147483647, not "


@pytest.mark.parametrize("format", TABLES)
@pytest.mark.parametrize(
    "bad",
    ["-1", "1.5", "nan", "inf", "", "1_0", "ten", "2147483648", "9" * 5000, "True"],
    ids=lambda bad: repr(bad)[:20],
)
def test_a_length_in_a_table(format: str, bad: str, tmp_path: Path) -> None:
    columns = HEADERS[format].split(",")
    assert sentence(tmp_path, table(format, prompt=bad)).startswith(f", line 3: {columns[1]} {WHOLE}")
    assert sentence(tmp_path, table(format, output=bad)).startswith(f", line 3: {columns[2]} {WHOLE}")


@pytest.mark.parametrize("format", TABLES)
@pytest.mark.parametrize(
    "bad",
    ["-1", "nan", "inf", "", "1e999", "soon", "2023-02-30 00:00:00", "2023-11-16 24:00:00"],
    ids=lambda bad: repr(bad)[:20],
)
def test_a_time_in_a_table(format: str, bad: str, tmp_path: Path) -> None:
    allowed = "a time like 2023-11-16 18:17:03.9799600" if format == "azure" else "a number from 0 to 10000000000 s"
    column = HEADERS[format].split(",")[0]
    assert sentence(tmp_path, table(format, time=bad)).startswith(f", line 3: {column} must be {allowed}, not ")


@pytest.mark.parametrize("format", TABLES)
def test_the_shape_of_a_table(format: str, tmp_path: Path) -> None:
    header = HEADERS[format].encode()
    last = header.split(b",")[2]
    assert sentence(tmp_path, header) == ": holds no request, it has no rows"
    assert sentence(tmp_path, header + b"\n1,2") == ", line 2: it has 2 fields where the header has 3"
    assert sentence(tmp_path, header + b'\n"1,2,3') == ", line 2: it is not valid CSV (unexpected end of data)"
    assert sentence(tmp_path, header + b"\n1,2,\xff") == ", line 2: byte 0xff at place 5 is not UTF-8"
    wrong = header.replace(last, b"Tokens") + b"\n1,2,3"
    assert f"column '{last.decode()}' is missing, the columns are" in sentence(tmp_path, wrong)
    assert f"column '{last.decode()}' is missing, the columns are" in sentence(tmp_path, wrong, format)
    twice = header + b"," + last + b"\n1,2,3,4"
    assert sentence(tmp_path, twice).startswith(f", line 1: column '{last.decode()}' is there more than once")


@pytest.mark.parametrize("format", JSON_LINES)
@pytest.mark.parametrize(
    "bad",
    [-1, 1.5, float("nan"), float("inf"), True, None, "12", [], {}, 2**31, 10**400],
    ids=lambda bad: repr(bad)[:20],
)
def test_a_length_in_json(format: str, bad: Any, tmp_path: Path) -> None:
    key = LENGTH[format]
    least = 1 if format == "kvscope" else 0
    content = f"{line(format)}\n{line(format, **{key: bad})}".encode()
    said = sentence(tmp_path, content)
    assert said.startswith(f", line 2: {key} must be a whole number from {least} to 2147483647, not ")


@pytest.mark.parametrize("format", JSON_LINES)
@pytest.mark.parametrize(
    "bad", [-1, float("nan"), float("inf"), True, None, "12", 10**400], ids=lambda bad: repr(bad)[:20]
)
def test_a_time_in_json(format: str, bad: Any, tmp_path: Path) -> None:
    key = TIME[format]
    content = f"{line(format)}\n{line(format, **{key: bad})}".encode()
    assert sentence(tmp_path, content).startswith(f", line 2: {key} must be a number from 0 to 1000000000")


@pytest.mark.parametrize("format", JSON_LINES)
def test_the_shape_of_json_lines(format: str, tmp_path: Path) -> None:
    good, key = line(format).encode() + b"\n", LENGTH[format]
    nested = b'{"x":' * 100_000 + b"1" + b"}" * 100_000
    for bad, said in [
        (line(format, **{key: ...}).encode(), "in is missing" if key == "in" else None),
        (b"{", "it is not valid JSON (Expecting property name enclosed in double quotes at column 2)"),
        (b"oops", "it is not valid JSON (Expecting value at column 1)"),
        (b'["a"]', "expected a JSON object, found a list"),
        (b'{"a": \xff}', "byte 0xff at place 7 is not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "it has an integer of more digits than Python reads"),
        (nested, "its JSON is nested too deeply"),
        (b"[" * 100_000, "its JSON is nested too deeply"),
    ]:
        found = sentence(tmp_path, good + bad)
        assert found.startswith(", line 2: ")
        if said:
            assert found == f", line 2: {said}"
    assert sentence(tmp_path, nested) == ", line 1: its JSON is nested too deeply"


HASHES = "must be a list of block hashes, not"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            line("mooncake", hash_ids=[1, 2, 3]),
            "hash_ids has 3 hashes, but a prompt of 1000 tokens has 2 blocks of 512",
        ),
        (line("bailian", hash_ids=[1, 2, 3]), "hash_ids has 3 hashes, but a prompt of 20 tokens has 2 blocks of 16"),
        (line("mooncake", hash_ids="12"), f'hash_ids {HASHES} "12"'),
        (line("mooncake", hash_ids=[1, True]), f"hash_ids {HASHES} a list"),
        (line("mooncake", hash_ids=[1, None]), f"hash_ids {HASHES} a list"),
        (line("mooncake", hash_ids=[1, 2.0]), f"hash_ids {HASHES} a list"),
        (line("mooncake", output_length=...), "output_length is missing"),
        (
            line("llmservingsim", input_tok_ids=[1, 2, 3, 4]),
            "input_tok_ids has 4 ids, but input_toks is 3",
        ),
        (
            line("llmservingsim", input_tok_ids=[-1]),
            "input_tok_ids must have ids from 0 to 2147483647, not from -1 to -1",
        ),
        (line("llmservingsim", input_tok_ids=[True]), "input_tok_ids must be a list of token ids, not a list"),
        (
            line("kv-cache-tester").replace("130", "127"),
            "hash_ids has 2 hashes, but a prompt of 127 tokens has 1 full blocks of 64",
        ),
        (line("kv-cache-tester").replace('"n"', '"x"'), "type must be 'n', 's' or 'subagent', not \"x\""),
        (line("kv-cache-tester").replace('"n"', '"subagent"'), "requests is missing"),
        (line("kv-cache-tester", requests={}), "requests must be a list of objects, not a table"),
        (line("kv-cache-tester", requests=[1]), "requests must be a list of objects, not a list"),
        (line("kv-cache-tester", hash_id_scope="global"), "hash_id_scope must be 'local', not \"global\""),
        (line("kv-cache-tester", block_size=0), "block_size must be a whole number from 1 to 2147483647, not 0"),
        (
            line("kv-cache-tester") + "\n" + line("kv-cache-tester", block_size=32),
            "block_size is 32, but 64 on the lines before",
        ),
        (
            line("kvscope") + "\n" + line("kvscope", priority=1) + "\n" + line("kvscope"),
            'the id "a" is taken by line 1',
        ),
        (line("kvscope", id=None), "id must be a whole number or a text, not null"),
        (line("kvscope", id="\ud800"), 'id must be a whole number or a text, not "\\ud800"'),
        (line("kvscope", id=...), "id is missing"),
        (line("kvscope", output_len=0), "output_len must be a whole number from 1 to 2147483647, not 0"),
        (line("kvscope", prompt_len=0), "prompt_len must be a whole number from 1 to 2147483647, not 0"),
        (line("kvscope", priority=0.5), "priority must be a whole number from -2147483647 to 2147483647, not 0.5"),
        (line("kvscope", output_segment=[1]), "output_segment must be a whole number or a text, not a list"),
        (
            line("kvscope", prompt_len=...),
            "it must have one of prompt_token_ids, prompt_len, prompt_segments, and has none",
        ),
        (
            line("kvscope", prompt_segments=[]),
            "it must have one of prompt_token_ids, prompt_len, prompt_segments, and has prompt_len and prompt_segments",
        ),
        (line("kvscope", prompt_hashes=[1]), '"prompt_hashes" has no meaning beside prompt_len'),
        (
            line("kvscope", prefix_hashes=[1, 2, 3, 4]),
            "prefix_hashes has 4 hashes, but a prompt of 40 tokens has 3 blocks of 16",
        ),
        (
            line("kvscope", prefix_hashes=[1], hash_block=0),
            "hash_block must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            line("kvscope", prompt_len=..., prompt_token_ids=[]),
            "the number of prompt_token_ids must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            line("kvscope", prompt_len=..., prompt_token_ids=[1, 2**31]),
            "prompt_token_ids must have ids from 0 to 2147483647, not from 1 to 2147483648",
        ),
        (
            line("kvscope", prompt_len=..., prompt_segments=[["a", 0]]),
            "the sum of prompt_segments must be a whole number from 1 to 2147483647, not 0",
        ),
        (
            line("kvscope", prompt_len=..., prompt_segments=[["a", 2**31 - 1], ["b", 1]]),
            "the sum of prompt_segments must be a whole number from 1 to 2147483647, not 2147483648",
        ),
        (
            line("kvscope", prompt_len=..., prompt_segments=[["a", -1]]),
            "a length in prompt_segments must be a whole number from 0 to 2147483647, not -1",
        ),
        (
            line("kvscope", prompt_len=..., prompt_segments=[["a"]]),
            "prompt_segments must be a list of pairs [segment, tokens], not a list",
        ),
        (
            line("kvscope", prompt_len=..., prompt_segments=[[None, 1]]),
            "a segment of prompt_segments must be a whole number or a text, not null",
        ),
    ],
)
def test_what_only_some_formats_have(content: str, said: str, tmp_path: Path) -> None:
    last = content.count("\n") + 1
    assert sentence(tmp_path, content.encode()) == f", line {last}: {said}"


@pytest.mark.parametrize("format", sorted(FORMATS))
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", ": is empty"),
        (b"\n \r\n", ": is empty"),
        (gzip.compress(b"", mtime=0), ": is empty"),
        (gzip.compress(b"x" * 1000, mtime=0)[:-9], ": is cut short, its gzip stream ends before its end mark"),
        (b"\x1f\x8b", ": is cut short, its gzip stream ends before its end mark"),
        (
            gzip.compress(b"x", mtime=0) + b"junk",
            ": is damaged, its gzip stream cannot be unpacked (Not a gzipped file (b'ju'))",
        ),
    ],
    ids=["empty", "blank", "empty gzip", "cut gzip", "gzip magic", "gzip and junk"],
)
def test_a_broken_file_is_never_passed_over(format: str, content: bytes, said: str, tmp_path: Path) -> None:
    assert sentence(tmp_path, content, format, skip_bad_lines=True) == said
    assert sentence(tmp_path, content) == said


def test_content_of_no_format(tmp_path: Path) -> None:
    formats = f"(the formats are {', '.join(FORMATS)})"
    said = sentence(tmp_path, b"a,b\n1,2", skip_bad_lines=True)
    assert said == f': is in no known trace format, its columns or keys are "a", "b" {formats}'
    said = sentence(tmp_path, b'{"b": 1, "a": 2}')
    assert said == f': is in no known trace format, its columns or keys are "a", "b" {formats}'
    assert sentence(tmp_path, b"\x89PNG\r\n\xff") == ", line 1: it is not a line of column names"


@pytest.mark.parametrize("asked", sorted(FORMATS))
@pytest.mark.parametrize("found", ["azure.csv", "mooncake.jsonl", "kvscope.jsonl", "vidur_lengths.csv"])
def test_content_of_another_format(asked: str, found: str, tmp_path: Path) -> None:
    actual = found.partition(".")[0].partition("_")[0]
    if asked != actual:
        said = sentence(tmp_path, (TRACES / found).read_bytes(), asked, skip_bad_lines=True)
        assert said == f": is not in the format {asked}, it looks like {actual}"


def test_content_that_is_no_folder(tmp_path: Path) -> None:
    said = sentence(tmp_path, b"a,b\n1,2", "servegen")
    assert said == ": is not in the format servegen, which is a folder or an archive"


def test_lines_that_are_all_broken(tmp_path: Path) -> None:
    said = sentence(tmp_path, table("vidur", prompt="x").replace(b",10,", b",x,"), skip_bad_lines=True)
    assert said.startswith(": holds no request, all its lines are broken, the first is ")
    assert said.endswith(f'trace, line 2: num_prefill_tokens {WHOLE}"x"')


@pytest.mark.parametrize("skip_bad_lines", [False, True])
def test_paths(skip_bad_lines: bool, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, said in [
        (missing, "cannot be read: no such file or directory"),
        (folder, "is a folder or an archive without the files chunk-N-trace.csv of ServeGen"),
        (Path("a\0b"), "cannot be read: a path has no null character"),
    ]:
        with pytest.raises(InputError) as caught:
            read_trace(path, skip_bad_lines=skip_bad_lines)
        assert str(caught.value) == f"{path}: {said}"


@pytest.mark.skipif(os.name == "nt" or not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(b"x")
    path.chmod(0)
    with pytest.raises(InputError, match="cannot be read: permission denied"):
        read_trace(path)


def test_a_file_without_permission_as_the_system_tells_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(InputError) as caught:
        read_trace(tmp_path / "trace", skip_bad_lines=True)
    assert str(caught.value) == f"{tmp_path / 'trace'}: cannot be read: permission denied"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"format": "csv"},
            "format must be one of auto, kvscope, azure, burstgpt, mooncake, bailian, kv-cache-tester, ",
        ),
        ({"sessions": "both"}, 'sessions must be one of sequential, stagger60, not "both"'),
        ({"seed": -1}, "seed must not be negative, but is -1"),
        ({"span": (5.0, 5.0)}, "span must go from 0 s or later to a later time, not from 5.0 to 5.0 s"),
        ({"span": (float("nan"), 5.0)}, "span must go from 0 s or later to a later time, not from nan to 5.0 s"),
    ],
)
def test_options(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_trace(TRACES / "azure.csv", **options)
    assert str(caught.value).startswith(said)


WINDOW = "0,1.0,1.0,Gamma,1.0,1.0"
LENGTHS = '{"0": {"input_tokens": "{5: 1.0}", "output_tokens": "{6: 1.0}"}}'


@pytest.mark.parametrize(
    ("windows", "lengths", "said"),
    [
        ("0,1", LENGTHS, "chunk-1-trace.csv, line 1: it has 2 fields instead of 6"),
        ("x,1,1,Gamma,1,1", LENGTHS, 'line 1: a window\'s start must be a number from 0 to 10000000000 s, not "x"'),
        (f"{WINDOW}\n{WINDOW}", LENGTHS, "line 2: a window's start must be after the last one's, 0.0 s, not 0.0"),
        ("0,-1,1,Gamma,1,1", LENGTHS, "line 1: the rate must be a number from 0 to 100000000 requests per s, not -1.0"),
        ("0,nan,1,Gamma,1,1", LENGTHS, 'the rate must be a number from 0 to 100000000 requests per s, not "nan"'),
        ("0,1,1,Pareto,1,1", LENGTHS, 'the pattern must be Gamma or Weibull, not "Pareto"'),
        ("0,1,1,Gamma,0,1", LENGTHS, "the shape must be a number from 1e-06 to 1000000.0, not 0"),
        ("0,1e7,1,Gamma,1,1", LENGTHS, "describes 6e+09 requests from 0.0 to 600.0 s, choose a shorter span"),
        ("0,0,0,,0,0", LENGTHS, "describes no request from 0.0 to 600.0 s"),
        (WINDOW, "", "chunk-1-dataset.json: it is not valid JSON (Expecting value at column 1)"),
        (WINDOW, '{\n"0": oops}', "chunk-1-dataset.json: it is not valid JSON (Expecting value at line 2, column 6)"),
        (WINDOW, "[" * 100_000, "chunk-1-dataset.json: its JSON is nested too deeply"),
        (WINDOW, '{"0": 1}', "chunk-1-dataset.json: expected a JSON object, found 1"),
        (WINDOW, '{"0": {"input_tokens": "{}"}}', "chunk-1-dataset.json: output_tokens is missing"),
        (
            WINDOW,
            LENGTHS.replace('"0"', '"x"'),
            'chunk-1-dataset.json: a key must be a number from 0 to 10000000000 s, not "x"',
        ),
        (WINDOW, LENGTHS.replace('"0"', '"600"'), "chunk-1-dataset.json: has no lengths for the requests at 0.0 s"),
        (WINDOW, LENGTHS.replace("5: 1.0", ""), "chunk-1-dataset.json: has no lengths for the requests at 0.0 s"),
        (WINDOW, LENGTHS.replace("1.0}", "0.5}"), "the probabilities of input_tokens add up to 0.5 and not to 1"),
        (WINDOW, LENGTHS.replace("1.0}", "1e999}"), "the probabilities of input_tokens add up to inf and not to 1"),
        (WINDOW, LENGTHS.replace("5:", "5.5:"), f"a length in input_tokens {WHOLE}5.5"),
        (WINDOW, LENGTHS.replace("5:", "2147483648:"), f"a length in input_tokens {WHOLE}2147483648"),
        *(
            (WINDOW, LENGTHS.replace("{5: 1.0}", text), "input_tokens must be a dict {tokens: probability}, not ")
            for text in (
                "{-5: 1.0}",
                "{5: -1.0}",
                "{5: nan}",
                "{007: 1.0}",
                "{5: 1.0",
                "[5, 1.0]",
                "__import__('os')",
                "{" * 100_000,
                "-" * 100_000 + "1",
                "{" + "9" * 5000 + ": 1.0}",
                "{5: 1.0}" * 2,
            )
        ),
    ],
)
def test_a_servegen_description(windows: str, lengths: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "chunk-1-trace.csv").write_text(windows, encoding="utf-8")
    (tmp_path / "chunk-1-dataset.json").write_text(lengths, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        read_trace(tmp_path)
    assert str(caught.value).startswith(str(tmp_path))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_servegen_archive(tmp_path: Path) -> None:
    def pack(*names: str) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for name in names:
                entry = tarfile.TarInfo(name)
                entry.size = len(WINDOW)
                archive.addfile(entry, io.BytesIO(WINDOW.encode()))
        return packed.getvalue()

    one = pack("chunk-1-trace.csv")
    assert sentence(tmp_path, one) == ": lacks chunk-1-dataset.json"
    assert sentence(tmp_path, one[:520]) == ": is damaged, its tar archive cannot be read (unexpected end of data)"
    assert sentence(tmp_path, one, "azure") == ": is not in the format azure, it looks like servegen"
    said = sentence(tmp_path, pack("readme.txt"))
    assert said == ": is a folder or an archive without the files chunk-N-trace.csv of ServeGen"
    said = sentence(tmp_path, pack("a/chunk-1-trace.csv", "b/chunk-1-trace.csv"))
    assert said == ": holds two files named chunk-1-trace.csv, but should describe one model"

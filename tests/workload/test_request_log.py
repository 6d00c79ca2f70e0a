"""Logs into traces: what requests have in common survives, what they say does not."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli import main
from engine.tokenizer import FolderTokenizer
from simcore import Scenario, simulate
from simcore.errors import InputError
from simcore.workload import Workload
from simcore.workload.requestlog import Logged, hashed, read_log
from simcore.workload.traces import read_trace
from simcore.workload.traces.files import TraceFile

SHIPPED = Path(__file__).parents[2] / "assets" / "trained" / "gqa"
Ids = list[int]


def lines(*records: dict[str, Any]) -> TraceFile:
    return TraceFile("log.jsonl", "\n".join(map(json.dumps, records)).encode())


def logged(rows: list[tuple[Ids, Ids]]) -> list[Logged]:
    return [
        Logged(float(row), np.array(prompt, np.int32), np.array(output, np.int32), len(output), row)
        for row, (prompt, output) in enumerate(rows)
    ]


def trace_of(tmp_path: Path, rows: list[tuple[Ids, Ids]], **options: Any) -> Workload:
    path = tmp_path / "trace.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in hashed(logged(rows), **options)))
    return read_trace(path)


def named(workload: Workload, row: int) -> list[tuple[int, int]]:
    """The names of a request's tokens, its output's included."""
    assert workload.runs is not None
    names = [(source, start + i) for source, start, length in workload.runs.of(row) for i in range(length)]
    source = -1 - row if workload.output_source is None else int(workload.output_source[row])
    return names + [(source, i) for i in range(int(workload.output_len[row]))]


def common(one: list[Any], other: list[Any]) -> int:
    length = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    return min(len(one), len(other)) if length is None else length


TOKENS = st.lists(st.integers(0, 2), min_size=1, max_size=9)


@given(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=8))
def test_prompts_have_as_many_tokens_in_common(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[Ids, Ids]]
) -> None:
    workload = trace_of(tmp_path_factory.mktemp("log"), rows, salt="s")
    for one, (prompt, _) in enumerate(rows):
        assert int(workload.prompt_len[one]) == len(prompt)
        for other, (another, _) in enumerate(rows):
            names = named(workload, one)[: len(prompt)], named(workload, other)[: len(another)]
            assert common(*names) == common(prompt, another)


def test_a_later_turn_contains_the_answer(tmp_path: Path) -> None:
    first, answer, more = [1, 2, 3, 4], [5, 6, 7], [8, 9]
    rows = [
        (first, answer),
        (first + answer + more, [1]),
        (first + answer[:2] + [0], [1]),
        (first, [5, 5]),
        (first, answer),
    ]
    workload = trace_of(tmp_path, rows)
    names = [named(workload, row) for row in range(len(rows))]
    assert common(names[0], names[1]) == 7
    assert common(names[0], names[2]) == 6
    assert names[0] == names[4]
    assert common(names[0], names[3]) == 4, "an output that begins like another one is one of its own"


def chat_rows(seed: int, conversations: int = 12) -> list[tuple[Ids, Ids]]:
    """Conversations of three turns under two system prompts, taken in turn; outputs begin with their own number."""
    rng = np.random.default_rng(seed)
    systems = [rng.integers(0, 1000, 150).tolist() for _ in range(2)]
    texts = [list(systems[talk % 2]) for talk in range(conversations)]
    rows = []
    for turn in range(3):
        for talk, text in enumerate(texts):
            text += rng.integers(0, 1000, int(rng.integers(5, 90))).tolist()
            output = [5000 + turn * conversations + talk, *rng.integers(0, 1000, int(rng.integers(4, 60))).tolist()]
            rows.append((list(text), output))
            text += output
    return rows


SETTING = [
    "model.preset=gpt2", "memory.blocks=120", "timing.model=constant", "timing.step=0.01", "scheduler.max_num_seqs=8"
]  # fmt: skip


@pytest.mark.parametrize("block_size", [8, 16, 32])
@pytest.mark.parametrize("hash_block", [None, 8])
def test_hits_are_those_of_the_token_ids(tmp_path: Path, block_size: int, hash_block: int | None) -> None:
    """Hits, evictions and preemptions, to the last one."""
    rows = chat_rows(3)
    plain = tmp_path / "plain.jsonl"
    with plain.open("w") as file:
        for row, (prompt, output) in enumerate(rows):
            line = {"id": f"r{row}", "arrival": row, "output_len": len(output), "prompt_token_ids": prompt}
            file.write(json.dumps(line) + "\n")
    log = lines(*({"time": row, "prompt": p, "output_len": len(o)} for row, (p, o) in enumerate(rows)))
    requests, _ = read_log(log, None)
    converted = tmp_path / "converted.jsonl"
    converted.write_text("".join(json.dumps(line) + "\n" for line in hashed(requests, hash_block=hash_block)))
    scenario = Scenario.from_toml("", tmp_path, [*SETTING, f"memory.block_size={block_size}"])
    expected, found = (simulate(scenario, workload=read_trace(path)) for path in (plain, converted))
    assert expected.summary["hits"]["hit_tokens"] > 0
    assert expected.summary["evictions"] > 0
    assert found.summary == expected.summary
    assert found.requests.equals(expected.requests)


def test_answers_are_hit_by_the_next_turn(tmp_path: Path) -> None:
    """With outputs known, as many tokens are hit as full blocks of prompt and output were computed before."""
    rows = chat_rows(4)
    workload = trace_of(tmp_path, rows)
    overrides = [*SETTING, "memory.blocks=5000", "scheduler.max_num_seqs=1"]
    results = simulate(Scenario.from_toml("", tmp_path, overrides), workload=workload)
    served: list[Ids] = []
    expected = 0
    for prompt, output in rows:
        longest = max((common(prompt, known) for known in served), default=0)
        expected += min(longest, len(prompt) - 1) // 16 * 16
        served.append(prompt + output[:-1])  # the last token is never computed
    assert results.summary["hits"]["hit_tokens"] == expected


def test_no_text_and_no_ids_are_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "log.jsonl", tmp_path / "trace.jsonl"
    messages = [{"role": "user", "content": "Secrets of Anna"}, {"role": "assistant", "content": "None."}]
    records: list[dict[str, Any]] = [
        {"time": "2026-01-31T12:00:00Z", "messages": messages[:1], "output": "None."},
        {"time": "2026-01-31T12:00:01.5+00:00", "request": {"prompt": "Secrets of Anna"},
         "response": {"choices": [{"text": "What?"}], "usage": {"completion_tokens": 9}}},
        {"time": "2026-01-31T13:00:03+01:00", "request": {"messages": messages}, "usage": {"completion_tokens": 7}},
        {"time": "2026-01-31T12:00:05", "prompt": "gone", "output_len": 0},
    ]  # fmt: skip
    log.write_text("\n".join(map(json.dumps, records)))
    assert main(["trace", "from-log", str(log), "--tokenizer", str(SHIPPED), "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert "3 requests, 1 without output left out" in said.err
    text = out.read_text()
    for word in ("Anna", "Secret", "None", "user", "prompt_token_ids"):
        assert word not in text
    rows = [json.loads(line) for line in text.splitlines()]
    assert [row["arrival"] for row in rows] == [0.0, 1.5, 3.0]
    ids = FolderTokenizer(SHIPPED).text("user: Secrets of Anna\nassistant:")
    assert sum(length for _, length in rows[0]["prompt_segments"]) == len(ids)
    assert rows[2]["output_len"] == 7
    assert read_trace(out).prompt_len[1] == len(FolderTokenizer(SHIPPED).text("Secrets of Anna"))


def test_salts() -> None:
    """Equal salts, equal names; a salt that is not given is another one each time."""
    rows = logged([([1, 2, 3], [4])])
    assert list(hashed(rows, "a")) == list(hashed(rows, "a"))
    for one, other in (("a", "b"), (None, None)):
        assert list(hashed(rows, one)) != list(hashed(rows, other))
        assert list(hashed(rows, one, 2)) != list(hashed(rows, other, 2))


def test_chat_templates(tmp_path: Path) -> None:
    """A folder's template decides, wherever it stands."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / name).write_bytes((SHIPPED / name).read_bytes())
    source = (
        "{% for message in messages %}{% if message.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "<{{ message.role }}>{{ message.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": source}))
    messages = [{"role": "user", "content": "hello"}]
    tokenizer = FolderTokenizer(tmp_path)
    assert tokenizer.chat(messages) == tokenizer.output("<user>hello<assistant>")
    with pytest.raises(InputError, match=r"do not fit the chat template of .*: no tools"):
        tokenizer.chat([{"role": "tool", "content": ""}])
    (tmp_path / "chat_template.jinja").write_text("{{ bos_token }}{{ messages[0].content }}")
    assert FolderTokenizer(tmp_path).chat(messages) == tokenizer.output("<bos>hello")


GOOD = {"time": 1, "prompt": [1, 2], "output_len": 3}
BAD: dict[str, dict[str, Any]] = {
    "it has none of time, timestamp, arrival, created, created_at, its keys are \"output_len\", \"prompt\"":
        {"prompt": [1], "output_len": 1},
    "time must be seconds or a time like 2026-01-31T12:00:00.5Z, not \"noon\"": GOOD | {"time": "noon"},
    "time must be a number from 0 to 10000000000 s, not nan": GOOD | {"time": float("nan")},
    "it has none of prompt_token_ids, messages, prompt, its keys are \"output_len\", \"time\"":
        {"time": 1, "output_len": 1},
    "prompt must be a list of token ids, or a text, not 7": GOOD | {"prompt": 7},
    "prompt must have ids from 0 to 2147483647, not from -1 to 2": GOOD | {"prompt": [-1, 2]},
    "its prompt has no tokens": GOOD | {"prompt": []},
    "prompt is a text, which needs the folder of a tokenizer": GOOD | {"prompt": "hello"},
    "messages must be a list of objects, not \"hello\"": {"time": 1, "output_len": 1, "messages": "hello"},
    "output_len must be a whole number from 0 to 2147483647, not -1": GOOD | {"output_len": -1},
    "usage must be an object with completion_tokens, not 9": {"time": 1, "prompt": [1], "usage": 9},
    "the tokens of its output need a text and the folder of a tokenizer, or usage":
        {"time": 1, "prompt": [1], "output": "hello"},
    "choices must be a list of objects with a text or a message, not a list": {"time": 1, "prompt": [1], "choices": []},
}  # fmt: skip


@pytest.mark.parametrize("sentence", BAD)
def test_broken_lines(sentence: str) -> None:
    file = lines(GOOD, BAD[sentence])
    with pytest.raises(InputError) as error:
        read_log(file, None)
    assert str(error.value) == f"log.jsonl, line 2: {sentence}"
    found, skipped = read_log(file, None, skip_bad_lines=True)
    assert (len(found), skipped) == (1, 1)

"""What kind of request each is, where a workload says so."""

import json
from pathlib import Path

import numpy as np

from simcore import Scenario
from simcore.workload import make_workload
from simcore.workload.native import write_native
from simcore.workload.traces import read_trace


def test_native_requests_name_a_category_or_none(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    lines = [{"category": "chat"}, {}, {"category": 7}, {"category": "chat"}]
    file.write_text(
        "\n".join(
            json.dumps({"id": str(row), "arrival": row, "prompt_len": 3, "output_len": 2, **line})
            for row, line in enumerate(lines)
        )
    )
    workload = read_trace(file)
    assert workload.category is not None
    assert workload.category.tolist() == [1, 0, 2, 1]
    assert workload.take(np.array([3, 1])).category.tolist() == [1, 0]
    again = tmp_path / "again.jsonl"
    write_native(workload, again)
    assert read_trace(again).category.tolist() == [1, 0, 2, 1]


def test_no_request_names_one(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(json.dumps({"id": "a", "arrival": 0, "prompt_len": 3, "output_len": 2}))
    assert read_trace(file).category is None


def test_bailian_says_type_and_turn(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl"
    base = {"chat_id": 0, "parent_chat_id": -1, "input_length": 16, "output_length": 2, "hash_ids": [1]}
    kinds = [("text", 1), ("search", 1), ("text", 2), ("text", 1)]
    rows = [base | {"timestamp": time, "type": kind, "turn": turn} for time, (kind, turn) in enumerate(kinds)]
    file.write_text("\n".join(map(json.dumps, rows)))
    assert read_trace(file).category.tolist() == [1, 2, 3, 1]


def test_a_conversation_counts_its_turns() -> None:
    scenario = Scenario.preset("chat")
    workload = make_workload(scenario.workload, 0)
    assert workload.category is not None
    opens = workload.after == -1
    assert (workload.category[opens] == 1).all()
    assert (workload.category[1:] == workload.category[:-1] + 1)[~opens[1:]].all()

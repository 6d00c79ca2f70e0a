"""`kvscope memory`: its JSON, its tables, and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from app.cli import main

FIELDS = [
    "traditional_memory_mb", "paged_memory_mb", "memory_saved_mb", "memory_saved_percent", "num_blocks", "block_size",
    "blocks_used", "blocks_free", "utilization_percent", "sequence_length",
]  # fmt: skip
"""Of the document's response."""

Ask = Callable[..., str]


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    def said(*argv: str) -> str:
        assert main(["memory", *argv]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return out

    return said


def test_json_has_the_fields_of_the_document(ask: Ask) -> None:
    asked = ask("--model", "tinyllama", "--tokens", "128", "--max-tokens", "2048", "--json")
    row = json.loads(asked)
    assert {field: row[field] for field in FIELDS} == dict(
        zip(FIELDS, [44.0, 2.75, 41.25, 93.75, 1024, 16, 8, 1016, 0.78125, 128], strict=True)
    )
    assert json.loads(ask("--json")) == row, "it is the default"


def test_json_is_a_list_of_several_models(ask: Ask) -> None:
    rows = json.loads(ask("--model", "tinyllama, mamba,jamba", "--batch", "3", "--hardware", "l4", "--json"))
    assert [(row["model"], row["batch"]) for row in rows] == [
        ("tinyllama-1.1b", 3),
        ("mamba-2.8b", 3),
        ("jamba-v0.1", 3),
    ]
    assert [row["hardware"]["fits"] for row in rows] == [True, True, False]
    assert rows[0]["num_blocks"] == rows[0]["hardware"]["blocks"]


def test_a_mixed_batch_from_a_list_or_a_trace(ask: Ask, tmp_path: Path) -> None:
    listed = json.loads(ask("--requests", "5, 2x100,7", "--json"))
    assert [each["tokens"] for each in listed["requests"]] == [5, 100, 100, 7]
    lines = [
        {"id": f"r{n}", "arrival": 0, "prompt_len": n, "output_len": t} for n, t in ((4, 1), (9, 91), (60, 40), (5, 2))
    ]
    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    read = json.loads(ask("--requests", str(trace), "--json"))
    assert read == listed


def test_a_format_and_a_config(ask: Ask, tmp_path: Path) -> None:
    config: dict[str, Any] = {
        "model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
        "num_key_value_heads": 2, "intermediate_size": 128, "torch_dtype": "float16",
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    row = json.loads(ask("--model", str(path), "--kv-dtype", "float32", "--json"))
    assert (row["token_bytes"], row["kv_dtype"]) == (2 * 2 * 2 * 16 * 4, "float32")


@pytest.mark.parametrize(
    ("short", "name"), [("fp32", "float32"), ("fp16", "float16"), ("bf16", "bfloat16"), ("fp8", "float8")]
)
def test_formats_by_the_names_of_servers_flags(ask: Ask, short: str, name: str) -> None:
    rows = [json.loads(ask("--kv-dtype", each, "--json")) for each in (short, name)]
    assert rows[0] == rows[1]
    assert rows[0]["kv_dtype"] == name


def test_tables(ask: Ask) -> None:
    one = ask("--requests", "21x100", "--hardware", "a100", "--max-tokens", "1024")
    for part in ("93.75", "GQA 4 (its own)", "int4", "By request", "and 1 more", "Tensor parallel", "users, paged"):
        assert (part in one) == (part != "93.75"), part
    assert "41.25 (93.75 %)" in ask()
    two = ask("--model", "gpt2,jamba")
    assert "states of a request" in two
    assert "By layer" not in two
    many = ask("--model", "gpt2,jamba,mamba,deepseek-v3", "--hardware", "h100")
    assert "deepseek-v3 is not served: deepseek-v3 leaves no room" in many
    assert "cannot be split" in ask("--model", "gpt2", "--hardware", "h100")


def test_help_names_the_unit(ask: Ask) -> None:
    assert "MiB" in ask("--help")

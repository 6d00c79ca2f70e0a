"""`kvscope serve`: the document's endpoint on localhost."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from starlette.testclient import TestClient

from app.cli import main
from app.cli.serve import make_api
from simcore.scenario.presets import preset_names

ROOT = Path(__file__).parents[2]
FIELDS = import_module("tests.cli.test_cli_memory").FIELDS


@pytest.fixture(scope="module")
def client() -> TestClient:
    return TestClient(make_api())


def test_the_documented_request(client: TestClient) -> None:
    answer = client.get("/compare/memory")
    assert answer.status_code == 200
    values = [44.0, 2.75, 41.25, 93.75, 1024, 16, 8, 1016, 0.78125, 128]
    assert answer.json() == dict(zip(FIELDS, values, strict=True))


def test_the_documented_parameters(client: TestClient) -> None:
    """Those that the document calls adjustable, and the model of its example."""
    asked = {"num_layers": 22, "num_heads": 4, "head_dim": 64, "block_size": 16, "num_blocks": 1024}
    lengths = {"sequence_length": 128, "max_seq_len": 2048}
    assert client.get("/compare/memory", params=asked | lengths).json()["traditional_memory_mb"] == 44.0
    other = {"num_layers": 11, "num_heads": 8, "head_dim": 32, "kv_dtype": "float32", "batch_size": 3}
    found = client.get("/compare/memory", params=other | {"sequence_length": 17}).json()
    assert found["traditional_memory_mb"] == 3 * 11 * 2 * 2048 * 8 * 32 * 4 / 2**20
    assert found["blocks_used"] == 6


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("sequence_length=0", "greater than or equal to 1"),
        ("sequence_length=many", "valid integer"),
        ("sequence_length=3000", "a request has 3,000 tokens, but at most 2,048 are reserved for it"),
        ("num_blocks=7", "the pool has 7 blocks, but tinyllama-1.1b needs 8"),
        ("model=gpt9", 'no model preset is called "gpt9"'),
        ("model=/etc/config.json", "no model preset"),
        ("num_heads=3", "32 query heads cannot share 3 KV heads"),
        ("tokens=256", "tokens is not known; sequence_length, max_seq_len, block_size"),
        ("kv_dtype=int3", 'kv_dtype is "int3", but must be'),
    ],
)
def test_a_bad_query_is_told(query: str, says: str, client: TestClient) -> None:
    answer = client.get(f"/compare/memory?{query}")
    assert answer.status_code == 422
    assert says in json.dumps(answer.json(), ensure_ascii=False).replace('\\"', '"')


def test_models_and_documentation(client: TestClient) -> None:
    assert [model["name"] for model in client.get("/models").json()] == preset_names("models")
    page = client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert not re.search("https?://", page.text), "the page must do without the internet"
    for name in ("sequence_length", "kv_dtype", "/models", *FIELDS):
        assert name in page.text
    assert '<input name="sequence_length" value="128">' in page.text
    assert client.get("/").text == page.text
    fields = client.get("/openapi.json").json()["components"]["schemas"]["Comparison"]["properties"]
    assert list(fields) == FIELDS
    assert all(field["description"] for field in fields.values())


def test_only_pages_of_this_machine_may_ask(client: TestClient) -> None:
    def allowed(origin: str) -> str | None:
        return client.get("/models", headers={"Origin": origin}).headers.get("access-control-allow-origin")

    assert allowed("http://localhost:5173") == "http://localhost:5173"
    assert allowed("https://example.org") is allowed("http://localhost.example.org") is None


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("fastapi", "uvicorn"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, name, None)
            assert main(["serve"]) == 2
        expected = f"kvscope: {name} is not installed; pip install -e '.[serve]' in KVScope's folder brings what serve"
        assert capsys.readouterr().err == f"{expected} needs\n"


def test_a_port_that_is_taken(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"kvscope: --port {port} cannot be listened to: address already in use")


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_it_serves_until_it_is_interrupted(ending: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "main.py"), "serve", "--port", "0"], stderr=subprocess.PIPE, encoding="utf-8"
    )
    assert process.stderr is not None
    address = re.match(r"(http://127\.0\.0\.1:\d+)/docs\n", process.stderr.readline())
    assert address is not None
    with urlopen(f"{address[1]}/compare/memory?sequence_length=200", timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
    assert found["blocks_used"] == 13
    process.send_signal(ending)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert said == "kvscope: interrupted; what was written is whole\n"

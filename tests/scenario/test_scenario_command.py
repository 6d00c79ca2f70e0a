"""`kvscope scenario new | check | schema | list`, and the reference that is made from the schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.scenario import app
from simcore.errors import InputError
from simcore.scenario import Scenario
from simcore.scenario.describe import markdown, template
from simcore.scenario.presets import preset_names
from simcore.schema import keys

REFERENCE = Path(__file__).parents[2] / "docs" / "scenario.md"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def run(*args: str) -> Any:
    return CliRunner().invoke(app, args)


def refusal(*args: str) -> str:
    """What the command line would print before it exits with 2."""
    result = run(*args)
    assert isinstance(result.exception, InputError), result.output
    return str(result.exception)


@pytest.mark.parametrize("preset", preset_names("scenarios"))
def test_new_file_says_the_same_as_its_preset(preset: str) -> None:
    result = run("new", "mine", "--preset", preset)
    assert result.stdout == "mine.toml\n"
    assert Scenario.load("mine.toml") == Scenario.preset(preset, ["name=mine"])
    assert Scenario.from_toml(template(preset, "mine"), Path()) == Scenario.load("mine.toml")


def test_new_file_explains_its_keys() -> None:
    text = template("default", "mine")
    helps = {info.path: info.help for info in keys(Scenario)}
    assert f"# {helps['scheduler.max_num_seqs']}\nmax_num_seqs = 32\n" in text


def test_new_takes_any_file(tmp_path: Path) -> None:
    assert run("new", "two words", "--out", str(tmp_path / "a.toml")).exit_code == 0
    assert Scenario.load(tmp_path / "a.toml").name == "two words"


def test_new_refuses() -> None:
    Path("scenario.toml").write_text("precious", encoding="utf-8")
    assert refusal("new") == "scenario.toml: exists already; choose another file with --out"
    assert Path("scenario.toml").read_text(encoding="utf-8") == "precious"
    assert refusal("new", "--out", "missing/a.toml").startswith("missing")
    assert refusal("new", "a/b").startswith('scenario: name is "a/b", but must be text of ')
    assert refusal("new", "\udcff").startswith('scenario: name is "\\udcff", but must be text of ')
    assert refusal("new", "a", "--preset", "cha") == 'no scenario preset is called "cha"; did you mean "chat"?'
    assert [path.name for path in Path().iterdir()] == ["scenario.toml"]


def test_check_tells_the_pool() -> None:
    run("new", "mine", "--preset", "chat")
    given = run("check", "mine.toml", "--set", "memory.blocks=64", "--set", "hardware.count=2")
    assert given.exit_code == 0
    assert given.stdout.splitlines()[0] == (
        "mine.toml is good: llama-3-8b on 2 x a100-80gb, 64 blocks of 16 tokens, 3,000 requests"
    )
    assert "fewer than one sequence" in given.stderr  # 1,008 tokens of 8,192
    derived = run("check", "mine.toml")
    assert derived.exit_code == 0
    assert "weights" in derived.stdout
    assert not derived.stderr


def test_check_refuses() -> None:
    run("new", "mine")
    assert refusal("check", "other.toml") == "other.toml: cannot be read: no such file or directory"
    assert refusal("check", "mine.toml", "--set", "memory.blocks=1").startswith("--set: memory.blocks is 1, but must ")
    states = refusal("check", "mine.toml", "--set", "model.preset=mamba")
    assert states.startswith("mine.toml: memory.prefix_caching is true, but must be false for a model with state-space")
    missing = refusal("check", "mine.toml", "--set", "workload.trace=gone.csv")
    assert missing == f'mine.toml: workload.trace is "{Path.cwd() / "gone.csv"}", but there is no such file'
    Path("bare.toml").write_text("", encoding="utf-8")
    assert refusal("check", "bare.toml").startswith("bare.toml: memory.blocks is missing")


def test_schema_has_every_key() -> None:
    schema = json.loads(run("schema").stdout)
    known = {info.path.rpartition(".")[2] for info in keys(Scenario)}
    found: set[str] = set()
    for table in [schema, *schema["$defs"].values()]:
        assert "anyOf" in table or table["additionalProperties"] is False
        found |= table.get("properties", {}).keys()
        for name, described in table.get("properties", {}).items():
            assert described["description"].endswith("."), name
    assert known - found <= {"policy"}
    blocks = schema["$defs"]["MemorySection"]["properties"]["blocks"]
    assert blocks["unit"] == "blocks"


def test_reference_is_up_to_date() -> None:
    text = run("schema", "--markdown").stdout
    assert text == markdown()
    assert text.isascii()  # a console of any encoding can write it
    for info in keys(Scenario):
        assert info.help in text
        assert f"| `{info.path.rpartition('.')[2]}` |" in text or f"`[{info.path}]`" in text
    assert text == REFERENCE.read_text(encoding="utf-8"), "run: kvscope scenario schema --markdown > docs/scenario.md"


def test_list_names_every_preset() -> None:
    text = run("list").stdout
    for kind in ("models", "hardware", "scenarios"):
        assert f"{kind}:\n" in text
    for name in ("tinyllama-1.1b", "h200", "summarization", "summarisation", "a100-80gb"):
        assert name in text

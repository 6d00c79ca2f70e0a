"""Policies by name, their parameters, and policies that a person brings."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from app.cli import main
from simcore import InputError, Scenario, load_policy, simulate
from simcore.policies.base import parameters, section_of
from simcore.policies.families import FAMILIES, key_of

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_policy.py"
ALL = [(path, policy) for path, family in FAMILIES.items() for policy in family.values()]

WHOLE = """
from dataclasses import dataclass
from simcore.policies import Eviction, parameter

@dataclass
class Mine(Eviction):
    '''Evict any block.'''
    name = "{name}"
    share: float = parameter(0.5, help="A share.", gt=0, le=1)

    def start(self, setting): self.blocks = {{}}
    def insert(self, block, name, use): self.blocks[block] = name
    def hit(self, block, use): pass
    def victim(self): return {victim}
    def remove(self, block): del self.blocks[block]
"""


@pytest.mark.parametrize(("path", "policy"), ALL, ids=[f"{path}-{policy.name}" for path, policy in ALL])
def test_every_policy_says_what_it_is(path: str, policy: type) -> None:
    assert key_of(policy) == path
    assert policy.name == policy.name.lower()
    assert policy.summary().endswith((".", ")"))
    assert policy.source().startswith("https://")
    for each in parameters(policy):
        described = section_of(policy).model_fields[each.name]
        assert described.description
    table, _, key = path.rpartition(".")
    scenario = Scenario.preset("default", [f"{path}={policy.name}"])
    chosen = getattr(getattr(scenario, table), key)
    assert Scenario.from_toml(scenario.to_toml(), Path()) == scenario
    assert FAMILIES[path].make(chosen) is not None


def test_the_example_runs_and_can_be_loaded_again() -> None:
    for _ in range(2):
        (policy,) = load_policy(EXAMPLE)
    assert policy.name == "least-hit"
    with pytest.raises(InputError, match=r"least-hit: window is 0: .*greater than or equal to 1"):
        policy(window=0)
    with pytest.raises(InputError, match=r"memory.eviction.window is 0, but must be a whole number from 1 to 1,000"):
        Scenario.preset("default", ["memory.eviction={policy='least-hit', window=0}"])
    overrides = ["memory.blocks=600", "workload.requests=200"]
    ours = simulate(Scenario.preset("chat", ["memory.eviction.policy=least-hit", *overrides]))
    theirs = simulate(Scenario.preset("chat", overrides))
    assert ours.summary["requests"]["finished"] == theirs.summary["requests"]["finished"] == 200
    assert ours.summary["evictions"] > 0
    assert ours.summary != theirs.summary


def test_the_command_line_chooses_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own: what is loaded stays."""
    file = tmp_path / "mine.py"
    file.write_text(WHOLE.format(name="my-own", victim="self.blocks.popitem()[0]"))
    arguments = ["simulate", "chat", "--policy", str(file), "--set", "memory.blocks=400"]
    arguments += ["--set", "workload.requests=50", "--out", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert 'policy = "my-own"' in (tmp_path / "out" / "scenario.toml").read_text()
    assert main(["policies", "my-own", "--policy", str(file)]) == 0
    assert "share = 0.5: A share. Must be a number, above 0 and at most 1." in capsys.readouterr().out
    again = [sys.executable, "-c", "from app.cli import main; import sys; sys.exit(main(sys.argv[1:]))"]
    done = subprocess.run(
        [*again, "simulate", str(tmp_path / "out" / "scenario.toml")],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(EXAMPLE.parents[1])},
    )
    assert done.returncode == 2
    assert 'memory.eviction.policy is "my-own", but must be one of' in done.stderr


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("x = 1", "defines no policy"),
        ("x = (", r"line 1: SyntaxError"),
        ("\nimport no_such_module", r"line 2: ModuleNotFoundError: No module named 'no_such_module'"),
        (
            "from simcore.policies import Eviction\nclass A(Eviction):\n    'A.'\n    name = 'a'",
            r"policy A: lacks hit, insert, remove, start, victim",
        ),
        (WHOLE.format(name="lru", victim="1"), r'policy Mine: the name "lru" is taken by LRU'),
        (WHOLE.format(name="My One", victim="1"), r'policy Mine: its name is "My One", not lower case with hyphens'),
        (WHOLE.format(name="m", victim="1").replace("@dataclass", ""), r"has parameters, but no @dataclass above it"),
        ("from simcore.policies import Policy\nclass A(Policy):\n    'A.'\n    name = 'a'", "is of no family"),
    ],
)
def test_files_that_are_no_policy(text: str, sentence: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(InputError, match=sentence) as refused:
        load_policy(file)
    assert str(refused.value).startswith(str(file))


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.py: there is no such file"):
        load_policy(tmp_path / "mine.py")
    with pytest.raises(InputError, match=r"lru: a policy is a Python file"):
        load_policy("lru")


@pytest.mark.parametrize("victim", ["0", "next(iter(self.blocks))"])
def test_a_victim_that_is_not_there_is_told(victim: str, tmp_path: Path) -> None:
    """The second one is chosen again and again."""
    file = tmp_path / "wrong.py"
    file.write_text(WHOLE.format(name="wrong", victim=victim))
    load_policy(file)
    scenario = Scenario.preset("chat", ["memory.eviction=wrong", "memory.blocks=400", "workload.requests=50"])
    with pytest.raises(InputError, match=r"policy wrong: chose block \d+, which is not in the cache"):
        simulate(scenario)


def test_a_study_takes_a_file_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(map(str, [1, 2, 3, 1, 2, 4, 1] * 20)))
    study = ["hits", str(ids), "--capacity", "3", "--json"]
    assert main([*study, "--policy", f"lru,{EXAMPLE}:window=3"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["policy"] for row in rows] == ["lru", "least-hit(window=3)"]
    assert all(0 < row["object_hits"] < 140 for row in rows)
    assert main([*study, "--policy", f"lru,{EXAMPLE}:window=3", "--jobs", "2"]) == 0
    assert json.loads(capsys.readouterr().out) == rows, "the processes know it too"
    assert main([*study, "--admission", str(EXAMPLE)]) == 2
    assert "defines no policy for memory.admission" in capsys.readouterr().err


def test_an_error_in_a_policy_names_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "crash.py"
    file.write_text(WHOLE.format(name="crash", victim="1 / 0"))
    arguments = ["simulate", "chat", "--policy", str(file), "--set", "memory.blocks=400"]
    assert main([*arguments, "--set", "workload.requests=50", "--out", str(tmp_path / "out")]) == 2
    sentence = f"{file}, line 14, in victim: ZeroDivisionError: division by zero"
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    ids = tmp_path / "ids.txt"
    ids.write_text("\n".join(map(str, range(50))))
    for jobs in "12":  # in processes of their own it must not be lost where an error came from
        assert main(["hits", str(ids), "--capacity", "3,4", "--policy", str(file), "--jobs", jobs]) == 2
        assert sentence in capsys.readouterr().err

"""Reading a scenario: defaults, paths, overrides, and what is written back."""

import os
from pathlib import Path

import pytest

from simcore.errors import InputError
from simcore.policies.base import Choice
from simcore.policies.eviction import EVICTION
from simcore.scenario import Scenario

# A recorded case's scenario, with the constants that its times were recorded with (powers of two).
CASE = """
name = "01_no_pressure"

[model]
layers = 1
query_heads = 1
kv_heads = 1
head_dim = 64
dtype = "float16"
layer_groups = [{ layers = 1, window = 0 }]

[memory]
blocks = 64  # block 0 is the null block
block_size = 16
prefix_caching = false
prefix_retention = -1
eviction = "lru"

[scheduler]
policy = "fcfs"
max_num_seqs = 128
max_num_batched_tokens = 2048
max_model_len = 512
chunked_prefill = true
long_prefill_token_threshold = 0
watermark = 0.0
reserve_full_prompt = true
async_scheduling = false
preemption = "recompute"
never_fits = "wait"
max_steps = 200000

[timing]
model = "linear"
step = 0.0078125
per_token = 3.0517578125e-05
per_context_token = 5.960464477539063e-08

[workload]
trace = "01_no_pressure.workload.jsonl"
format = "kvscope"
"""

TEXTS = {
    "nothing": "",
    "case": CASE,
    "blocks": "memory.blocks = 2",
    "utilization": "memory.utilization = 0.5",
    "hardware": '[hardware]\npreset = "a100"\ncount = 2\nmemory = 4e10\nflops.float32 = 1e13',
    "constant": '[timing]\nmodel = "constant"\nstep = 0.02',
    "conversations": "[workload.conversations]\nmax_context = 5000\nthink = { distribution = 'fixed' }",
    "objective": "[metrics]\nwarmup = 5\nslo = { ttft = 0.5 }",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_what_is_written_reads_back_equal(text: str, tmp_path: Path) -> None:
    scenario = Scenario.from_toml(text, tmp_path)
    path = tmp_path / "again.toml"
    path.write_text(scenario.to_toml(), encoding="utf-8")
    assert Scenario.load(path) == scenario
    assert Scenario.load(path).to_toml() == scenario.to_toml()


def test_defaults_are_those_of_vllm() -> None:
    scenario = Scenario.from_toml("", Path())
    assert (scenario.name, scenario.seed) == ("scenario", 0)
    memory, scheduler = scenario.memory, scenario.scheduler
    assert (memory.blocks, memory.utilization, memory.block_size, memory.prefix_caching) == (None, 0.9, 16, True)
    assert (memory.prefix_retention, memory.eviction.policy) == (-1, "lru")
    assert (scheduler.policy.policy, scheduler.victim.policy) == ("fcfs", "by-queue")
    assert (scheduler.max_num_seqs, scheduler.max_num_batched_tokens) == (128, 2048)
    assert (scheduler.chunked_prefill, scheduler.reserve_full_prompt, scheduler.async_scheduling) == (True, True, False)
    assert (scheduler.long_prefill_token_threshold, scheduler.watermark) == (0, 0.0)
    assert (scheduler.preemption, scheduler.never_fits, scheduler.max_steps) == ("recompute", "reject", 0)


def test_a_recorded_case() -> None:
    scenario = Scenario.from_toml(CASE, Path("cases"))
    assert scenario.memory.blocks == 64
    assert scenario.memory.utilization is None
    assert scenario.max_model_len == 512
    assert scenario.scheduler.never_fits == "wait"
    assert scenario.timing.step == 2**-7
    assert scenario.workload.requests is None


@pytest.mark.parametrize(
    ("text", "longest"),
    [
        ('model.preset = "gpt2"', 1024),
        ('model.preset = "gpt2"\nscheduler.max_model_len = 100', 100),
        ("model = { layers = 1, query_heads = 1, head_dim = 64 }", 1_000_000_000),
    ],
)
def test_longest_sequence(text: str, longest: int) -> None:
    assert Scenario.from_toml(text, Path()).max_model_len == longest


def test_aliases_become_canonical_names() -> None:
    scenario = Scenario.from_toml('model.preset = "tinyllama"\nhardware.preset = "a100"', Path())
    assert 'preset = "tinyllama-1.1b"' in scenario.to_toml()
    assert 'preset = "a100-80gb"' in scenario.to_toml()


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "scenarios"
    folder.mkdir()
    text = """
        workload.trace = "../traces/a.csv"
        workload.arrivals = { process = "constant" }
    """
    (folder / "a.toml").write_text(text, encoding="utf-8")
    assert Scenario.load("scenarios/a.toml").workload.trace == tmp_path / "traces" / "a.csv"
    drawn = 'workload.prompt = { distribution = "empirical", trace = "b.csv" }'
    prompt = Scenario.from_toml(drawn, folder).workload.prompt
    assert prompt is not None
    assert prompt.model_dump()["trace"] == folder / "b.csv"


def test_paths_of_overrides_are_relative_to_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = Scenario.from_toml("", Path("elsewhere"), ["workload.trace=a.csv"])
    assert scenario.workload.trace == tmp_path / "a.csv"
    absolute = os.path.abspath("b.csv")
    assert str(Scenario.from_toml("", Path(), [f"workload.trace={absolute}"]).workload.trace) == absolute


def test_a_path_in_a_python_scenario_stays() -> None:
    assert Scenario.model_validate({"workload": {"trace": Path("a.csv")}}).workload.trace == Path("a.csv")


OVERRIDES = [
    (["seed=3"], {"seed": 3}),
    (["name=plain words"], {"name": "plain words"}),
    ([' name = "quoted" '], {"name": "quoted"}),
    (["scheduler.watermark=1e-2"], {"scheduler": {"watermark": 0.01}}),
    (["memory.prefix_caching=false"], {"memory": {"prefix_caching": False}}),
    (["memory.eviction=lru"], {"memory": {"eviction": {"policy": "lru"}}}),
    (["memory.eviction.policy=lru"], {"memory": {"eviction": {"policy": "lru"}}}),
    (["model.preset=gpt2"], {"model": {"preset": "gpt2"}}),
    (["metrics.slo.ttft=0.5"], {"metrics": {"slo": {"ttft": 0.5}}}),
    (["workload.arrivals.rate=4"], {"workload": {"arrivals": {"process": "poisson", "rate": 4.0}}}),
    (['workload.arrivals={process="gamma"}'], {"workload": {"arrivals": {"process": "gamma", "cv": 2.0}}}),
    # a choice takes away what it replaces
    (["memory.utilization=0.5"], {"memory": {"utilization": 0.5, "blocks": None}}),
    (["workload.limit=9", "workload.trace=a.csv"], {"workload": {"limit": 9, "requests": None, "prompt": None}}),
    (["timing.model=constant", "timing.step=1"], {"timing": {"step": 1.0, "overhead": None}}),
    (
        ["workload.arrivals.users=7", "workload.arrivals.process=closed-loop"],
        {"workload": {"arrivals": {"process": "closed-loop", "users": 7}}},
    ),
    (
        ["workload.prompt.distribution=fixed"],
        {"workload": {"prompt": {"distribution": "fixed", "tokens": 512}, "output": {"distribution": "lognormal"}}},
    ),
]


@pytest.mark.parametrize(("overrides", "expected"), OVERRIDES)
@pytest.mark.parametrize("complete", [False, True])
def test_override(overrides: list[str], expected: dict[str, object], complete: bool) -> None:
    text = "[memory]\nblocks = 64\n"
    if complete:  # as a run writes it, every key given
        text = Scenario.from_toml(text, Path()).to_toml()
    check(Scenario.from_toml(text, Path(), overrides).model_dump(), expected)


def check(data: dict[str, object], expected: dict[str, object]) -> None:
    for name, value in expected.items():
        found = data[name]
        if isinstance(value, dict) and isinstance(found, dict):
            check(found, value)
        else:
            assert found == value, name


WRONG_OVERRIDES = [
    ("memory.blocks", '--set "memory.blocks": must be KEY=VALUE, as in memory.blocks=4096'),
    ("=3", '--set "=3": must be KEY=VALUE, as in memory.blocks=4096'),
    ("memory..blocks=3", '--set "memory..blocks=3": must be KEY=VALUE, as in memory.blocks=4096'),
    ("memory.blocks=", '--set "memory.blocks=": must be KEY=VALUE, as in memory.blocks=4096'),
    ("memory.blocks=[3", '--set memory.blocks: "[3" is no TOML value'),
    ("workload.prompt={mean=3", '--set workload.prompt: "{mean=3" is no TOML value'),
    ("seed.first=3", "--set seed.first: seed is 1 and no table"),
    ("memory.blocks=no", '--set: memory.blocks is "no", but must be a whole number from 2 to 1,000,000,000 (blocks)'),
    ("memory.blocks=nan", "--set: memory.blocks is nan, but must be a whole number from 2 to 1,000,000,000 (blocks)"),
    (
        "memory.blocks=3\nseed=4",
        '--set: memory.blocks is "3\\nseed=4", but must be a whole number from 2 to 1,000,000,000 (blocks)',
    ),
    ("memory.block=3", "--set: memory.block is not a key; did you mean memory.blocks?"),
    ("memory.eviction=3", f"--set: memory.eviction is 3, but must be {Choice(EVICTION).allowed}"),
    (
        "pruning.slack=3",
        '--set: pruning.slack is 3, but must be 0 with pruning.during = "prompt": tokens are dropped once',
    ),
    ("pruning.keep=0", "--set: pruning.keep is 0, but must be a number, above 0 and at most 1"),
]


@pytest.mark.parametrize(("override", "sentence"), WRONG_OVERRIDES)
def test_wrong_override(override: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Scenario.from_toml("seed = 1", Path(), [override], source="a.toml")
    assert str(refused.value) == sentence

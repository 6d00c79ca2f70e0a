"""Wrong scenarios by class, each with the very sentence that it gets."""

from pathlib import Path

import pytest

from simcore.errors import InputError, UnsupportedError
from simcore.policies.eviction import EVICTION
from simcore.policies.queue import QUEUE
from simcore.policies.victim import VICTIM
from simcore.scenario import Scenario

NAMES, QUEUES, VICTIMS = (", ".join(f'"{name}"' for name in family) for family in (EVICTION, QUEUE, VICTIM))

SENTENCES = [
    # types and ranges
    ("memory.blocks = -3", "memory.blocks is -3, but must be a whole number from 2 to 1,000,000,000 (blocks)"),
    ('memory.blocks = "all"', 'memory.blocks is "all", but must be a whole number from 2 to 1,000,000,000 (blocks)'),
    ("memory.blocks = 64.0", "memory.blocks is 64.0, but must be a whole number from 2 to 1,000,000,000 (blocks)"),
    ("memory.utilization = nan", "memory.utilization is nan, but must be a number, above 0 and at most 1"),
    ("metrics.warmup = inf", "metrics.warmup is inf, but must be a number from 0 to 10,000,000 (s)"),
    ("scheduler.watermark = 1.0", "scheduler.watermark is 1.0, but must be a number, at least 0 and below 1"),
    ("memory.prefix_caching = 1", "memory.prefix_caching is 1, but must be true or false"),
    (
        "memory.prefix_retention = 64",
        "memory.prefix_retention is 64, but no layer of the model has a sliding window: it must be -1 or 0",
    ),
    (
        'model.preset = "gpt-oss"\nmemory.prefix_retention = 40',
        "memory.prefix_retention is 40, but must be a multiple of memory.block_size (16)",
    ),
    (
        'model.preset = "gpt-oss"\nscheduler.preemption = "swap"',
        'scheduler.preemption is "swap", but a model with sliding-window layers cannot be simulated with that yet',
    ),
    (
        "scheduler.async_scheduling = true\nworkload.samples = 2",
        "workload.samples is 2, but scheduler.async_scheduling cannot be simulated with several samples yet",
    ),
    (
        'scheduler.policy = "lifo"',
        f'scheduler.policy is "lifo", but must be {QUEUES}, or a table with one of these as policy',
    ),
    (
        'scheduler.victim = { policy = "oldest" }',
        f'scheduler.victim.policy is "oldest", but must be one of {VICTIMS}',
    ),
    (
        'scheduler.policy = "longest-prefix-first"\nmemory.prefix_caching = false',
        "scheduler.policy is a table, but needs memory.prefix_caching = true: otherwise nothing is ever cached",
    ),
    (
        "memory.block_size = 2024-01-31",
        "memory.block_size is 2024-01-31, but must be a whole number from 1 to 65,536 (tokens)",
    ),
    ("model.layer_groups = [3]", "model.layer_groups[0] is 3, but must be an element of a list of tables"),
    ("scheduler = 3", "scheduler is 3, but must be a table"),
    (
        "model.layer_groups = [{ layers = 0 }]",
        "model.layer_groups[0].layers is 0, but must be a whole number from 1 to 100,000 (layers)",
    ),
    (
        f'scheduler.policy = "{"a" * 5000}"',
        f'scheduler.policy is "{"a" * 75} ..., but must be {QUEUES}, or a table with one of these as policy',
    ),
    # names of policies, presets and choices
    (
        'memory.eviction = "best"',
        f'memory.eviction is "best", but must be {NAMES}, or a table with one of these as policy',
    ),
    ('memory.eviction = { policy = "best" }', f'memory.eviction.policy is "best", but must be one of {NAMES}'),
    (
        'model.preset = "gpt2-xxl"',
        'model.preset is "gpt2-xxl", but no model preset is called "gpt2-xxl"; did you mean "gpt2-xl"?',
    ),
    (
        'workload.arrivals = { process = "possion" }',
        'workload.arrivals.process is "possion", but must be one of "constant", '
        '"poisson", "gamma", "weibull", "bursts", "daily", "closed-loop", "all-at-once"',
    ),
    (
        "workload.arrivals = { process = 1 }",
        'workload.arrivals.process is 1, but must be one of "constant", '
        '"poisson", "gamma", "weibull", "bursts", "daily", "closed-loop", "all-at-once"',
    ),
    (
        "workload.conversations.turns = {}",
        'workload.conversations.turns.distribution is not given, but must be one of "fixed", "uniform", "geometric"',
    ),
    # unknown keys
    ("memory.block_sise = 16", "memory.block_sise is not a key; did you mean memory.block_size?"),
    ("memroy.blocks = 64", "memroy is not a key; did you mean memory?"),
    ("scheduler.block_size = 16", "scheduler.block_size is not a key; did you mean memory.block_size?"),
    ("metrics.slo.p99 = 1", "metrics.slo.p99 is not a key; [metrics.slo] has ttft, tpot, itl, e2e"),
    (
        'workload.arrivals = { process = "constant", burstiness = 2 }',
        "workload.arrivals.burstiness is not a key; [workload.arrivals] has process, rate",
    ),
    (
        "answer = 42",
        "answer is not a key; a scenario has name, seed, model, hardware, memory, scheduler, pruning, timing, "
        "workload, metrics",
    ),
    # keys that do not fit together
    (
        "memory = { blocks = 64, utilization = 0.5 }",
        "memory.utilization is 0.5, but memory.blocks gives the pool's size already; leave one of them out",
    ),
    (
        "scheduler = { max_num_seqs = 64, max_num_batched_tokens = 32 }",
        "scheduler.max_num_batched_tokens is 32, but must be at least scheduler.max_num_seqs (64)",
    ),
    (
        "scheduler = { max_model_len = 4096, chunked_prefill = false }",
        "scheduler.max_num_batched_tokens is 2048, but must be at least the longest sequence, 4096 tokens, "
        "while scheduler.chunked_prefill is off",
    ),
    (
        'model.preset = "llama-3-8b"\nscheduler.chunked_prefill = false',
        "scheduler.max_num_batched_tokens is 2048, but must be at least the longest sequence, 8192 tokens, "
        "while scheduler.chunked_prefill is off",
    ),
    (
        "scheduler = { max_model_len = 1024, long_prefill_token_threshold = 1025 }",
        "scheduler.long_prefill_token_threshold is 1025, but must be at most the longest sequence, 1024 tokens",
    ),
    (
        'scheduler = { policy = "priority", reserve_full_prompt = false }\nmemory.prefix_caching = false',
        "scheduler.max_steps is 0, but must be above 0 with victims by lowest priority, reserve_full_prompt = false "
        "and memory.prefix_caching = false: two requests of equal priority and arrival can then preempt each other for "
        "ever",
    ),
    (
        'scheduler = { never_fits = "wait", reserve_full_prompt = false }',
        'scheduler.max_steps is 0, but must be above 0 with never_fits = "wait" and reserve_full_prompt = false: '
        "a request that never fits is then recomputed and preempted for ever",
    ),
    (
        '[[memory.tiers]]\nname = "host"\nbandwidth = 1e9',
        "memory.tiers[0].blocks is not given, but it or capacity must say how large the tier is",
    ),
    (
        '[[memory.tiers]]\nname = "host"\nbandwidth = 1e9\nblocks = 3\ncapacity = 1',
        "memory.tiers[0].capacity is 1.0, but blocks gives the tier's size already; leave one of them out",
    ),
    (
        'memory.tiers = [{ name = "a", bandwidth = 1e9, blocks = 3 }, { name = "a", bandwidth = 1e9, blocks = 3 }]',
        'memory.tiers is a list, but two of its tiers have the name "a"',
    ),
    (
        'memory = { prefix_caching = false, tiers = [{ name = "a", bandwidth = 1e9, blocks = 3 }] }',
        "memory.prefix_caching is false, but must be true with memory.tiers: what they keep is found by its content",
    ),
    (
        'scheduler.preemption = "swap"\nmemory.tiers = [{ name = "a", bandwidth = 1e9, blocks = 3 }]',
        'scheduler.preemption is "swap", but must be "recompute" with memory.tiers, which keep what a preempted '
        "request has computed",
    ),
    (
        'pruning.during = "outputs"',
        'pruning.during is "outputs", but nothing is dropped without a pruning.budget, or a pruning.keep below 1',
    ),
    (
        'pruning.budget = 64\nscheduler.preemption = "swap"',
        'scheduler.preemption is "swap", but must be "recompute" with pruning',
    ),
    (
        'pruning.keep = 0.5\nmodel.preset = "gemma-3-27b"',
        "pruning.keep is 0.5, but a model with sliding-window layers cannot be simulated with that yet",
    ),
    # a name is also a folder's
    *(
        (
            f"name = {name}",
            f"name is {name}, but must be text of at most 100 letters, digits, spaces and any of _ . , + = ( ) -, "
            "with a letter or digit first",
        )
        for name in ('"../x"', '""', '".hidden"', r'"a\u0000b"', r'"a\nb"')
    ),
]

NOT_YET = [
    (
        "[model]\nlayers = 3\nlayer_groups = [{ layers = 3, attention = false }]",
        "model: no layer of the model keeps anything of a sequence, so there is nothing to simulate",
    ),
]

NO_TOML = [
    ("[memory", ", line 1, column 8: not TOML: expected ']' at the end of a table declaration"),
    ("seed = 1\nname =", ", line 2, column 7: not TOML: invalid value"),
    ("seed = 1\nseed = 2", ", line 2, column 9: not TOML: cannot overwrite a value"),
    ("[model]\n[memory]\n[model]", ", line 3, column 7: not TOML: cannot declare this table twice"),
    ("seed = " + "[" * 100_000, ": not a scenario: values are nested too deeply"),
    ("deep" + " . 'a'" * 100_000 + " = 1", ": not a scenario: values are nested too deeply"),
    ("seed = " + "9" * 5000, ": not a scenario: a number in it has thousands of digits"),
]


@pytest.mark.parametrize(("text", "sentence"), SENTENCES)
def test_wrong_value(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Scenario.from_toml(text, Path(), source="a.toml")
    assert str(refused.value) == f"a.toml: {sentence}"
    assert not isinstance(refused.value, UnsupportedError)


@pytest.mark.parametrize(("text", "sentence"), NOT_YET)
def test_right_but_not_yet(text: str, sentence: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        Scenario.from_toml(text, Path(), source="a.toml")
    assert str(refused.value) == f"a.toml: {sentence}"


@pytest.mark.parametrize(("text", "sentence"), NO_TOML)
def test_no_toml(text: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        Scenario.from_toml(text, Path(), source="a.toml")
    assert str(refused.value) == f"a.toml{sentence}"


def test_every_problem_is_told_at_once() -> None:
    text = "seed = -1\n[memory]\nblocks = 1\nblock_sise = 3\n[scheduler]\nwatermark = 2\n"
    with pytest.raises(InputError) as refused:
        Scenario.from_toml(text, Path(), source="a.toml")
    assert not isinstance(refused.value, UnsupportedError)
    assert str(refused.value).splitlines() == [
        "a.toml: seed is -1, but must be a whole number from 0 to 9,223,372,036,854,775,807",
        "a.toml: memory.blocks is 1, but must be a whole number from 2 to 1,000,000,000 (blocks)",
        "a.toml: memory.block_sise is not a key; did you mean memory.block_size?",
        "a.toml: scheduler.watermark is 2, but must be a number, at least 0 and below 1",
    ]


def test_too_many_problems_are_counted() -> None:
    text = "\n".join(f"key_{index} = 1" for index in range(1000))
    with pytest.raises(InputError) as refused:
        Scenario.from_toml(text, Path(), source="a.toml")
    lines = str(refused.value).splitlines()
    assert len(lines) == 21
    assert lines[-1] == "a.toml: and 980 more problems"


def told(path: Path) -> str:
    with pytest.raises(InputError) as refused:
        Scenario.load(path)
    assert str(refused.value).startswith(str(path))
    return str(refused.value).removeprefix(str(path))


def test_file_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(tmp_path / "missing.toml") == ": cannot be read: no such file or directory"
    assert told(tmp_path).startswith(": cannot be read: ")  # a folder: Windows says "permission denied"

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert told(tmp_path / "locked.toml") == ": cannot be read: permission denied"


def test_file_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "latin.toml"
    path.write_bytes("seed = 1\nname = 'é'\n".encode("latin-1"))
    assert told(path) == ", line 2: byte 0xe9 is not UTF-8 text"
    path.write_bytes(b"#" * (2 << 20))
    assert told(path) == ": longer than 1 MiB, so it is no scenario"


def test_byte_order_mark_and_windows_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "windows.toml"
    path.write_bytes(b"\xef\xbb\xbfseed = 5\r\n[memory]\r\nblocks = 7\r\n")
    scenario = Scenario.load(path)
    assert (scenario.seed, scenario.memory.blocks) == (5, 7)

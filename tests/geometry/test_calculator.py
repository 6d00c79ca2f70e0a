"""The calculator: the documented numbers of others, its own against the simulator, and its arithmetic by hand."""

import re
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcore import Scenario, Workload, simulate
from simcore.calculator import (
    COUNTS,
    Question,
    attention_of,
    attention_variants,
    blocks_held,
    calculate,
    compare,
    hardware_of,
    model_of,
    reserved_bytes,
)
from simcore.errors import InputError
from simcore.geometry import block_bytes, fitting_block_size, sequence_bytes, token_bytes
from simcore.scenario.model import STATE, Model, ModelSection
from tests.theory.random_runs import SHAPE, layer_of

TINY = ModelSection(preset="tinyllama").resolve()


def test_the_documented_response_by_its_own_formula() -> None:
    """The document's formula with its numbers (22 layers, 4 KV heads of 64, float16, 2,048 tokens) gives 44.00 MiB and
    93.75 %, not the 22.00 MB and 87.5 % of its example."""
    found = compare(TINY, [128], 2048, 16)
    assert found.traditional_memory_mb == 1 * 22 * 2 * 2048 * 4 * 64 * 2 / 2**20 == 44.0
    assert found.paged_memory_mb == 8 * 22 * 2 * 16 * 4 * 64 * 2 / 2**20 == 2.75
    assert (found.memory_saved_mb, found.memory_saved_percent) == (41.25, 93.75)
    assert (found.num_blocks, found.block_size, found.sequence_length) == (1024, 16, 128)
    assert found.num_blocks == 8 * 128, "its grid"
    assert (found.blocks_used, found.blocks_free) == (8, 1016)
    assert f"{found.utilization_percent:.1f}" == "0.8"


def test_the_documented_example_belongs_to_half_the_length() -> None:
    found = compare(TINY, [128], 1024, 16)
    assert (found.traditional_memory_mb, found.paged_memory_mb) == (22.0, 2.75)
    assert (found.memory_saved_mb, found.memory_saved_percent) == (19.25, 87.5)


def test_groups_of_query_heads() -> None:
    """8 heads in 4 groups keep half of what 8 of them keep; for a quarter, as a lecture has it, there must be 2."""
    model = ModelSection(layers=1, query_heads=8, head_dim=64).resolve()
    variants = {(attention_of(each), each.kv_heads): token_bytes(each) for each in attention_variants(model)}
    most = variants["MHA", 8]
    assert {name: most / kept for name, kept in variants.items() if name[0] != "MLA"} == {
        ("MHA", 8): 1,
        ("GQA", 4): 2,
        ("GQA", 2): 4,
        ("MQA", 1): 8,
    }
    assert variants["MLA", 8] == 2.25 * variants["MQA", 1], "table 1 of DeepSeek-V2"


def test_own_attention_is_among_the_variants() -> None:
    for name, attention in (("gpt2", "MHA"), ("tinyllama", "GQA"), ("deepseek-v3", "MLA"), ("mamba", "none")):
        facts = calculate(model_of(name), Question())
        own = [each for each in facts["attention_variants"] if each["own"]]
        assert facts["attention"] == attention
        assert [each["token_bytes"] for each in own] == [facts["token_bytes"]] * (attention != "none")
        assert len(facts["formats"]) == 4 * (attention != "none")


def test_formats_of_the_cache() -> None:
    """In 4 bits, a key or value of 64 numbers has 32 B, and 4 for scale and zero point."""
    rows = calculate(model_of("tinyllama"), Question())["formats"]
    formats = {each["kv_dtype"]: each["token_bytes"] for each in rows}
    numbers = 22 * 2 * 4 * 64
    assert formats == {
        "float32": 4 * numbers,
        "float16": 2 * numbers,
        "float8": numbers,
        "int4": 22 * 2 * 4 * (32 + 4),
    }
    latent = replace(ModelSection(preset="deepseek-v3").resolve(), kv_dtype="int4")
    assert token_bytes(latent) == 61 * (288 + 4)


def test_a_mixed_batch() -> None:
    facts = calculate(model_of("tinyllama"), Question(lengths=(1, 16, 100), max_tokens=256))
    assert [(each["blocks"], each["wasted_tokens"]) for each in facts["requests"]] == [(1, 15), (1, 0), (7, 12)]
    assert facts["blocks_used"] == 9
    assert facts["sequence_length"] == 100
    assert facts["traditional_memory_mb"] == 3 * 256 * 22_528 / 2**20
    assert facts["needed_memory_mb"] == 117 * 22_528 / 2**20
    assert facts["paged_waste_mb"] == 27 * 22_528 / 2**20 == sum(each["wasted_mb"] for each in facts["requests"])
    assert facts["traditional_waste_mb"] == (3 * 256 - 117) * 22_528 / 2**20
    assert [each["traditional_wasted_percent"] for each in facts["requests"]] == [99.609375, 93.75, 60.9375]
    assert facts["per_layer"][0]["memory_mb"] * 22 == facts["needed_memory_mb"]


def test_layers_that_keep_different_things() -> None:
    gemma = calculate(model_of("gemma-3-27b"), Question(lengths=(2000,)))
    full, window = gemma["per_layer"]
    assert (full["layers"], window["layers"], window["window"]) == (10, 52, 1024)
    assert (full["memory_mb"], window["memory_mb"]) == (2000 * 8192 / 2**20, 1024 * 8192 / 2**20)
    assert gemma["blocks_used"] == 125 + 6 * (125 - 976 // 16), "each of 6 tables has let 61 blocks go"
    jamba = calculate(model_of("jamba"), Question(lengths=(1000,)))
    assert jamba["block_size"] == 80, "a block must have room for a state"
    assert jamba["blocks_used"] == 13 + 7
    mamba = calculate(model_of("mamba"), Question(lengths=(7, 2000)))
    assert mamba["traditional_memory_mb"] == mamba["paged_memory_mb"] == 2 * 11.875
    assert [each["wasted_tokens"] for each in mamba["requests"]] == [0, 0]


tables = st.sampled_from([[0], [8], [0, 8, 8], [5, 0], [0, STATE], [STATE], [0, 7, STATE]])


@given(tables, st.integers(1, 8), st.integers(1, 20), st.integers(2, 60))
def test_blocks_are_those_of_a_run(windows: list[int], block_size: int, prompt: int, output: int) -> None:
    scenario = Scenario.model_validate(
        {
            "model": {"layers": len(windows), "layer_groups": [layer_of(window) for window in windows], **SHAPE},
            "memory": {"blocks": 1000, "block_size": block_size, "prefix_caching": False},
            "timing": {"model": "constant", "step": 1.0},
        }
    )
    workload = Workload("test", np.zeros(1), np.array([prompt]), np.array([output]))
    used = simulate(scenario, workload=workload).record.steps["blocks_used"]
    model = scenario.model.resolve()
    assert used[1:].tolist() == [blocks_held(model, prompt + step, block_size) for step in range(1, output)]


@given(tables, st.lists(st.integers(1, 300), min_size=1, max_size=6), st.integers(1, 40))
def test_pages_waste_less_than_a_block_a_table(windows: list[int], lengths: list[int], block_size: int) -> None:
    groups = [layer_of(window) for window in windows]
    model = ModelSection.model_validate({"layers": len(windows), "layer_groups": groups, **SHAPE}).resolve()
    found = compare(model, lengths, 300, block_size, 10**6)
    needed = sum(sequence_bytes(model, tokens) for tokens in lengths)
    paged = found.paged_memory_mb * 2**20
    assert needed <= paged
    tables_of_tokens = len(windows) - windows.count(STATE) + sum(window > 0 for window in windows)
    states = windows.count(STATE)
    block = block_bytes(model, block_size)
    assert paged < needed + len(lengths) * (tables_of_tokens + states) * block + 1
    assert found.memory_saved_mb == found.traditional_memory_mb - found.paged_memory_mb
    assert found.blocks_used + found.blocks_free == found.num_blocks


def served(name: str, gpu: str, **options: object) -> dict[str, object]:
    question = Question(hardware=hardware_of(gpu), **options)  # type: ignore[arg-type]
    return calculate(model_of(name), question)


def test_what_fits_on_a_gpu() -> None:
    """The pool is the one that a scenario derives, and users are as many as have room in it."""
    facts = served("llama-3-8b", "h100", lengths=(1000, 3000), max_tokens=8192)
    fit = facts["hardware"]
    assert isinstance(fit, dict)
    sections = {"model": {"preset": "llama-3-8b"}, "hardware": {"preset": "h100"}, "workload": {"requests": 1}}
    scenario = Scenario.model_validate(sections)
    assert fit["blocks"] == facts["num_blocks"] == simulate(scenario).summary["memory"]["blocks"] - 1
    held = 63 + 188
    assert facts["blocks_used"] == held
    assert fit["users"] == 2 * fit["blocks"] // held
    assert fit["users_traditional"] == fit["pool_bytes"] // (8192 * 131_072)
    assert fit["weights_mb"] == pytest.approx(facts["weights_mb"])
    assert sum(fit[f"{part}_mb"] for part in ("weights", "activations", "runtime", "pool")) * 2**20 == pytest.approx(
        int(85_018_877_624 * 0.9)
    )


def test_tensor_parallel() -> None:
    facts = served("llama-3-70b", "a100")
    rows = facts["tensor_parallel"]
    assert isinstance(rows, list)
    assert [row["count"] for row in rows] == list(COUNTS)
    assert [row["fits"] for row in rows] == [False, True, True, True]
    assert "leaves no room" in rows[0]["reason"]
    assert rows[0]["users"] is None
    _, _, four, eight = rows
    assert four["weights_mb"] == pytest.approx(2 * eight["weights_mb"])
    assert eight["users"] > 2 * four["users"], "twice the memory, and half the weights in each"
    gpt2 = served("gpt2", "h100")["tensor_parallel"]
    assert isinstance(gpt2, list)
    assert [row["splits"] for row in gpt2] == [True, True, True, False], "12 heads"


def test_variants_share_what_the_weights_leave() -> None:
    facts = served("tinyllama", "rtx-4090")
    variants = facts["attention_variants"]
    assert isinstance(variants, list)
    users = {each["kv_heads"]: each["users"] for each in variants}
    assert users[4] == facts["hardware"]["users"]  # type: ignore[index]
    assert users[2] == pytest.approx(2 * users[4], rel=1e-3)


@pytest.mark.parametrize(
    ("lengths", "blocks", "says"),
    [
        ([], 9, "one request at least"),
        ([3, 0], 9, "one token at least"),
        ([3000], 9, "a request has 3,000 tokens, but at most 2,048"),
        ([128, 128], 15, "the pool has 15 blocks, but tinyllama-1.1b needs 16"),
    ],
)
def test_what_is_refused(lengths: list[int], blocks: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        compare(TINY, lengths, 2048, 16, blocks)


def test_models_that_there_are_not() -> None:
    with pytest.raises(InputError, match="no model preset"):
        model_of("llama-9")
    with pytest.raises(InputError, match="cannot share 3 KV heads"):
        model_of("gpt2", kv_heads=3, query_heads=8)
    with pytest.raises(InputError, match='kv_dtype is "int3", but must be'):
        model_of("gpt2", kv_dtype="int3")
    with pytest.raises(InputError, match="no hardware preset"):
        hardware_of("abacus")
    nothing = ModelSection.model_validate({"layers": 1, "layer_groups": [{"layers": 1, "attention": False}]})
    with pytest.raises(InputError, match="nothing to simulate"):
        calculate(nothing, Question())


def test_a_reservation_knows_no_windows() -> None:
    model: Model = ModelSection(preset="gemma-3-27b").resolve()
    assert reserved_bytes(model, 2048) == 2048 * token_bytes(model) > sequence_bytes(model, 2048)


def rows_of(page: str, header: str) -> list[list[str]]:
    """The cells of a table in the documentation, below its header."""
    lines = (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {header} |"))
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip().replace(",", "") for cell in row.strip("|").split("|")] for row in rows]


def test_figures_of_the_page_on_states() -> None:
    models = [model_of(name).resolve() for name in ("llama-2-7b", "llama-3-8b", "gemma-3-27b", "jamba", "mamba")]
    rows = rows_of("ideas/state-space.md", "tokens")
    assert len(rows) == 5
    for tokens, *shown in rows:
        for model, figure in zip(models, shown, strict=True):
            size = fitting_block_size(model, 16)
            found = compare(model, [int(tokens)], 262_144, size, 10**6).paged_memory_mb
            digits = len(figure.partition(".")[2])
            assert f"{found:.{digits}f}" == figure, (tokens, model.name)


def test_state_of_mamba_2_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ideas" / "state-space.md").read_text(encoding="utf-8")
    found = calculate(model_of("mamba2"), Question(lengths=(9,)))["paged_memory_mb"]
    assert f"{found:.2f} MiB in\n64 layers" in page


def test_figures_of_the_page_on_fragmentation() -> None:
    rows = rows_of("ideas/fragmentation.md", "block size")
    assert len(rows) == 4
    for size, blocks, wasted, share in rows:
        facts = calculate(model_of("tinyllama"), Question((20, 100, 700, 1500), block_size=int(size), blocks=9999))
        found = facts["blocks_used"], facts["paged_waste_mb"], 100 * facts["paged_waste_mb"] / facts["paged_memory_mb"]
        assert (blocks, wasted, share) == (f"{found[0]}", f"{found[1]:.2f}", f"{found[2]:.1f} %")


def test_figures_of_the_page_on_groups() -> None:
    page = (Path(__file__).parents[2] / "docs" / "ideas" / "gqa-to-mla.md").read_text(encoding="utf-8")
    question = Question((1000,), 4096, hardware=hardware_of("a100"))
    for each in calculate(model_of("llama-2-7b"), question)["attention_variants"]:
        if each["kv_heads"] != 2:
            assert re.search(rf"{each['attention']} .*{each['paged_memory_mb']:.2f} .* {each['users']:,}\n", page), each

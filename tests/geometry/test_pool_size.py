"""The derived pool against what vLLM measured, the paper's pool, and hand arithmetic."""

from typing import Any

import pytest

from simcore.errors import InputError
from simcore.geometry import (
    PoolSize,
    activation_bytes,
    as_binary,
    block_bytes,
    fitting_block_size,
    kv_shards,
    pool_size,
)
from simcore.scenario.model import ModelSection
from simcore.scenario.scenario import Scenario

GIB = 2**30
QWEN3_600M = {
    "layers": 28, "query_heads": 16, "kv_heads": 8, "head_dim": 128, "hidden_size": 1024, "intermediate_size": 3072,
    "vocab_size": 151936, "tied_embeddings": True, "max_model_len": 40960,
}  # fmt: skip
"""https://huggingface.co/Qwen/Qwen3-0.6B/blob/main/config.json"""

# vLLM 0.11 on an H100 of 79.18 GiB, utilization 0.9, 8,192 tokens and 1,024 sequences a step, in GiB:
# https://github.com/llm-d/llm-d-benchmark/blob/main/config_explorer/empirical-vllm-memory-results.md
MEASURED = [
    ({"preset": "llama-3-8b"}, 1, 4.76, 51.38),
    ({"preset": "qwen3-32b"}, 1, 5.64, 4.45),
    ({"preset": "qwen3-32b"}, 2, 5.64, 34.49),
    (QWEN3_600M, 1, 5.56, 64.45),
    ({"preset": "llama-3-70b", "dtype": "float8"}, 2, 4.84, None),  # its checkpoint was not float8 throughout
    ({"preset": "gpt-oss-20b"}, 1, 7.38, None),  # windows: its pool is not derived
]


def sized(**sections: dict[str, Any]) -> PoolSize:
    return pool_size(Scenario.model_validate(sections))


@pytest.mark.parametrize(("model", "count", "activations", "room"), MEASURED)
def test_pool_is_what_vllm_measured(model: dict[str, Any], count: int, activations: float, room: float | None) -> None:
    resolved = ModelSection.model_validate(model).resolve()
    assert activation_bytes(resolved, 8192, 1024, count) / GIB == pytest.approx(activations, rel=0.02)
    if room is not None:
        pool = sized(
            model=model,
            hardware={"preset": "h100", "count": count},
            memory={"block_size": 128},
            scheduler={"max_num_batched_tokens": 8192, "max_num_seqs": 1024},
        )
        assert pool.blocks * block_bytes(resolved, 128, count) / GIB == pytest.approx(room, abs=0.15)


def test_activations_of_a_long_prompt_are_those_of_its_feed_forward_network() -> None:
    """vLLM 0.7 on a T4, Qwen2.5-1.5B in float16, 32,768 tokens and 256 sequences a step: 2.02 GiB."""
    model = ModelSection(
        layers=28, query_heads=12, kv_heads=2, head_dim=128, hidden_size=1536, intermediate_size=8960, vocab_size=151936
    ).resolve()
    assert activation_bytes(model, 32_768, 256) / GIB == pytest.approx(2.02, rel=0.01)


def test_blocks_of_the_vllm_paper() -> None:
    """OPT-13B on an A100-40GB: a block of 16 tokens takes 12.5 MiB, and 12 GiB are 15,728 slots (SOSP'23, table 1)."""
    model = ModelSection(preset="opt-13b").resolve()
    assert as_binary(block_bytes(model, 16)) == "12.50 MiB"
    assert 12 * GIB // block_bytes(model, 1) == 15_728


def test_derivation_by_hand() -> None:
    pool = sized(
        model={
            "layers": 2, "query_heads": 4, "kv_heads": 2, "head_dim": 8, "hidden_size": 32, "intermediate_size": 64,
            "vocab_size": 100, "dtype": "float16",
        },
        hardware={"memory": 1e9},
        memory={"utilization": 0.5, "block_size": 10},
        scheduler={"max_num_batched_tokens": 1000, "max_num_seqs": 5, "max_model_len": 2000},
    )  # fmt: skip
    weights = 2 * (2 * (32 * 32 + 2 * 32 * 16 + 32 * 32 + 3 * 32 * 64) + 2 * 100 * 32)
    activations = 1000 * (4 * 32 + 3 * 64) * 2
    room = 500_000_000 - weights - activations - round(0.13 * GIB)
    block = 10 * 2 * (2 * 2 * 8) * 2
    assert pool.blocks == room // block
    amounts = [line.amount for line in pool.derivation]
    tokens = (pool.blocks - 1) * 10
    assert amounts == [500_000_000, -weights, -activations, -round(0.13 * GIB), room, block, pool.blocks, tokens]
    assert str(pool).splitlines()[0] == "usable               476.84 MiB   953.67 MiB x 0.5 of the hardware"
    assert pool.warnings == ()


def test_given_blocks_are_used_as_they_are() -> None:
    pool = sized(memory={"blocks": 100}, hardware={"preset": "gtx-1080"}, model={"preset": "llama-3-70b"})
    assert pool.blocks == 100
    assert pool.warnings == ("the pool holds 1,584 tokens, fewer than one sequence may have (8,192)",)
    assert sized(memory={"blocks": 100}, scheduler={"max_model_len": 1_584}).warnings == ()


def test_the_workload_never_changes_the_pool() -> None:
    hardware = {"preset": "l4"}
    small = sized(hardware=hardware, workload={"requests": 7})
    assert small == sized(hardware=hardware)


def test_parts_of_the_cache() -> None:
    llama, mla = (ModelSection(preset=name).resolve() for name in ("llama-3-70b", "deepseek-v3"))
    assert [kv_shards(llama, count) for count in (1, 2, 8, 16, 64)] == [1, 2, 8, 8, 8]
    assert kv_shards(mla, 8) == 1
    assert block_bytes(llama, 16, 16) == 16 * 327_680 // 8
    assert block_bytes(mla, 64, 8) == 64 * 70_272
    for count in (3, 12, 128):
        with pytest.raises(InputError, match=f"hardware.count is {count}"):
            kv_shards(llama, count)


def test_blocks_of_layers_that_share_a_table() -> None:
    gemma = ModelSection(preset="gemma-3-27b").resolve()
    assert block_bytes(gemma, 16) == 16 * 10 * (2 * 16 * 128 * 2)
    assert block_bytes(ModelSection(preset="mistral-7b").resolve(), 16) == 16 * 131_072
    pool = sized(model={"preset": "gemma-3-27b"}, hardware={"preset": "h100"})
    assert str(pool.derivation[5]).endswith("16 tokens x 81,920 B of 10 layers")


def test_blocks_that_hold_states() -> None:
    """A state needs a whole block, and so as many tokens of attention as its bytes are worth."""
    mamba, jamba = (ModelSection(preset=name).resolve() for name in ("mamba-2.8b", "jamba-v0.1"))
    assert block_bytes(mamba, 16) == block_bytes(mamba, 1000) == 64 * 5_120 * 19 * 2
    assert block_bytes(mamba, 16, 4) == 64 * 5_120 * 19 * 2 // 4
    assert (fitting_block_size(mamba, 16), fitting_block_size(jamba, 16), fitting_block_size(jamba, 32)) == (16, 80, 96)
    assert fitting_block_size(jamba, 16, 16) == 48, "each of 8 KV heads is kept twice, a state once"
    assert 8_192 * 19 * 2 <= block_bytes(jamba, 80) // 4 == 80 * 4_096 < 8_192 * 19 * 2 + 16 * 4_096
    bare = {"memory": {"prefix_caching": False, "blocks": 100}}
    with pytest.raises(InputError, match=r"memory.block_size is 16, .* the state of a layer, 304.00 KiB: take 80"):
        sized(model={"preset": "jamba"}, **bare)
    pool = sized(model={"preset": "jamba"}, memory=bare["memory"] | {"block_size": 80})
    assert pool.derivation[-1][1:3] == ((99 - 7) * 80, "tokens"), "seven blocks hold the states of 28 layers"
    pool = sized(model={"preset": "mamba"}, memory={"prefix_caching": False}, hardware={"preset": "l4"})
    assert pool.derivation[-1][1:3] == (pool.blocks - 1, "sequences")
    assert str(pool.derivation[5]).endswith("the states of 64 layers")
    assert not pool.warnings


@pytest.mark.parametrize(
    ("windows", "blocks", "late", "room"),
    [
        ([0], 11, False, 160),
        ([0, 0], 11, False, 160),  # they are alike
        ([0, 32], 11, False, 80),
        ([0, 32], 31, False, 25 * 16),  # at most 31 + 32 tokens in the window's table, in 5 blocks
        ([0, 32], 31, True, 23 * 16),  # two steps in flight: 7 blocks
        ([32], 5, False, 64),
        ([32], 6, False, 9000),
    ],
)
def test_the_longest_sequence_that_fits(windows: list[int], blocks: int, late: bool, room: int) -> None:
    pool = sized(
        model={"query_heads": 1, "head_dim": 64, "layer_groups": [{"layers": 1, "window": size} for size in windows]},
        memory={"blocks": blocks},
        scheduler={
            "max_num_seqs": 8, "max_num_batched_tokens": 32, "max_model_len": 9000, "async_scheduling": late
        },
    )  # fmt: skip
    assert pool.derivation[-1].amount == room
    assert len(pool.warnings) == (room < 9000)


@pytest.mark.parametrize(
    ("sections", "says"),
    [
        ({}, r"^memory.blocks is missing; it can be derived from hardware.preset or hardware.memory$"),
        (
            {"model": {"preset": "llama-3-70b"}, "hardware": {"preset": "h100"}},
            r"^llama-3-70b leaves no room for two blocks of 5.00 MiB on h100: 79.18 GiB x 0.9 = 71.26 GiB, but weights "
            r"take 131.42 GiB, activations 658.94 MiB and the runtime 133.12 MiB$",
        ),
        (
            {"model": {"layers": 1, "query_heads": 1, "head_dim": 64}, "hardware": {"preset": "h100"}},
            r"^model.hidden_size is missing, and the pool cannot be derived without; or give memory.blocks$",
        ),
        ({"hardware": {"preset": "h100", "count": 3}}, r"^hardware.count is 3, but 32 query heads and 4 KV heads"),
    ],
)
def test_no_pool_is_told_in_a_sentence(sections: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        sized(**sections)

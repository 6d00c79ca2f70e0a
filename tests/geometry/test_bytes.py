"""Bytes by hand, and by the tables and figures of published work."""

import pytest

from simcore.geometry import as_binary, attention_workspace, block_bytes, sequence_bytes, token_bytes
from simcore.scenario.hardware import HardwareSection
from simcore.scenario.model import ModelSection
from simcore.scenario.presets import ABOUT, preset_names, read_preset


def test_contiguous_against_paged_for_tinyllama() -> None:
    """22 layers, 4 KV heads of 64, float16: 44 MiB are reserved for 2,048 tokens; 128 tokens need 8 blocks of them."""
    model = ModelSection(layers=22, query_heads=32, kv_heads=4, head_dim=64, dtype="float16").resolve()
    reserved, paged = sequence_bytes(model, 2048), 8 * block_bytes(model, 16)
    assert as_binary(reserved) == "44.00 MiB"
    assert as_binary(paged) == "2.75 MiB"
    assert 1 - paged / reserved == 0.9375


@pytest.mark.parametrize(("kv_heads", "expected"), [(32, 524_288), (8, 131_072), (1, 16_384)])
def test_fewer_kv_heads_keep_less(kv_heads: int, expected: int) -> None:
    model = ModelSection(layers=32, query_heads=32, kv_heads=kv_heads, head_dim=128).resolve()
    assert token_bytes(model) == expected


def test_latent_attention_keeps_one_vector() -> None:
    """DeepSeek-V2: 512 + 64 numbers a token and layer, as grouped-query attention with 2.25 groups (table 1)."""
    mla = ModelSection(
        layers=60, query_heads=128, head_dim=128, kv_lora_rank=512, rope_head_dim=64, dtype="bfloat16"
    ).resolve()
    assert token_bytes(mla) == 60 * 576 * 2
    assert token_bytes(mla) == 2.25 * token_bytes(ModelSection(layers=60, query_heads=1, head_dim=128).resolve())


def test_the_cache_has_a_format_of_its_own() -> None:
    for kv_dtype, size in (("float8", 1), ("float16", 2), ("float32", 4), ("float64", 8)):
        model = ModelSection.model_validate({"preset": "llama-3-8b", "kv_dtype": kv_dtype}).resolve()
        assert token_bytes(model) == 65_536 * size


def test_attention_workspace_is_the_matrix_of_weights() -> None:
    assert attention_workspace(8, 1, 1024, 1024, "float32") == 32 * 2**20


def test_bytes_for_a_person() -> None:
    shown = {0: "0 B", 1023: "1,023 B", 1024: "1.00 KiB", -(3 << 20): "-3.00 MiB", 5 << 40: "5,120.00 GiB"}
    assert {amount: as_binary(amount) for amount in shown} == shown


# Sold memory in GB, memory bandwidth in GB/s and dense TFLOP/s of the format in the vendors' data sheets.
HARDWARE = {
    "gtx-1080": (8, 320, "float32", 8.9),
    "rtx-4090": (24, 1008, "float16", 165),
    "l4": (24, 300, "bfloat16", 121),
    "l40s": (48, 864, "bfloat16", 362),
    "a100-40gb": (40, 1555, "bfloat16", 312),
    "a100-80gb": (80, 2039, "bfloat16", 312),
    "h100": (80, 3350, "float8", 1979),
    "h200": (141, 4800, "bfloat16", 989),
    "b200": (180, 8000, "bfloat16", 2250),
    "mi300x": (192, 5300, "bfloat16", 1307),
    "macbook-pro-m3-max": (128, 400, "float32", 14),
}


@pytest.mark.parametrize("name", preset_names("hardware"))
def test_hardware_preset_is_the_data_sheet(name: str) -> None:
    sold, bandwidth, dtype, teraflops = HARDWARE[name]
    hardware = HardwareSection(preset=name).resolve()
    assert 0.74 * sold * 1e9 < hardware.memory < sold * 2**30  # what the runtime sees of it
    assert hardware.memory_bandwidth == bandwidth * 1e9
    assert hardware.flops[dtype] / 1e12 == pytest.approx(teraflops, rel=0.01)  # type: ignore[index]
    assert hardware.host_bandwidth > 0 < hardware.peer_bandwidth
    preset = read_preset("hardware", name)
    assert set(ABOUT) <= preset.keys()


def test_numbers_win_over_the_hardware_preset() -> None:
    section = HardwareSection.model_validate({"preset": "a100", "memory": 1e9, "flops": {"float8": 5e12}, "count": 2})
    hardware = section.resolve()
    assert section.preset == hardware.name == "a100-80gb"
    assert (hardware.memory, hardware.memory_bandwidth, hardware.count) == (1e9, 2.039e12, 2)
    assert (hardware.flops["float8"], hardware.flops["float16"]) == (5e12, 312e12)


def test_nothing_is_known_of_hardware_that_is_not_given() -> None:
    hardware = HardwareSection().resolve()
    assert (hardware.memory, hardware.memory_bandwidth, hardware.count, dict(hardware.flops)) == (0, 0, 1, {})

"""A scenario as flags of `vllm serve`."""

import json

import pytest

from app.cli import main
from simcore import Scenario
from simcore.export.vllm import serve_flags
from simcore.scenario.presets import preset_names


def flags(preset: str, *overrides: str) -> dict[str, str]:
    return dict(serve_flags(Scenario.preset(preset, overrides)).flags)


def test_a_pool_in_blocks() -> None:
    found = serve_flags(Scenario.preset("default"))
    assert found.model == "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
    assert dict(found.flags) == {
        "--tensor-parallel-size": "1",
        "--dtype": "bfloat16",
        "--kv-cache-dtype": "auto",
        "--max-model-len": "2048",
        "--block-size": "16",
        "--num-gpu-blocks-override": "500",
        "--enable-prefix-caching": "",
        "--max-num-seqs": "32",
        "--max-num-batched-tokens": "2048",
        "--scheduling-policy": "fcfs",
        "--no-async-scheduling": "",
        "--enable-chunked-prefill": "",
        "--scheduler-reserve-full-isl": "",
    }
    assert found.unsaid == ("The hardware (1 x rtx-4090) and the timing are the server's own.",)


def test_every_key_that_has_a_flag() -> None:
    found = flags(
        "chat", "hardware.count=2", "model.kv_dtype=float8", "scheduler.max_model_len=4000", "memory.utilization=0.8",
        "memory.prefix_caching=false", "scheduler.policy=priority", "scheduler.async_scheduling=true",
        "scheduler.long_prefill_token_threshold=512", "scheduler.watermark=0.01", "scheduler.reserve_full_prompt=false",
        "scheduler.max_steps=9",
    )  # fmt: skip
    assert found["--tensor-parallel-size"] == "2"
    assert found["--kv-cache-dtype"] == "fp8"
    assert found["--max-model-len"] == "4000"
    assert found["--gpu-memory-utilization"] == "0.8"
    assert found["--scheduling-policy"] == "priority"
    assert found["--long-prefill-token-threshold"] == "512"
    assert found["--watermark"] == "0.01"
    assert {"--no-enable-prefix-caching", "--async-scheduling", "--no-scheduler-reserve-full-isl"} <= found.keys()
    assert "--num-gpu-blocks-override" not in found
    assert flags("default", "model.preset=gemma-3-27b")["--prefix-cache-retention-interval"] == "None"
    assert flags("tiers")["--kv-offloading-size"] == "8"
    assert flags("default", "scheduler.chunked_prefill=false")["--no-enable-chunked-prefill"] == ""


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("memory.eviction=arc", 'memory.eviction is "arc", and vLLM has lru only.'),
        ("scheduler.policy=fair", 'scheduler.policy is "fair", and vLLM has fcfs and priority'),
        ("scheduler.victim=most-blocks", 'scheduler.victim is "most-blocks", and in vLLM it follows from'),
        ("memory.structure=radix", 'memory.structure is "radix", which is SGLang'),
        ("scheduler.preemption=swap", 'scheduler.preemption is "swap": vLLM\'s engine recomputes'),
        ("memory.block_size=24", "memory.block_size is 24, which no attention backend"),
        ("scheduler.batching=static", 'scheduler.batching is "static", and vLLM'),
    ],
)
def test_what_no_flag_says(override: str, sentence: str) -> None:
    plain, changed = (serve_flags(Scenario.preset("default", given)).unsaid for given in ([], [override]))
    added = [each for each in changed if each not in plain]
    assert len(added) == 1
    assert added[0].startswith(sentence)


def test_the_swap_space() -> None:
    """400 blocks of 16 tokens of OPT 13B: 819,200 B a token."""
    assert f"--swap-space {400 * 16 * 819_200 / 2**30:.3g}" in " ".join(serve_flags(Scenario.preset("swapping")).unsaid)


@pytest.mark.parametrize("preset", preset_names("scenarios"))
def test_command(preset: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scenario", "flags", preset]) == 0
    text = capsys.readouterr().out
    assert main(["scenario", "flags", preset, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert text.startswith(f"vllm serve {document['model']} \\\n  --tensor-parallel-size")
    assert [line.split()[0] for line in text.splitlines()[1:]] == list(document["flags"])

"""The flags of `vllm serve` that set a server up as a scenario has it, and what no flag can say.

The flags are those of vLLM 0.33 (https://docs.vllm.ai/en/latest/cli/serve.html), each given even where it is the
default, since defaults differ by version and device.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from simcore.geometry import content_bytes
from simcore.policies.admission import Everything
from simcore.policies.allocation import Paged
from simcore.policies.eviction import LRU
from simcore.policies.queue import FCFS, QUEUE
from simcore.policies.victim import ByQueue
from simcore.scenario import Scenario
from simcore.scenario.presets import read_preset
from simcore.schema import Section, shown

BLOCK_SIZES = (1, 8, 16, 32, 64, 128, 256)
"""Tokens of a block that some attention backend of vLLM takes; which ones hangs on the device."""
PLACEHOLDER = "MODEL"
"""What stands for a model that has no home at Hugging Face."""


@dataclass(frozen=True, slots=True)
class ServeFlags:
    """A server's setting."""

    model: str
    flags: tuple[tuple[str, str], ...]
    """flag and value; a switch has the value empty"""
    unsaid: tuple[str, ...]
    """sentences on what the scenario has and vLLM has not, or not by a flag"""

    def __str__(self) -> str:
        words = [f"{flag} {shlex.quote(value)}" if value else flag for flag, value in self.flags]
        return " \\\n  ".join([f"vllm serve {shlex.quote(self.model)}", *words])


def serve_flags(scenario: Scenario) -> ServeFlags:
    """The flags for a scenario. Raises InputError where its numbers are missing."""
    return ServeFlags(_name(scenario), tuple(_flags(scenario)), tuple(_unsaid(scenario)))


def _name(scenario: Scenario) -> str:
    """The model as Hugging Face calls it: its preset says where its numbers are from."""
    if scenario.model.preset is None:
        return PLACEHOLDER
    place, found, path = str(read_preset("models", scenario.model.preset)["source"]).partition(
        "https://huggingface.co/"
    )
    return "/".join(path.split("/")[:2]) if found and not place else PLACEHOLDER


def _switch(name: str, on: bool) -> tuple[str, str]:
    return f"--{name}" if on else f"--no-{name}", ""


def _flags(scenario: Scenario) -> Iterator[tuple[str, str]]:
    memory, scheduler, model = scenario.memory, scenario.scheduler, scenario.model.resolve()
    yield "--tensor-parallel-size", str(scenario.hardware.resolve().count)
    yield "--dtype", "auto" if model.dtype == "float8" else model.dtype
    yield "--kv-cache-dtype", _kv_dtype(scenario)
    if scheduler.max_model_len or model.max_model_len:
        yield "--max-model-len", str(scenario.max_model_len)
    yield "--block-size", str(memory.block_size)
    if memory.blocks is None:
        yield "--gpu-memory-utilization", f"{memory.utilization:g}"
    else:
        yield "--num-gpu-blocks-override", str(memory.blocks)
    yield _switch("enable-prefix-caching", memory.prefix_caching)
    if any(model.windows) and memory.prefix_caching:
        retained = memory.prefix_retention
        yield "--prefix-cache-retention-interval", "None" if retained < 0 else str(retained)
    yield "--max-num-seqs", str(scheduler.max_num_seqs)
    yield "--max-num-batched-tokens", str(scheduler.max_num_batched_tokens)
    yield "--scheduling-policy", "priority" if _policy(scheduler.policy) == "priority" else FCFS.name
    yield _switch("async-scheduling", scheduler.async_scheduling)
    yield _switch("enable-chunked-prefill", scheduler.chunked_prefill)
    if scheduler.long_prefill_token_threshold:
        yield "--long-prefill-token-threshold", str(scheduler.long_prefill_token_threshold)
    if scheduler.watermark:
        yield "--watermark", f"{scheduler.watermark:g}"
    yield _switch("scheduler-reserve-full-isl", scheduler.reserve_full_prompt)
    if memory.tiers:
        tier = memory.tiers[0]
        size = tier.capacity or (tier.blocks or 0) * content_bytes(model, memory.block_size) / 2**30
        yield "--kv-offloading-backend", "native"
        yield "--kv-offloading-size", f"{size:.6g}"


def _kv_dtype(scenario: Scenario) -> str:
    model = scenario.model.resolve()
    return "auto" if model.kv_dtype == model.dtype else "fp8" if model.kv_dtype == "float8" else model.kv_dtype


def _policy(section: Section) -> str:
    return str(section.model_dump()["policy"])


def _unsaid(scenario: Scenario) -> Iterator[str]:
    memory, scheduler = scenario.memory, scenario.scheduler
    for path, section, own in (
        ("memory.allocator", memory.allocator, Paged.name),
        ("memory.eviction", memory.eviction, LRU.name),
        ("memory.admission", memory.admission, Everything.name),
    ):
        if _policy(section) != own:
            yield f"{path} is {shown(_policy(section))}, and vLLM has {own} only."
    queue, victim = _policy(scheduler.policy), _policy(scheduler.victim)
    if queue not in (FCFS.name, "priority"):
        yield f"scheduler.policy is {shown(queue)}, and vLLM has fcfs and priority, or a class by --scheduler-cls."
    if victim not in (ByQueue.name, QUEUE[queue].victim):
        yield f"scheduler.victim is {shown(victim)}, and in vLLM it follows from the scheduling policy."
    if memory.structure != "hash":
        yield f"memory.structure is {shown(memory.structure)}, which is SGLang's; vLLM has a flat map of hashes."
    if scheduler.batching != "continuous":
        yield f"scheduler.batching is {shown(scheduler.batching)}, and vLLM's engine has continuous batching only."
    if scheduler.preemption != "recompute":
        blocks = memory.swap_blocks or memory.blocks or 0
        size = blocks * content_bytes(scenario.model.resolve(), memory.block_size) / 2**30
        space = f" (--swap-space {size:.3g} on each device's host there)" if size else ""
        yield (
            f"scheduler.preemption is {shown(scheduler.preemption)}: vLLM's engine recomputes, only the one before "
            f"version 0.11 swapped{space}."
        )
    if scheduler.never_fits == "wait":
        yield 'scheduler.never_fits is "wait": vLLM refuses to start where one sequence of the longest kind cannot fit.'
    if len(memory.tiers) > 1:
        yield "memory.tiers has several, and --kv-offloading-size makes one, in the host's memory."
    for tier in memory.tiers[:1]:
        yield (
            f"memory.tiers: bandwidth, latency, offload and fetch of {shown(tier.name)} are the machine's and the "
            "connector's."
        )
        if (eviction := _policy(tier.eviction)) not in ("lru", "arc"):
            yield f"memory.tiers: eviction is {shown(eviction)}, and vLLM's connector has lru and arc only."
    if memory.block_size not in BLOCK_SIZES:
        yield f"memory.block_size is {memory.block_size}, which no attention backend of vLLM takes."
    if memory.blocks is None:
        yield "The pool's size is measured by the server; compare its num_gpu_blocks with that of the scenario."
    hardware = scenario.hardware.resolve()
    yield f"The hardware ({hardware.count} x {hardware.name}) and the timing are the server's own."
    if scenario.workload.samples and scenario.workload.samples > 1:
        yield "workload.samples belongs to the requests: n in the OpenAI API."

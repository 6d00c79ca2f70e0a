"""The calculator: what a batch keeps of a model, reserved in one piece or in pages, and how many users a GPU holds.

It is arithmetic alone: nothing is served. Sizes are in MiB (2^20 bytes) where a name ends in `_mb`, as in the formula
that `Comparison` is made after; a percentage is of 100.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, ValidationError

from simcore.errors import InputError
from simcore.geometry import (
    MIB,
    activation_bytes,
    block_bytes,
    fitting_block_size,
    kv_shards,
    layer_token_bytes,
    pool_size,
    sequence_bytes,
    state_bytes,
    token_bytes,
)
from simcore.memory.kinds import Kind
from simcore.scenario import Scenario
from simcore.scenario.hardware import HardwareSection
from simcore.scenario.model import CacheDtype, Model, ModelSection
from simcore.schema import shown

BLOCKS = 1024
"""Blocks of a pool whose size neither a person nor a GPU says."""
FORMATS: tuple[CacheDtype, ...] = ("float32", "float16", "float8", "int4")
COUNTS = (1, 2, 4, 8)
"""Devices that tensor parallelism is compared for."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A batch reserved for its longest possible sequences, beside the same batch in pages."""

    __pydantic_config__ = ConfigDict(use_attribute_docstrings=True)  # what HTTP tells of each field

    traditional_memory_mb: float
    """batch x layers x 2 x max_tokens x KV heads x head width x bytes of a number, and the states (MiB)"""
    paged_memory_mb: float
    """blocks_used x layers x 2 x block_size x KV heads x head width x bytes of a number (MiB)"""
    memory_saved_mb: float
    """what paging saves of the reserved memory (MiB)"""
    memory_saved_percent: float
    """the same, of the reserved memory"""
    num_blocks: int
    """of the pool"""
    block_size: int
    """tokens"""
    blocks_used: int
    """ceil(tokens / block_size) of each request; with several block tables (windows, states) the sum over them"""
    blocks_free: int
    """those that nobody has"""
    utilization_percent: float
    """blocks_used of num_blocks"""
    sequence_length: int
    """tokens of the longest request"""


def compare(model: Model, lengths: Sequence[int], max_tokens: int, block_size: int, blocks: int = BLOCKS) -> Comparison:
    """Requests of these lengths, in tokens, where each may grow to `max_tokens`, in a pool of so many blocks.

    All layers of all devices count, each part once. A reservation knows nothing of windows: it is for all tokens in
    all attention layers. Raises InputError where a request is longer than `max_tokens`, or the pool too small.
    """
    longest = max(lengths, default=0)
    if min(lengths, default=0) < 1:
        raise InputError("a batch has one request at least, and each of them one token at least")
    if longest > max_tokens:
        raise InputError(f"a request has {longest:,} tokens, but at most {max_tokens:,} are reserved for it")
    used = sum(count * blocks_held(model, tokens, block_size) for tokens, count in Counter(lengths).items())
    if used > blocks:
        raise InputError(f"the pool has {blocks:,} blocks, but {model.name} needs {used:,} for this batch")
    traditional = len(lengths) * reserved_bytes(model, max_tokens)
    paged = used * block_bytes(model, block_size)
    return Comparison(
        traditional_memory_mb=traditional / MIB,
        paged_memory_mb=paged / MIB,
        memory_saved_mb=(traditional - paged) / MIB,
        memory_saved_percent=_percent(traditional - paged, traditional),
        num_blocks=blocks,
        block_size=block_size,
        blocks_used=used,
        blocks_free=blocks - used,
        utilization_percent=_percent(used, blocks),
        sequence_length=longest,
    )


def reserved_bytes(model: Model, max_tokens: int) -> int:
    """What a request takes that is given room for `max_tokens` at once, in every attention layer; and its states."""
    return token_bytes(model) * max_tokens + state_bytes(model)


def blocks_held(model: Model, tokens: int, block_size: int) -> int:
    """Blocks that a sequence has while its last token is computed, over all its block tables.

    Full attention: ceil(tokens / block_size); a window: less the blocks that have slid out of it; a state: one.
    """
    held = 0
    for window in model.windows:
        kind = Kind(window, block_size, tokens)
        held += 1 if kind.state else -(-tokens // block_size) - kind.below(tokens - 1)
    return held


def attention_of(model: Model) -> str:
    """What the attention layers are called: MHA, GQA, MQA, MLA; or none."""
    if not model.attention_layers:
        return "none"
    if model.kv_lora_rank:
        return "MLA"
    if model.kv_heads == 1:
        return "MQA"
    return "MHA" if model.kv_heads == model.query_heads else "GQA"


def attention_variants(model: Model) -> Iterator[Model]:
    """The model with as many KV heads as query heads (MHA), with every number of groups (GQA), one head (MQA), and MLA.

    g groups keep query_heads / g times less than MHA (https://arxiv.org/abs/2305.13245). MLA has the model's own widths
    or else those that DeepSeek-V2 chose (https://arxiv.org/abs/2405.04434): a latent vector of 4 heads' width, and half
    of one for the rotated key; 2.25 groups' worth.
    """
    for heads in range(model.query_heads, 0, -1):
        if model.attention_layers and model.query_heads % heads == 0:
            yield replace(model, kv_heads=heads, kv_lora_rank=0, rope_head_dim=0)
    if model.kv_lora_rank:
        yield model
    elif model.attention_layers:
        width = model.head_dim
        yield replace(model, kv_heads=model.query_heads, kv_lora_rank=4 * width, rope_head_dim=width // 2)


@dataclass(frozen=True, slots=True)
class Question:
    """What the calculator is asked of every model."""

    lengths: tuple[int, ...] = (128,)
    """tokens of each request"""
    max_tokens: int = 2048
    """what is reserved for each, without pages"""
    block_size: int = 16
    blocks: int | None = None
    """of the pool; None: as many as the hardware leaves room for, or BLOCKS"""
    hardware: HardwareSection | None = None
    utilization: float = 0.9
    """share of the hardware's memory that a server may fill"""


def model_of(name: str, **numbers: object) -> ModelSection:
    """A model by name, alias or `config.json`, and numbers that win over its own unless they are None.

    Raises InputError where there is none, or where the numbers contradict each other.
    """
    given = {key: number for key, number in numbers.items() if number is not None}
    source = {"config": Path(name)} if name.endswith(".json") else {"preset": name}
    try:
        return ModelSection.model_validate(source | given)
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def hardware_of(name: str, count: int = 1) -> HardwareSection:
    """A number of GPUs by name or alias. Raises InputError where there is none."""
    try:
        return HardwareSection.model_validate({"preset": name, "count": count})
    except ValidationError as error:
        raise InputError(_sentence(error)) from None


def _sentence(error: ValidationError) -> str:
    """What was found first, in the words of the check that found it."""
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    place, problem = ".".join(map(str, first["loc"])), first["msg"].replace("Input should", "must")
    return f"{place} is {shown(first['input'])}, but {problem}" if cause is None else str(cause)


def calculate(section: ModelSection, question: Question) -> dict[str, Any]:
    """All that the calculator knows of one model, made of what JSON knows: docs/calculator.md.

    Raises InputError where the model or the batch does not fit the question; that a model does not fit on the GPU is
    an answer.
    """
    model, lengths = section.resolve(), question.lengths
    if reason := model.unsupported():
        raise InputError(reason)
    hardware = question.hardware
    count = hardware.count if hardware else 1
    size = fitting_block_size(model, question.block_size, count)
    served = _serve(section, model, question, count) if hardware else None
    blocks = question.blocks or (served and served["blocks"]) or BLOCKS
    comparison = compare(model, lengths, question.max_tokens, size, blocks)
    stored = sum(number * sequence_bytes(model, tokens) for tokens, number in Counter(lengths).items())
    room = served["pool_bytes"] if served else None
    scheduler = Scenario().scheduler
    activations = activation_bytes(model, scheduler.max_num_batched_tokens, scheduler.max_num_seqs, count)
    known = model.hidden_size and model.intermediate_size and model.vocab_size

    def briefly(variant: Model) -> dict[str, Any]:
        fitting = fitting_block_size(variant, question.block_size, count)
        paged = sum(n * blocks_held(variant, tokens, fitting) for tokens, n in Counter(lengths).items())
        return {
            "token_bytes": token_bytes(variant),
            "paged_memory_mb": paged * block_bytes(variant, fitting) / MIB,
            "users": _users(variant, lengths, fitting, count, room),
        }

    return {
        "model": model.name,
        **asdict(comparison),
        "batch": len(lengths),
        "max_tokens": question.max_tokens,
        "attention": attention_of(model),
        "layers": model.layers,
        "query_heads": model.query_heads,
        "kv_heads": model.kv_heads,
        "head_dim": model.head_dim,
        "kv_dtype": model.kv_dtype,
        "token_bytes": token_bytes(model),
        "state_bytes": state_bytes(model),
        "block_bytes": block_bytes(model, size),
        "needed_memory_mb": stored / MIB,
        "traditional_waste_mb": comparison.traditional_memory_mb - stored / MIB,
        "paged_waste_mb": comparison.paged_memory_mb - stored / MIB,
        "weights_mb": model.weight_bytes / MIB or None,
        "activations_mb": activations / MIB if known else None,
        "per_layer": list(_by_layer(model, lengths)),
        "requests": [_of_request(model, tokens, size, question.max_tokens) for tokens in lengths],
        "attention_variants": [
            {
                "attention": attention_of(variant),
                "kv_heads": 0 if variant.kv_lora_rank else variant.kv_heads,
                "own": (variant.kv_heads, variant.kv_lora_rank) == (model.kv_heads, model.kv_lora_rank),
                **briefly(variant),
            }
            for variant in attention_variants(model)
        ],
        "formats": [
            {"kv_dtype": dtype, **briefly(replace(model, kv_dtype=dtype))}
            for dtype in FORMATS
            if model.attention_layers
        ],
        "hardware": served,
        "tensor_parallel": [_serve(section, model, question, devices) for devices in COUNTS] if hardware else [],
    }


def _by_layer(model: Model, lengths: Sequence[int]) -> Iterator[dict[str, Any]]:
    """What one layer of each group keeps of the batch, whatever holds it."""
    for group in model.layer_groups:
        kept = sum(min(tokens, group.window or tokens) for tokens in lengths) if group.attention else 0
        state = group.state_bytes * len(lengths)
        yield {
            "layers": group.layers,
            "window": group.window,
            "attention": group.attention,
            "token_bytes": layer_token_bytes(model) if group.attention else 0,
            "state_bytes": group.state_bytes,
            "memory_mb": (kept * layer_token_bytes(model) + state) / MIB,
        }


def _of_request(model: Model, tokens: int, block_size: int, max_tokens: int) -> dict[str, Any]:
    """One request of a batch: `wasted_tokens` are the places of its last block that stay empty (internal waste)."""
    blocks, stored = blocks_held(model, tokens, block_size), sequence_bytes(model, tokens)
    paged, reserved = blocks * block_bytes(model, block_size), reserved_bytes(model, max_tokens)
    return {
        "tokens": tokens,
        "blocks": blocks,
        "memory_mb": paged / MIB,
        "wasted_tokens": -tokens % block_size if model.attention_layers else 0,
        "wasted_mb": (paged - stored) / MIB,
        "wasted_percent": _percent(paged - stored, paged),
        "traditional_wasted_percent": _percent(reserved - stored, reserved),
    }


def _serve(section: ModelSection, model: Model, question: Question, count: int) -> dict[str, Any]:
    """What is left on each of `count` devices beside the weights, as `pool_size` derives it, and how many it serves."""
    assert question.hardware is not None
    hardware = question.hardware.model_copy(update={"count": count})
    facts: dict[str, Any] = {"hardware": hardware.resolve().name, "count": count, "splits": False, "fits": False}
    facts["reason"] = None
    facts |= dict.fromkeys(("weights_mb", "activations_mb", "runtime_mb", "pool_mb", "pool_bytes", "blocks"))
    facts |= dict.fromkeys(("users", "users_traditional"))
    try:
        reserved = token_bytes(model) * question.max_tokens // kv_shards(model, count)
        facts["splits"] = True
        size = fitting_block_size(model, question.block_size, count)
        memory = {"utilization": question.utilization, "block_size": size, "prefix_caching": not model.state_bytes}
        sections = {"model": section, "hardware": hardware, "memory": memory}
        pool = pool_size(Scenario.model_validate(sections))
    except InputError as error:
        return facts | {"reason": str(error)}
    amounts = {line.label: abs(line.amount) for line in pool.derivation}
    reserved += -(-state_bytes(model) // count)
    return facts | {
        "fits": True,
        **{f"{part}_mb": amounts[part] / MIB for part in ("weights", "activations", "runtime")},
        "pool_mb": amounts["left"] / MIB,
        "pool_bytes": amounts["left"],
        "blocks": pool.blocks - 1,
        "users": _users(model, question.lengths, size, count, amounts["left"]),
        "users_traditional": amounts["left"] // reserved,
    }


def _users(model: Model, lengths: Sequence[int], block_size: int, count: int, room: int | None) -> int | None:
    """Requests of this mix that so many bytes on each device hold in blocks; None: not known, or heads do not split."""
    if room is None:
        return None
    try:
        blocks = room // block_bytes(model, block_size, count) - 1  # without the null block
    except InputError:
        return None
    held = sum(number * blocks_held(model, tokens, block_size) for tokens, number in Counter(lengths).items())
    return max(blocks, 0) * len(lengths) // held


def _percent(part: float, whole: float) -> float:
    return 100 * part / whole if whole else 0.0


def describe_layers(group: Mapping[str, Any]) -> str:
    """What the layers of an entry of `per_layer` keep, for a person."""
    kept = []
    if group["attention"]:
        kept.append(f"the last {group['window']:,} tokens" if group["window"] else "all tokens")
    if group["state_bytes"]:
        kept.append("a state")
    return " and ".join(kept) or "nothing"

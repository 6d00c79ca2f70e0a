"""Bytes: what a model keeps of each token, what it needs besides, and how many blocks that leaves room for.

KiB, MiB and GiB are powers of two.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from simcore.errors import InputError
from simcore.memory.kinds import kinds_of, longest_held
from simcore.scenario.calibration import Calibration
from simcore.scenario.model import DTYPE_BYTES, Dtype, Model
from simcore.scenario.scenario import Scenario

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30

# What vLLM 0.11 logged on an H100 (8,192 tokens and 1,024 sequences a step):
# https://github.com/llm-d/llm-d-benchmark/blob/main/config_explorer/empirical-vllm-memory-results.md
LOGIT_COPIES = 9
"""Float32 tensors as large as the logits that its sampler holds at once, which sorts them: found from the peaks."""
RUNTIME_BYTES = round(0.13 * GIB)
"""Taken on a device outside of the framework's allocator, by the context and libraries."""
RUNTIME_BYTES_PARALLEL = round(0.55 * GIB)
"""The same where several devices share the model, with the buffers of their links."""


def layer_token_bytes(model: Model) -> int:
    """What one attention layer keeps of one token: the keys and values of all KV heads, or MLA's latent vector.

    MLA (https://arxiv.org/abs/2405.04434): one compressed vector for all heads, and the rotated part of the key. In
    4 bits every vector has a scale and a zero point of 2 B each, as LMDeploy keeps them
    (https://lmdeploy.readthedocs.io/en/latest/quantization/kv_quant.html).
    """
    vectors, width = 2 * model.kv_heads, model.head_dim
    if model.kv_lora_rank:
        vectors, width = 1, model.kv_lora_rank + model.rope_head_dim
    if model.kv_dtype == "int4":
        return vectors * (-(-width // 2) + 4)
    return vectors * width * DTYPE_BYTES[model.kv_dtype]


def token_bytes(model: Model) -> int:
    """What all attention layers keep of one token, as long as no window has slid past it."""
    return model.attention_layers * layer_token_bytes(model)


def state_bytes(model: Model) -> int:
    """What all state-space layers keep of a sequence, however long it is."""
    return sum(group.layers * group.state_bytes for group in model.layer_groups)


def sequence_bytes(model: Model, tokens: int) -> int:
    """What is kept of a sequence: all tokens in full attention, the last ones in a window, a constant state."""
    per_token = layer_token_bytes(model)
    kept = sum(group.layers * min(tokens, group.window or tokens) for group in model.layer_groups if group.attention)
    return kept * per_token + state_bytes(model)


def kv_shards(model: Model, count: int) -> int:
    """Into how many parts the KV cache is split over `count` devices; what is not split is kept on each of them.

    As vLLM: every device has whole KV heads, at least one; MLA's latent vector belongs to all heads, so all have it.
    """
    heads = model.kv_heads
    if model.query_heads % count or (heads % count and count % heads):
        raise InputError(
            f"hardware.count is {count}, but {model.query_heads} query heads and {heads} KV heads of {model.name} "
            "cannot be split over so many devices"
        )
    return 1 if model.kv_lora_rank else max(min(count, heads), 1)


def block_bytes(model: Model, block_size: int, count: int = 1) -> int:
    """One block of the pool, on each of `count` devices: tokens of all layers, or of those that share a block table.

    Where layers have a state, a block has room for the states of as many of them too.
    """
    page = model.table_layers * layer_token_bytes(model) * block_size // kv_shards(model, count)
    return max(page, model.table_layers * -(-model.state_bytes // count)) if model.state_bytes else page


def fitting_block_size(model: Model, block_size: int, count: int = 1) -> int:
    """The least multiple of a block size in which a block of attention layers can hold the states of as many others.

    As vLLM's platforms/interface.py has it: blocks are equally large, whatever they hold, so those of attention grow
    until a state fits, and then the state is padded to them.
    """
    if not model.state_bytes or not model.attention_layers:
        return block_size
    page, state = block_size * layer_token_bytes(model) // kv_shards(model, count), -(-model.state_bytes // count)
    return block_size * -(-state // page)


def page_tokens(model: Model, page: int, count: int = 1) -> int:
    """Whole tokens whose keys, or values, of one layer fit into `page` bytes on each of `count` devices.

    vAttention (https://arxiv.org/abs/2405.04437, section 6) has a tensor of keys and one of values for each layer;
    MLA's latent vectors are one tensor.
    """
    tensors = 1 if model.kv_lora_rank else 2
    return page * tensors * kv_shards(model, count) // layer_token_bytes(model)


def content_bytes(model: Model, block_size: int) -> int:
    """What a block holds of all layers, on all devices together, each part once: what there is to keep elsewhere."""
    return block_size * token_bytes(model)


def attention_workspace(batch: int, heads: int, queries: int, keys: int, dtype: Dtype) -> int:
    """Attention weights of one layer where attention is computed in the standard way, each with each."""
    return batch * heads * queries * keys * DTYPE_BYTES[dtype]


def activation_bytes(model: Model, tokens: int, seqs: int, count: int = 1) -> int:
    """Peak of what a step of so many tokens and sequences needs besides weights and cache, on each of `count` devices.

    A server measures it (vLLM's profile run); here it is the larger of two moments. In the feed-forward network: the
    hidden state four times, and what the gate and the activation put out (of each expert that a token goes to). In
    the sampler: hidden state and residual, and the logits of all sequences, which every device gathers. Within 2 % of
    the peaks that vLLM logged for five models.
    """
    size = max(DTYPE_BYTES[model.dtype], 2)  # float8 is a format of matrices; what flows between them has two bytes
    width = model.intermediate_size / count
    inner = (2 if model.gated_mlp else 1) * width
    mlp = inner + width
    if model.experts:
        mlp = model.experts_per_token * (max(inner, model.hidden_size) + width)
    forward = tokens * (4 * model.hidden_size + mlp) * size
    sampler = tokens * 2 * model.hidden_size * size + seqs * model.vocab_size * (4 * LOGIT_COPIES + size)
    return round(max(forward, sampler))


class Line(NamedTuple):
    """One line of a derivation."""

    label: str
    amount: int
    unit: Literal["bytes", "blocks", "tokens", "sequences"]
    note: str

    def __str__(self) -> str:
        amount = as_binary(self.amount) if self.unit == "bytes" else f"{self.amount:,} {self.unit}"
        return f"{self.label:<12} {amount:>18}   {self.note}"


@dataclass(frozen=True, slots=True)
class PoolSize:
    """The size of a pool, and where it comes from."""

    blocks: int
    """the null block included, as in vLLM's num_gpu_blocks"""
    derivation: tuple[Line, ...]
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.derivation))


def pool_size(scenario: Scenario) -> PoolSize:
    """The pool as given in blocks, as a calibration measured it, or as a server derives it from weights and memory.

    Raises InputError where that is nothing, or where the numbers for it are missing.
    """
    model, block_size = scenario.model.resolve(), scenario.memory.block_size
    fitting = fitting_block_size(model, block_size, scenario.hardware.count)
    if fitting > block_size:
        raise InputError(
            f"memory.block_size is {block_size}, but a block of {model.name} must have room for the state of a layer, "
            f"{as_binary(model.state_bytes)}: take {fitting}, as vLLM does"
        )
    if scenario.memory.blocks is None:
        blocks, lines = _measured(scenario) or _derive(scenario, model)
    else:
        blocks, lines = scenario.memory.blocks, [Line("pool", scenario.memory.blocks, "blocks", "as given")]
    longest = scenario.scheduler.max_model_len or model.max_model_len
    if len(model.windows) < 2 and not any(model.windows):
        tokens, note = (blocks - 1) * block_size, f"({blocks:,} - 1) blocks x {block_size}"
    elif not model.attention_layers:
        sequences, note = blocks - 1, f"({blocks:,} - 1) blocks, each with the state of a sequence of any length"
        return PoolSize(blocks, (*lines, Line("room for", sequences, "sequences", note)), ())
    else:
        kinds = kinds_of(model.windows, block_size, scenario.tokens_in_flight, scenario.max_model_len)
        held = longest_held(kinds, blocks - 1)
        tokens = longest if held is None else held * block_size
        note = f"of one sequence, with {len(model.windows)} block tables" + (", and any more" if held is None else "")
    lines.append(Line("room for", tokens, "tokens", note))
    warnings = []
    if tokens < longest:
        warnings.append(f"the pool holds {tokens:,} tokens, fewer than one sequence may have ({longest:,})")
    return PoolSize(blocks, tuple(lines), tuple(warnings))


def _measured(scenario: Scenario) -> tuple[int, list[Line]] | None:
    """As many tokens as the pool of the server had that the scenario is calibrated to, if its calibration says."""
    if scenario.timing.calibration is None:
        return None
    known = Calibration.load(scenario.timing.calibration)
    if known.blocks is None:
        return None
    blocks = max(known.blocks * known.block_size // scenario.memory.block_size, 2)
    note = f"measured: {known.blocks:,} blocks of {known.block_size}, {scenario.timing.calibration.name}"
    return blocks, [Line("pool", blocks, "blocks", note)]


def _derive(scenario: Scenario, model: Model) -> tuple[int, list[Line]]:
    """Blocks that fit, and how they were counted: vLLM's gpu_worker.py, determine_available_memory."""
    hardware = scenario.hardware.resolve()
    if not hardware.memory:
        raise InputError("memory.blocks is missing; it can be derived from hardware.preset or hardware.memory")
    for name in ("hidden_size", "intermediate_size", "vocab_size", "parameters"):
        if not getattr(model, name):
            raise InputError(f"model.{name} is missing, and the pool cannot be derived without; or give memory.blocks")

    memory, count = scenario.memory, hardware.count
    usable = int(hardware.memory * (memory.utilization or 1.0))
    weights = round(model.weight_bytes / count)
    tokens, seqs = scenario.scheduler.max_num_batched_tokens, scenario.scheduler.max_num_seqs
    activations = activation_bytes(model, tokens, min(seqs, tokens), count)
    runtime = RUNTIME_BYTES if count == 1 else RUNTIME_BYTES_PARALLEL
    room = usable - weights - activations - runtime
    block, layers = block_bytes(model, memory.block_size, count), model.table_layers
    blocks = room // block
    share = f"{as_binary(round(hardware.memory))} x {memory.utilization:g}"
    if blocks < 2:
        raise InputError(
            f"{model.name} leaves no room for two blocks of {as_binary(block)} on {hardware.name}: {share} = "
            f"{as_binary(usable)}, but weights take {as_binary(weights)}, activations {as_binary(activations)} and the "
            f"runtime {as_binary(runtime)}"
        )
    each = "" if count == 1 else f" / {count} devices"
    shards = kv_shards(model, count)
    split = "" if layers == model.attention_layers else f" of {layers} layers"
    split += "" if shards == 1 else f" / {shards} devices"
    content = f"{memory.block_size} tokens x {layer_token_bytes(model) * layers:,} B{split}"
    if not model.attention_layers:
        content = f"the states of {layers} layers" + (f" / {count} devices" if count > 1 else "")
    return blocks, [
        Line("usable", usable, "bytes", f"{share} of {hardware.name}"),
        Line("weights", -weights, "bytes", f"{as_binary(round(model.weight_bytes))} of {model.name}{each}"),
        Line("activations", -activations, "bytes", f"estimated for {tokens:,} tokens and {seqs:,} sequences a step"),
        Line("runtime", -runtime, "bytes", "context and libraries"),
        Line("left", room, "bytes", "for the pool"),
        Line("block", block, "bytes", content),
        Line("pool", blocks, "blocks", f"{as_binary(room)} / {as_binary(block)}, the null block included"),
    ]


def as_binary(amount: int) -> str:
    """Bytes for a person, as in `44.00 MiB`."""
    for unit, size in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(amount) >= size:
            return f"{amount / size:,.2f} {unit}"
    return f"{amount:,} B"
